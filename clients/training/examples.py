"""What a network learns from: a whole scan of a slice, its true image, and which lines are shown to the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echotrain.gadgets.fourier import centred_fft, centred_ifft


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A slice, of which all lines are there."""

    kspace: NDArray[np.complex64]
    """Shape (channel, ky, kx)."""

    truth: NDArray[np.float32]
    """Magnitude, shape (y, x); may be the middle part of the picture that `kspace` gives."""

    head: NDArray[np.bool_]
    """Where the object is, shape (y, x) of `truth`."""

    noise: float = float("nan")
    """Standard deviation of real and imaginary part, where the 99th percentile of `truth` is 1; nan if not known."""

    transposed: bool = False
    """Whether y is what was x."""


class Source(Protocol):
    """Where examples come from; the same index always gives the same example."""

    @property
    def description(self) -> str:
        """For the model card."""

    @property
    def contrasts(self) -> tuple[str, ...]:
        """For the model card; empty if not known."""

    def draw(self, index: int) -> Example:
        """Example `index` >= 0 of an endless row."""

    def volumes(self) -> Iterator[list[Example]]:
        """Slices of each volume in order, for validation; there is an end."""


def root_sum_of_squares(kspace: NDArray[np.complex64]) -> NDArray[np.float32]:
    """The magnitude image of k-space (channel, ky, kx). Shape (y, x)."""
    image: NDArray[np.float32] = np.sqrt((np.abs(centred_ifft(kspace, (-2, -1))) ** 2).sum(axis=0))
    return image


def centre_crop(array: Any, shape: tuple[int, ...]) -> Any:
    """The middle part of the last axes; index n // 2 stays the origin."""
    first = [size // 2 - wanted // 2 for size, wanted in zip(array.shape[-len(shape) :], shape, strict=True)]
    return array[(..., *(slice(start, start + wanted) for start, wanted in zip(first, shape, strict=True)))]


def transpose(example: Example) -> Example:
    """The slice with its axes swapped, so that lines are left out along the other one."""
    return replace(
        example,
        kspace=np.ascontiguousarray(example.kspace.swapaxes(-2, -1)),
        truth=np.ascontiguousarray(example.truth.T),
        head=np.ascontiguousarray(example.head.T),
        transposed=not example.transposed,
    )


def single_coil(example: Example) -> Example:
    """The slice as one receiver would have seen it: the sum of channels that comes nearest to the truth.

    References:
        Tygert and Zbontar, Simulating single-coil MRI from the responses of multiple coils, CAMCoS 15, 2020.
    """
    images = centred_ifft(example.kspace, (-2, -1))
    part = centre_crop(images, example.truth.shape).reshape(len(images), -1)
    weights = np.linalg.lstsq(part.T, example.truth.reshape(-1).astype(np.complex64), rcond=None)[0]
    image = np.einsum("c,cyx->yx", weights.astype(np.complex64), images)
    truth = np.abs(centre_crop(image, example.truth.shape))
    return replace(example, kspace=centred_fft(image[None], (-2, -1)), truth=truth)
