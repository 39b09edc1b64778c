"""Smooth random fields: what bends, shades and grains a synthetic head."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def smooth_field(
    random: np.random.Generator, shape: tuple[int, int], scale: float, count: int = 1
) -> NDArray[np.float32]:
    """Noise of mean 0 and standard deviation 1 that varies over `scale` pixels. Shape (count, y, x)."""
    coarse = [math.ceil(n / scale) + 3 for n in shape]
    return enlarge(random.standard_normal((count, *coarse), np.float32), (shape[0], shape[1]))


def enlarge(fields: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Real fields on a coarse grid, drawn smoothly over a fine one, corner to corner. Shape (count, y, x)."""
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(fields, np.float32))[None], shape, mode="bicubic", align_corners=True
    )
    values: NDArray[np.float32] = fine[0].numpy()
    return values
