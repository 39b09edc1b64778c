"""Learned reconstruction of undersampled k-space, checked against the data and against what the weights are for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace, Meta, Text
from echotrain.mrd.errors import DataError

from ..cg_sense import CgSense
from ..fourier import FourierTransform
from ..gadget import Gadget
from ..image_headers import worked_on
from ..parameters import parameter
from ..tensors import as_tensor
from .choice import best, candidates, refused
from .device import best_device, enough_memory
from .figures import line_residual, n_centre_lines, outside, scan_figures
from .networks import Network, Reconstruction, intensity_scale
from .networks.encoding import along_lines, to_kspace
from .weights import Weights

FEWEST = 4  # lines around the centre, below which nothing tells the coils
BESIDE = 500  # added to the number of the series of conventional images


class LearnedReconstruction(Gadget[KSpace, Image]):
    """Reconstruct k-space with missing lines along ky to one complex image by a network, whose weights are named.

    Volumes are taken slice by slice where lines lack along ky alone. Lines must be whitened for their noise to be
    known. The image's meta attributes name the weights (EchotrainModel, EchotrainWeights: the file's SHA-256), and say
    how far the image is off the acquired lines in units of their noise (EchotrainDataConsistency), and what of the scan
    is beyond the ranges on the weights' model card (EchotrainOutside), of which the client is warned as well.

    It runs on a GPU where there is one, and on the CPU where memory of that does not suffice.

    Raises:
        ConfigError: where there are no such weights, or their file is not what it should be.
        DataError: where samples are not finite, lines lack along kz or around the centre, the weights are for a single
            channel, or memory does not suffice.
    """

    takes_image_space_readout = True

    model: str = parameter(
        "varnet",
        "Name of the weights, or of an architecture, of whose weights those for the scan's acceleration are taken.",
    )
    beside: bool = parameter(
        False, f"Give the image of CgSense, with its default values, with each as well: series + {BESIDE}."
    )

    def start(self, header: Header, /) -> None:
        self._header = header
        self._transform, self._conventional = FourierTransform(), CgSense()
        self._transform.start(header)
        self._conventional.start(header)
        self._device = best_device()
        self._told: set[str] = set()
        self._weights = candidates(self.model)

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        for unit in kspace.units():
            unit = self._with_calibration(unit)
            (channels,) = self._transform.images(unit)
            if not np.isfinite(channels.data).all():
                raise DataError(
                    f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; "
                    "look at the source of the data"
                )
            mask, n_centre = self._lines(unit)
            lines = to_kspace(as_tensor(channels.data).movedim(1, 0)) * along_lines(mask)  # (z, channel, ky, kx)
            scale = intensity_scale(lines, n_centre)
            figures = scan_figures(lines, mask, n_centre, scale)
            weights = best(self._weights, figures)
            if refused(weights.card, figures):
                raise DataError(
                    f"weights {weights.name} are for a single channel, and lines have {len(channels.data)}; take "
                    "weights for several, or compress the coils to one channel"
                )
            made = yield from self._reconstructed(weights, lines, mask, n_centre, scale)
            if "noise" in figures:
                figures["residual"] = (line_residual(made, lines, mask),)
            else:
                yield from self._tell(
                    "unwhitened",
                    "lines are not whitened, so neither their noise nor how far images are off them is known; acquire "
                    "noise, and put Prewhiten first",
                )
            beyond = outside(weights.card, figures)
            for name, words in beyond.items():
                yield from self._tell(
                    name, f"{words}, as weights {weights.name} are for; rely on no detail of such images alone"
                )
            meta: Meta = {"EchotrainModel": weights.name, "EchotrainWeights": weights.sha256}
            if "residual" in figures:
                meta["EchotrainDataConsistency"] = figures["residual"][0]
            if beyond:
                meta["EchotrainOutside"] = list(beyond.values())
            image = torch.polar(made.magnitude.clamp_min(0), made.image.angle())
            yield worked_on(channels, image[None].numpy(), by=type(self).__name__, meta=meta)
            if self.beside:
                yield from self._beside(unit)

    def finish(self) -> None:
        self._conventional.finish()

    def _with_calibration(self, unit: KSpace) -> KSpace:
        """`unit` with lines for calibration alone as well, where they are of the same image."""
        calibration = unit.calibration
        separate = self._header.encoding(int(unit.head["encoding_space_ref"])).calibration_mode
        if calibration is None or separate in ("separate", "external") or calibration.data.shape != unit.data.shape:
            return unit
        added = calibration.sampled & ~unit.sampled
        data = np.where(added[..., None], calibration.data, unit.data)
        return replace(unit, data=data, sampled=unit.sampled | added)

    def _lines(self, unit: KSpace) -> tuple[Tensor, int]:
        """Which lines along ky were acquired, and how many around the centre without gaps."""
        rows = unit.sampled[0]
        if not (unit.sampled == rows).all():
            raise DataError(
                "lines lack along kz, and networks are of planes; take a conventional chain, such as cg_sense"
            )
        n_centre = n_centre_lines(rows)
        if n_centre < min(FEWEST, len(rows)):
            raise DataError(
                f"{n_centre} lines around the centre of k-space were acquired without gaps, and networks need {FEWEST} "
                "or more; acquire the centre of k-space without gaps"
            )
        return torch.from_numpy(rows.copy()), n_centre

    def _reconstructed(
        self, weights: Weights, lines: Tensor, mask: Tensor, n_centre: int, scale: Tensor
    ) -> Generator[Text, None, Reconstruction]:
        if self._device.type != "cpu":
            try:
                return _run(weights, self._device, lines, mask, n_centre, scale)
            except torch.OutOfMemoryError:
                self._device = torch.device("cpu")
                yield from self._tell("gpu", "the GPU has not enough memory free, so images are made on the CPU")
        with enough_memory(f"weights {weights.name}", lines.shape):
            return _run(weights, self._device, lines, mask, n_centre, scale)

    def _beside(self, unit: KSpace) -> Iterator[Image | Text]:
        try:
            for image in self._conventional.process(unit):
                series = int(image.head["image_series_index"]) + BESIDE
                yield image.with_data(image.data, image_series_index=series)
        except DataError as error:
            yield from self._tell("beside", f"there is no conventional image beside: {error.message}")

    def _tell(self, case: str, words: str) -> Iterator[Text]:
        """Warn of a case, once."""
        if case not in self._told:
            self._told.add(case)
            yield Text(f"warning: LearnedReconstruction: {words}")


@torch.inference_mode()
def _run(
    weights: Weights, device: torch.device, lines: Tensor, mask: Tensor, n_centre: int, scale: Tensor
) -> Reconstruction:
    """What a network makes of slices, one at a time, at the intensities that they came with; on the CPU.

    Raises:
        DataError: where pixels are not finite.
    """
    network = _placed(weights.network, device)
    slices = []
    for one, unit in zip(lines, scale, strict=True):
        made = network.reconstruct((one / unit).to(device)[None], mask.to(device), n_centre)
        magnitude, image, maps = (part[0].cpu() for part in made)
        slices.append(Reconstruction(magnitude * unit, image * unit, maps))
    whole = Reconstruction(*(torch.stack(parts) for parts in zip(*slices, strict=True)))
    if not whole.magnitude.isfinite().all():
        raise DataError(f"weights {weights.name} give pixels that are not finite; take others")
    return whole


@lru_cache(maxsize=2)
def _placed(network: Network, device: torch.device) -> Network:
    """`network` on a device; kept there for the k-spaces that follow."""
    return network if device.type == "cpu" else deepcopy(network).to(device)
