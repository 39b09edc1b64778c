"""Images that fit few lines and of which a regularizer makes little: total variation, wavelets or low rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cg_sense import sense_normal
from .coils import combine
from .iteration import chance_shifts, proximal_gradient
from .low_rank import shrink_low_rank
from .total_variation import TotalVariation
from .wavelets import shrink_wavelets

Regularizer = Literal["total_variation", "wavelets", "low_rank"]

OUTER = 0.1  # of the samples, those farthest from the centre of k-space, which are noise for the most part
PATIENCE = 10  # iterations
MOMENTS = 2  # of wavelets; brains are no better with 4, and what has sharp edges is worse
SHIFTS = (
    0,
    5,
    11,
    18,
)  # pixels; means over these leave no grid, and settle, as one by chance for each iteration does not


class Solved(NamedTuple):
    """As Reconstructed, of tensors (frame, set, z, y, x)."""

    images: Tensor
    iterations: int
    residual: float


def solve(
    channels: Tensor,
    maps: Tensor,
    sampled: NDArray[np.bool_],
    noise: float,
    *,
    regularizer: Regularizer,
    weight: float,
    time_weight: float,
    block: int,
    iterations: int,
    tolerance: float,
    start: Tensor | None,
) -> Solved:
    """As compressed_sensing, from aliased images of the channels.

    Shapes (frame, channel, z, y, x), (set, channel, z, y, x), (frame, kz, ky); `start` (frame, set, z, y, x).
    """
    coils = maps.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1)  # once, in the order that normals work in
    normals = [sense_normal(coils, lines) for lines in sampled]

    def normal(images: Tensor) -> Tensor:
        return torch.stack([one(image) for one, image in zip(normals, images, strict=True)])

    right = torch.stack([torch.stack([combine(frame, one) for one in maps]) for frame in channels])
    unit = noise or 1.0  # that all is counted in, so that squares stay within the range of single precision
    right = right.permute(0, 1, 4, 2, 3).contiguous() / unit  # (frame, set, x, z, y)
    images, taken = proximal_gradient(
        normal,
        right,
        _shrinkage(regularizer, right.shape, weight * noise / unit, time_weight * noise / unit, block),
        iterations,
        tolerance,
        start=None if start is None else start.permute(0, 1, 4, 2, 3).contiguous() / unit,
        patience=PATIENCE,
    )
    # Regularizers reach beyond what the maps cover, where no line says anything of the image.
    images = images * (maps != 0).any(1).permute(0, 3, 1, 2)
    energy: float = sum(_product(frame / unit, frame / unit) for frame in channels)
    energy += _product(images, normal(images)) - 2 * _product(images, right)
    n_samples = int(np.count_nonzero(sampled)) * channels.shape[1] * channels.shape[-1]
    residual = math.sqrt(max(energy, 0.0) / max(n_samples, 1))
    return Solved(images.permute(0, 1, 3, 4, 2).contiguous() * unit, taken, residual)


def _shrinkage(
    regularizer: Regularizer, shape: Sequence[int], weight: float, time_weight: float, block: int
) -> Callable[[Tensor, float], Tensor]:
    """The proximal step for images of `shape` (frame, set, x, z, y)."""
    if regularizer == "total_variation":
        space = [axis for axis in (2, 3, 4) if shape[axis] > 1]
        terms = [(axes, size) for axes, size in ((space, weight), ([0], time_weight)) if size > 0]
        return TotalVariation(*(term for term in terms if term[0] != [0] or shape[0] > 1)).shrink
    shifts = chance_shifts()
    if regularizer == "low_rank":
        return lambda x, step: shrink_low_rank(x, step * weight, block, next(shifts))

    def shrink(x: Tensor, step: float) -> Tensor:
        moved = [
            torch.stack([shrink_wavelets(frame, step * weight, shift, MOMENTS) for frame in x]) for shift in SHIFTS
        ]
        return torch.stack(moved).mean(0)

    return shrink


def _product(one: Tensor, other: Tensor) -> float:
    return float((one.conj() * other).real.sum(dtype=torch.float64))


def outer_deviation(kspace: NDArray[np.complex64]) -> float:
    """Deviation of complex samples far from the centre of k-space, of noise for the most part: its median tells.

    Shape (..., channel, kz, ky, kx); samples that are 0 in all channels were not acquired.
    """
    acquired = (kspace != 0).any(-4)
    distance = np.zeros(())
    for n in kspace.shape[-3:]:
        distance = distance[..., None] + ((np.arange(n) - n // 2) / (n / 2)) ** 2
    distance = np.broadcast_to(distance, acquired.shape)
    if not acquired.any():
        return 0.0
    acquired &= distance >= np.quantile(distance[acquired], 1 - OUTER)
    outer = np.moveaxis(kspace, -4, 0)[:, acquired]
    return float(np.sqrt(np.median(outer.real**2 + outer.imag**2) / np.log(2)))
