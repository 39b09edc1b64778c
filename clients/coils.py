"""Sensitivities of a receive array as a few plane waves, so that a coil's k-space is exact too.

A coil of sensitivity sum_j c_j exp(2 pi i kappa_j x) sees an object of Fourier transform F(k) as
sum_j c_j F(k - kappa_j). The waves have a period of two fields of view; their coefficients are fitted, to about 4 %, to
the fields of wire loops around the head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HARMONICS = (1, 3, 3)  # along z, y, x: the waves' numbers run from -h to h
LOOP_RADIUS = 0.5  # here and below lengths are in half fields of view
RING = (1.3, 1.45)  # semi-axes along x and y of the ellipse that the loops stand on
ROWS = 3  # of loops along z, staggered
ROW_SPACING = 0.6
SLAB = 0.5  # half the depth of what is scanned: the array reaches beyond it, so that few waves along z suffice
RIDGE = 1e-3  # of the fit: waves of a double period are nearly dependent over one field of view


@functools.lru_cache(maxsize=16)
def coil_coefficients(n_coils: int) -> NDArray[np.complex128]:
    """Coefficients c_j of the waves. Shape (coil, 3, 7, 7), the axes of waves in the order z, y, x.

    Wave (l, m, n), counted from the middle of these axes, is exp(2 pi i (n x + m y + l z) / 2) with x, y, z in fields
    of view. A single coil is uniform; an array has a root of the sum of squares whose mean over the head is 1.
    """
    counts = [2 * h + 1 for h in HARMONICS]
    if n_coils == 1:
        uniform = np.zeros((1, *counts), np.complex128)
        uniform[(0, *HARMONICS)] = 1
        return uniform
    z, y, x = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in (7, 25, 25)), indexing="ij"))
    points = np.stack([x, y, z], axis=-1)[x**2 + y**2 <= 1]
    target = np.stack([_loop_field(points, coil, n_coils) for coil in range(n_coils)], axis=1)
    target /= np.sqrt((np.abs(target) ** 2).sum(axis=1)).mean()
    basis = np.einsum("pl,pm,pn->plmn", *(waves(points[:, 2 - i], h) for i, h in enumerate(HARMONICS)))
    basis = basis.reshape(len(points), -1)
    normal = basis.conj().T @ basis + RIDGE * len(points) * np.eye(basis.shape[1])
    fitted: NDArray[np.complex128] = np.linalg.solve(normal, basis.conj().T @ target).T
    return fitted.reshape(n_coils, *counts)


def waves(position: NDArray[Any], harmonics: int) -> NDArray[np.complex128]:
    """The waves of one axis at positions in half fields of view. Shape (position, wave)."""
    numbers = np.arange(-harmonics, harmonics + 1)
    values: NDArray[np.complex128] = np.exp(0.5j * np.pi * np.multiply.outer(position, numbers))
    return values


def plane_coefficients(n_coils: int, z: float) -> NDArray[np.complex128]:
    """Coefficients within the plane at `z` [half fields of view]. Shape (coil, 7, 7)."""
    plane: NDArray[np.complex128] = np.einsum(
        "clmn,l->cmn", coil_coefficients(n_coils), waves(np.array([z]), HARMONICS[0])[0]
    )
    return plane


def coil_sensitivities(n_coils: int, shape: Sequence[int], *, z: float = 0.0) -> NDArray[np.complex64]:
    """The sensitivities at the centres of the pixels of `phantom_image`. Shape (coil, *shape).

    Args:
        n_coils: how many coils the array has.
        shape: (y, x) for the plane at `z`, or (z, y, x) for the volume.
        z: height of the plane [half fields of view].
    """
    heights = np.array([z]) if len(shape) == 2 else _pixels(shape[0])
    along = [waves(p, h) for p, h in zip((heights, _pixels(shape[-2]), _pixels(shape[-1])), HARMONICS, strict=True)]
    values: NDArray[Any] = np.einsum("clmn,zl,ym,xn->czyx", coil_coefficients(n_coils), *along, optimize=True)
    sensitivities: NDArray[np.complex64] = values.reshape(n_coils, *shape).astype(np.complex64)
    return sensitivities


def _pixels(n: int) -> NDArray[Any]:
    return (np.arange(n) - n // 2) * (2 / n)


def _loop_field(points: NDArray[np.float64], coil: int, n_coils: int, n_segments: int = 24) -> NDArray[np.complex128]:
    """What a loop receives, Bx - i By by the law of Biot and Savart (and reciprocity). Shape (point,)."""
    angle = 2 * np.pi * coil / n_coils
    rows = min(ROWS, n_coils // 2)
    height = ROW_SPACING * (coil % rows - (rows - 1) / 2)
    centre = np.array([RING[0] * np.cos(angle), RING[1] * np.sin(angle), height])
    tangent, axis = np.array([-np.sin(angle), np.cos(angle), 0.0]), np.array([0.0, 0.0, 1.0])
    turn = 2 * np.pi * np.arange(n_segments)[:, None] / n_segments
    wire = centre + LOOP_RADIUS * (np.cos(turn) * tangent + np.sin(turn) * axis)
    current = np.cos(turn) * axis - np.sin(turn) * tangent
    distance = (points * [1, 1, SLAB])[:, None] - wire
    field = (np.cross(current, distance) / np.linalg.norm(distance, axis=-1, keepdims=True) ** 3).sum(axis=1)
    received: NDArray[np.complex128] = field[:, 0] - 1j * field[:, 1]
    return received
