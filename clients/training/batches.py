"""Examples as a network takes them, made by worker processes or this one, always the same for (seed, index)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from echotrain.gadgets.learned.figures import n_centre_lines, scan_figures
from echotrain.gadgets.learned.networks import Network, intensity_scale

from .examples import Example, Source, centre_crop, single_coil, transpose
from .masks import Sampling

EITHER_WAY = 2  # tells this chance from others by the same seed and index


class Shown(NamedTuple):
    """What a network sees of an example, and what it should make of it; the scan is scaled as for every network."""

    kspace: Tensor
    """Shape (1, channel, ky, kx), 0 where no line was taken."""

    mask: Tensor
    """Shape (ky,)."""

    n_centre: int

    truth: Tensor
    """Shape (1, y, x)."""

    head: Tensor
    """Where the object is, shape (1, y, x)."""

    scale: float
    """Of the scan: what the network's intensities are multiplied by."""

    figures: Mapping[str, tuple[float, ...]]
    """Of the scan, as the server measures them."""

    transposed: bool = False
    """Whether the example was."""

    def to(self, device: torch.device) -> Shown:
        """The same on another device."""
        parts = {name: getattr(self, name).to(device) for name in ("kspace", "mask", "truth", "head")}
        return self._replace(**parts)

    def image(self, network: Network) -> Tensor:
        """What the network makes of it, cropped as the truth is. Shape (1, y, x)."""
        image: Tensor = centre_crop(network(self.kspace, self.mask, self.n_centre), tuple(self.truth.shape[-2:]))
        return image.float()


def show(example: Example, sampling: Sampling, seed: tuple[int, ...]) -> Shown:
    """Leave out lines of a scan. Lines that the scan itself has not (all 0) are not among those taken."""
    mask = sampling.mask(example.kspace.shape[-2], seed)
    mask &= np.abs(example.kspace).max(axis=(0, 2)) > 0
    n_centre = n_centre_lines(mask)
    kspace = torch.from_numpy(example.kspace * mask[:, None])[None]
    brightest, lines = intensity_scale(kspace, n_centre), torch.from_numpy(mask)
    figures, scale = scan_figures(kspace, lines, n_centre, brightest), float(brightest)
    if math.isfinite(example.noise):
        figures["noise"] = (math.sqrt(2) * example.noise / scale,)  # there it is that of real and imaginary part
    truth, head = torch.from_numpy(example.truth)[None] / scale, torch.from_numpy(example.head)[None]
    return Shown(kspace / scale, lines, n_centre, truth, head, scale, figures, example.transposed)


class Examples(Dataset[Shown]):
    """An endless row of examples to learn from; with `either_way` half of them are transposed, by chance."""

    def __init__(
        self, source: Source, sampling: Sampling, seed: int, *, one_coil: bool, either_way: bool = False
    ) -> None:
        self._source, self._sampling, self._seed = source, sampling, seed
        self._one_coil, self._either_way = one_coil, either_way

    def __getitem__(self, index: int) -> Shown:
        example = self._source.draw(index)
        if self._either_way and np.random.default_rng((self._seed, index, EITHER_WAY)).random() < 0.5:
            example = transpose(example)
        return show(single_coil(example) if self._one_coil else example, self._sampling, (self._seed, index))


def examples(data: Examples, first: int, stop: int, workers: int) -> Iterator[Shown]:
    """Examples `first` to `stop`, in order, whatever the number of workers."""
    return iter(DataLoader(data, batch_size=None, sampler=range(first, stop), num_workers=workers, collate_fn=_as_is))


def _as_is(example: Any) -> Any:
    return example
