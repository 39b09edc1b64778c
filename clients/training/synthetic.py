"""The built-in training data: scans of synthetic heads by random arrays, made anew from (seed, index) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd.errors import ParameterError

from .arrays import draw_array
from .examples import Example, centre_crop, root_sum_of_squares
from .heads import draw_slice
from .tissues import Tissues

FINE = 2  # the object is drawn on a grid this much finer, so that pixels are partial volumes and edges ring
LEAST_MATRIX = 16
LEAST_HEAD = 0.05  # of the picture
NOISE = (0.002, 0.05)
READOUT_BY_T2_STAR = (0.02, 0.5)  # duration of a readout, in units of T2*


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Slices of heads, each of its own."""

    tissues: Tissues
    matrix: tuple[int, int]
    """Least and greatest size of an axis; ky and kx are drawn independently."""

    channels: tuple[int, int]
    """Fewest and most."""

    seed: tuple[int, ...]
    description: str = "synthetic heads (tissue maps of ICBM152; random shapes, lesions, contrasts and arrays)"
    contrasts: tuple[str, ...] = ("T1", "T2", "proton density", "inversion recovery, FLAIR among them", "arbitrary")
    n_volumes: int = 0
    """How many slices `volumes` gives, each its own volume."""

    noise: tuple[float, float] = NOISE
    """Least and greatest standard deviation, drawn evenly in its logarithm; the 99th percentile of the image is 1."""

    def __post_init__(self) -> None:
        if not LEAST_MATRIX <= self.matrix[0] <= self.matrix[1]:
            raise ParameterError(f"matrix {self.matrix} must be {LEAST_MATRIX} or more, the least first")
        if not 1 <= self.channels[0] <= self.channels[1]:
            raise ParameterError(f"channels {self.channels} must be 1 or more, the fewest first")
        if not 0 < self.noise[0] <= self.noise[1]:
            raise ParameterError(f"noise {self.noise} must be above 0, the least first")

    def draw(self, index: int) -> Example:
        random = np.random.default_rng((*self.seed, index))
        shape = tuple(int(n) for n in random.integers(self.matrix[0], self.matrix[1] + 1, 2))
        fine = (FINE * shape[0], FINE * shape[1])
        part = draw_slice(random, self.tissues, fine)
        while part.head.mean() < LEAST_HEAD:  # a plane that was bent past the head
            part = draw_slice(random, self.tissues, fine)
        n_channels = int(random.integers(self.channels[0], self.channels[1] + 1))
        maps = draw_array(random, n_channels, part.middle_mm, part.axes_mm, fine)
        kspace = centre_crop(centred_fft(maps * part.image, (-2, -1)), shape) / np.float32(FINE)
        along = np.linspace(0, 1, shape[1]) * random.uniform(*READOUT_BY_T2_STAR)
        kspace = kspace * np.exp(along.mean() - along).astype(np.float32)
        truth = root_sum_of_squares(kspace)
        scale = np.float32(1 / max(float(np.percentile(truth, 99)), 1e-6))
        noise = float(np.exp(random.uniform(*np.log(self.noise))))
        head = part.head.reshape(shape[0], FINE, shape[1], FINE).mean(axis=(1, 3)) > 0.5
        noisy = kspace * scale + noise * _correlated(random, kspace.shape)
        return Example(noisy.astype(np.complex64), truth * scale, head, noise)

    def volumes(self) -> Iterator[list[Example]]:
        return ([self.draw(index)] for index in range(self.n_volumes))


def _correlated(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Noise of variance 1 in real and imaginary part, in part common to channels. Shape (channel, ky, kx)."""
    n = shape[0]
    mixing = (
        np.eye(n) + random.uniform(0, 0.6) * (random.normal(size=(n, n)) + 1j * random.normal(size=(n, n))) / n**0.5
    )
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    white = random.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    noise: NDArray[np.complex64] = np.einsum("cd,dyx->cyx", mixing.astype(np.complex64), white, optimize=True)
    return noise
