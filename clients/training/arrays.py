"""Receive arrays that differ from example to example: wire loops around a head, by the law of Biot and Savart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fields import enlarge

SEGMENTS = 20  # of a wire
COARSE = 28  # points along each axis, at which fields are computed: they vary slowly within a head
BLUNT_MM = 20.0  # keeps the field near a wire finite; there is only air


def draw_array(
    random: np.random.Generator,
    n_channels: int,
    middle_mm: NDArray[np.float64],
    axes_mm: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.complex64]:
    """Sensitivities Bx - i By of loops on an ellipse, each moved and turned a little. Shape (channel, y, x).

    Args:
        random: source of chance.
        n_channels: loops; 1 to 3 rows of them along the head.
        middle_mm: of the picture, in x right, y anterior, z superior. Shape (3,).
        axes_mm: from one pixel to the next down a column, and along a row. Shape (2, 3).
        shape: of the picture.
    """
    down, along = (np.linspace(-(n // 2), n - 1 - n // 2, COARSE) for n in shape)
    points = middle_mm + down[:, None, None] * axes_mm[0] + along[:, None] * axes_mm[1]
    wires, currents = _loops(random, n_channels)
    distance = points.reshape(1, 1, -1, 3) - wires[:, :, None]
    cubed = ((distance**2).sum(axis=-1) + BLUNT_MM**2) ** 1.5
    field = (np.cross(currents[:, :, None], distance) / cubed[..., None]).sum(axis=1)
    parts = np.stack([field[..., 0], -field[..., 1]]).reshape(-1, COARSE, COARSE)
    real, imaginary = enlarge(parts, shape).reshape(2, n_channels, *shape)
    sensitivities: NDArray[np.complex64] = (real + 1j * imaginary).astype(np.complex64)
    sensitivities /= np.sqrt((np.abs(sensitivities) ** 2).sum(axis=0)).mean()
    return sensitivities


def _loops(random: np.random.Generator, n_channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points on the wires [mm] and the current there, both of shape (channel, segment, 3)."""
    n_rows = int(random.integers(1, 4)) if n_channels >= 6 else 1
    number = np.arange(n_channels)
    angle = 2 * np.pi * (number / n_channels + random.uniform()) + random.normal(0, 0.06, n_channels)
    height = 70.0 * (number % n_rows - (n_rows - 1) / 2) + random.normal(0, 8, n_channels)
    semi_axes = random.uniform((95, 115), (135, 155)) * (1 + random.normal(0, 0.04, (n_channels, 2)))
    ring = np.stack([semi_axes[:, 0] * np.cos(angle), semi_axes[:, 1] * np.sin(angle), height], axis=-1)
    facing = angle + random.normal(0, 0.15, n_channels)
    tangent = np.stack([-np.sin(facing), np.cos(facing), random.normal(0, 0.15, n_channels)], axis=-1)
    upright = np.broadcast_to([0.0, 0.0, 1.0], tangent.shape)
    radius = random.uniform(35, 65) * (1 + random.normal(0, 0.05, (n_channels, 1, 1)))
    turn = (2 * np.pi * np.arange(SEGMENTS) / SEGMENTS)[:, None]
    wires = ring[:, None] + radius * (np.cos(turn) * tangent[:, None] + np.sin(turn) * upright[:, None])
    currents = radius * (np.cos(turn) * upright[:, None] - np.sin(turn) * tangent[:, None])
    return wires, currents
