"""Orthogonal wavelets of images, and shrinkage of their coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

# Scaling filters by their number of vanishing moments. I. Daubechies, Comm Pure Appl Math 1988, 41:909-996.
_SCALING = {
    2: (0.4829629131445341, 0.8365163037378079, 0.2241438680420134, -0.1294095225512604),
    4: (
        0.2303778133088965,
        0.7148465705529157,
        0.6308807679298589,
        -0.0279837694168599,
        -0.1870348117190931,
        0.0308413818355607,
        0.0328830116668852,
        -0.0105974017850690,
    ),
}
COARSEST = 8  # pixels along the shortest axis, below which images are not taken apart


def shrink_wavelets(images: Tensor, threshold: float, shift: int = 0, moments: int = 4) -> Tensor:
    """Images whose wavelet coefficients are nearer to 0 by `threshold`, or are 0. Shape (image, ...), complex.

    The magnitude of a coefficient is that over all images, so that they keep what is in one of them. Images are moved
    by `shift` pixels along each axis before and back afterwards: shifts that change with iterations leave no grid.
    Wavelets have 2 or 4 vanishing `moments`: 2 suit sharp edges, 4 what is smooth between them.
    Means over the coarsest pixels stay as they are.
    """
    axes = [axis for axis in range(1, images.ndim) if images.shape[axis] >= 2 * COARSEST]
    if not axes:
        return images
    levels = int(math.log2(min(images.shape[axis] for axis in axes) / COARSEST))
    padded = [-images.shape[axis] % 2**levels if axis in axes else 0 for axis in range(images.ndim)]
    x = torch.nn.functional.pad(images, [n for pad in reversed(padded) for n in (0, pad)])
    x = torch.view_as_real(torch.roll(x, [shift] * len(axes), axes))
    coefficients = _apply(x, axes, levels, moments, inverse=False)
    magnitude = torch.linalg.vector_norm(coefficients, dim=(0, -1), keepdim=True)
    kept = (1 - threshold / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny)).clamp_min_(0)
    kept[_corner(kept.shape, axes, levels, x.shape)] = 1
    shrunk = _apply(coefficients * kept, axes, levels, moments, inverse=True)
    moved = torch.roll(torch.view_as_complex(shrunk), [-shift] * len(axes), axes)
    return moved[tuple(slice(n) for n in images.shape)]


def _apply(x: Tensor, axes: Sequence[int], levels: int, moments: int, *, inverse: bool) -> Tensor:
    """Coefficients from real arrays or back; those of each level stand before (coarse) and behind (detail)."""
    x = x.clone()
    for level in reversed(range(levels)) if inverse else range(levels):
        corner = _corner(x.shape, axes, level, x.shape)
        part = x[corner]
        for axis in axes:
            matrix = _one_level(part.shape[axis], moments).to(x)
            part = torch.tensordot(matrix.mT if inverse else matrix, part, ([1], [axis])).movedim(0, axis)
        x[corner] = part
    return x


def _corner(shape: Sequence[int], axes: Sequence[int], level: int, full: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(full[axis] >> level if axis in axes else n) for axis, n in enumerate(shape))


@lru_cache(maxsize=64)
def _one_level(n: int, moments: int) -> Tensor:
    """An orthogonal matrix of coarse rows, then details; rows wrap around. Shape (n, n), n even."""
    matrix, scaling = torch.zeros(n, n, dtype=torch.float64), _SCALING[moments]
    for row in range(n // 2):
        for tap, value in enumerate(scaling):
            matrix[row, (2 * row + tap) % n] += value
            matrix[n // 2 + row, (2 * row + len(scaling) - 1 - tap) % n] += value * (-1) ** tap
    return matrix.float()
