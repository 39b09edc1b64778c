"""Coil maps as eigenvectors of what calibration lines have in common (ESPIRiT)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd.errors import DataError

from .tensors import Array, as_given, as_tensor

PIXELS = 1 << 13  # whose matrices are worked on at once, so that they stay near the cache
SQUARINGS = 2  # of the matrices, each of which doubles what an iteration does
ITERATIONS = 10


class CoilMaps(NamedTuple):
    """Maps and how sure they are. Arrays are of the kind that the calibration was."""

    maps: NDArray[np.complex64] | Tensor
    """Shape (set, channel, z, y, x) or (set, channel, y, x). The squares of a set sum to 1 over the channels, and
    channels of different sets are orthogonal; 0 where the eigenvalue is below the crop."""

    eigenvalues: NDArray[np.float32] | Tensor
    """1 where there is signal that the maps explain, less where there is none. Shape (set, z, y, x) or (set, y, x)."""


def espirit_maps(
    calibration: Array,
    shape: Sequence[int],
    *,
    sets: int = 1,
    kernel: Sequence[int] = (6, 6, 4),
    threshold: float = 0.03,
    crop: float = 0.8,
    limit: int = 24,
) -> CoilMaps:
    """Sensitivities of the channels from lines without gaps. Shape (channel, ky, kx) or (channel, kz, ky, kx), k-space.

    `shape` is that of the images, without channels. Patches of `kernel` samples (along kx, ky, kz), of the middle
    `limit` samples along each axis, span the space of what the coils can make of any object; `threshold` parts it from
    noise, by singular values in units of the largest. `sets` is how many maps each pixel has: 2 where the object folds
    in the full image. Pixels of a map whose eigenvalue is below `crop` are 0. Phases are relative to the combination
    of channels that holds most signal.

    Raises:
        DataError: where the lines are too few for the kernel, or hold no signal.

    References: M. Uecker et al., ESPIRiT - an eigenvalue approach to autocalibrating parallel MRI: where SENSE meets
    GRAPPA, Magn Reson Med 2014, 71:990-1001.
    """
    lines = _middle(as_tensor(calibration), limit)
    if lines.ndim == 3:
        lines = lines[:, None]
    image_shape = (1, 1, *shape)[-3:]
    spans = kernel_spans(kernel, image_shape)
    lags = _signal_lags(patches(lines, spans), len(lines), spans, threshold)
    starts = _strongest(lines, sets)
    maps = lines.new_empty(math.prod(image_shape), len(lines), sets)
    values = maps.new_empty(len(maps), sets, dtype=maps.real.dtype)
    for pixels, matrices in pixel_matrices(lags, image_shape):
        maps[pixels], values[pixels] = _eigenvectors(matrices, starts)
    turn = starts[:, 0].conj() @ maps
    maps *= torch.where(turn == 0, 1, turn.conj() / turn.abs())[:, None]
    maps *= (values >= crop)[:, None]
    return CoilMaps(
        as_given(maps.permute(2, 1, 0).reshape(sets, len(lines), *shape).contiguous(), calibration),
        as_given(values.T.reshape(sets, *shape).contiguous(), calibration),
    )


def kernel_spans(kernel: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Samples of a kernel along kz, ky and kx, from those along kx, ky, kz; at most half of what `shape` has."""
    return tuple(max(1, min(span, n // 2)) for span, n in zip((*kernel, 1, 1)[2::-1], shape, strict=True))


def patches(lines: Tensor, spans: Sequence[int]) -> Tensor:
    """What a kernel covers at all its places on a block of k-space. Shape (channel * kernel samples, place).

    Raises:
        DataError: where there are less than 3 along an axis, too few to tell what they have in common.
    """
    _, size_z, size_y, size_x = lines.shape
    n_places = [n - span + 1 for n, span in zip(lines.shape[1:], spans, strict=True)]
    if any(places < 3 for places, span in zip(n_places, spans, strict=True) if span > 1):
        raise DataError(
            f"{size_y} x {size_z} calibration lines (ky x kz) of {size_x} samples are too few for a kernel of "
            f"{' x '.join(map(str, spans[::-1]))} samples; acquire more calibration lines or set a smaller kernel"
        )
    windows = lines
    for axis, span in enumerate(spans, 1):
        windows = windows.unfold(axis, span, 1)
    return windows.permute(0, 4, 5, 6, 1, 2, 3).reshape(-1, math.prod(n_places))


def pixel_matrices(lags: Tensor, shape: Sequence[int]) -> Iterator[tuple[slice, Tensor]]:
    """A convolution of k-space as a matrix between channels at each pixel, some pixels after the others.

    `lags` says what a sample takes from others at distances from -n to n. Shape (kz, ky, kx, given, taken). Gives the
    pixels, in C order of `shape` (z, y, x), and matrices of shape (pixel, given, taken).
    """
    n_channels = lags.shape[-1]
    # Axes of one pixel first, which leaves the order of pixels as it is: planes are large then.
    order = sorted(range(3), key=lambda axis: shape[axis] > 1)
    lags, shape = lags.permute(*order, 3, 4), [shape[axis] for axis in order]
    waves_z, waves_y, waves_x = (_waves(n_lags, n).to(lags) for n_lags, n in zip(lags.shape, shape, strict=False))
    n_y, n_x = shape[1], shape[2]
    rows = max(1, PIXELS // n_x)
    for z, wave in enumerate(waves_z):
        plane = torch.tensordot(wave, lags, 1).flatten(1)  # (ky, everything else)
        for y in range(0, n_y, rows):
            some = (waves_y[y : y + rows] @ plane).view(-1, lags.shape[2], n_channels**2)
            first = (z * n_y + y) * n_x
            yield slice(first, first + len(some) * n_x), (waves_x @ some).view(-1, n_channels, n_channels)


def _waves(n_lags: int, n: int) -> Tensor:
    """What samples taken from further on are in the image, whose origin is at n // 2. Shape (n, lag), complex128."""
    position = torch.arange(n, dtype=torch.float64) - n // 2
    phase = -2 * math.pi / n * position[:, None] * (torch.arange(n_lags) - n_lags // 2)
    return torch.polar(torch.ones_like(phase), phase)


def _middle(block: Tensor, limit: int) -> Tensor:
    for axis, n in enumerate(block.shape[1:], 1):
        block = block.narrow(axis, max(0, (n - limit) // 2), min(n, limit))
    return block


def _signal_lags(places: Tensor, n_channels: int, spans: Sequence[int], threshold: float) -> Tensor:
    """What each sample is in a mean over all patches projected on signal. Shape (kz, ky, kx, channel, channel)."""
    scale = float(torch.linalg.vector_norm(places))
    if not 0 < scale < math.inf:
        raise DataError("the calibration lines hold no signal, or samples that are not finite; check their data")
    places = places / scale
    energies, vectors = torch.linalg.eigh(places @ places.mH)
    signal = vectors[:, energies > threshold**2 * energies[-1]]
    projection = (signal @ signal.mH).view(n_channels, *spans, n_channels, *spans)
    lags = signal.new_zeros(*(2 * span - 1 for span in spans), n_channels, n_channels)
    for place in np.ndindex(*spans):
        here = tuple(slice(span - 1 - at, 2 * span - 1 - at) for at, span in zip(place, spans, strict=True))
        lags[here] += projection[(slice(None), *place)].permute(2, 3, 4, 0, 1)
    return torch.div(lags, math.prod(spans))


def _strongest(lines: Tensor, sets: int) -> Tensor:
    """The combinations of channels with most signal, each real in its strongest channel. Shape (channel, set)."""
    samples = lines.flatten(1)
    vectors = torch.linalg.eigh(samples @ samples.mH)[1].flip(-1)[:, :sets]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return torch.mul(vectors, largest.conj() / largest.abs())


def _eigenvectors(matrices: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Dominant eigenvectors by orthogonal iterations. Shapes (pixel, channel, set) and (pixel, set)."""
    powers = matrices
    for _ in range(SQUARINGS):
        powers = powers @ powers
    vectors = starts.expand(len(matrices), *starts.shape)
    for _ in range(ITERATIONS):
        vectors = _orthonormal(powers @ vectors)
    return vectors, (vectors.conj() * (matrices @ vectors)).sum(1).real


def _orthonormal(vectors: Tensor) -> Tensor:
    columns: list[Tensor] = []
    for column in vectors.unbind(-1):
        for other in columns:
            column = column - other * (other.conj() * column).sum(1, keepdim=True)
        norm = torch.linalg.vector_norm(column, dim=1, keepdim=True)
        columns.append(column / norm.clamp_min(torch.finfo(norm.dtype).tiny))
    return torch.stack(columns, -1)
