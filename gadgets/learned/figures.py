"""What is measured of a scan, and of an image made from it, to compare with what weights were trained for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .networks import Reconstruction
from .networks.encoding import along_lines, expand
from .weights import MEASURED, ModelCard

LEAST_MEDIAN = 0.3
"""Of the squares of samples: noise of unit variance alone has ln 2, and signal only adds to it."""

RESIDUAL = (0.0, 5.0)
"""Where a card has no range of it: noise alone gives 1, and what a network changes at acquired lines adds to it."""


def n_centre_lines(sampled: NDArray[np.bool_]) -> int:
    """How many lines around the centre were acquired without gaps, as `centre_lines` counts them. Shape (ky,)."""
    centre = len(sampled) // 2
    missing = np.flatnonzero(~sampled)
    below = centre - int(missing[missing < centre].max(initial=-1)) - 1
    above = int(missing[missing >= centre].min(initial=len(sampled))) - centre
    return max(0, 2 * min(below, above), 2 * min(below, above - 1) + 1)


def is_whitened(kspace: Tensor, mask: Tensor) -> bool:
    """Whether acquired lines can hold noise of unit variance. Shapes (..., ky, kx) and (ky,)."""
    samples = kspace[..., mask, :]
    return bool(torch.view_as_real(samples).square().sum(-1).median() >= LEAST_MEDIAN)


def scan_figures(kspace: Tensor, mask: Tensor, n_centre: int, scale: Tensor) -> dict[str, tuple[float, ...]]:
    """Figures of a scan by name; each of several must be within a range. Shapes (slice, channel, ky, kx), (ky,).

    acceleration: lines of the matrix over those acquired, centre lines included; matrix: lines, and samples of each;
    channels; centre: lines around the centre without gaps; noise: its deviation in whitened lines over `scale`, that
    of intensities, in the brightest slice; left out where lines are not whitened.
    """
    n_channels, n_ky, n_kx = kspace.shape[1:]
    figures: dict[str, tuple[float, ...]] = {
        "acceleration": (n_ky / int(mask.sum()),),
        "matrix": (n_ky, n_kx),
        "channels": (n_channels,),
        "centre": (n_centre,),
    }
    if is_whitened(kspace, mask):
        figures["noise"] = (1 / float(scale.max()),)
    return figures


def line_residual(made: Reconstruction, kspace: Tensor, mask: Tensor) -> float:
    """Deviation of what the coils see of the image from the acquired lines; 1 for noise of unit variance alone."""
    off = along_lines(mask) * (expand(made.image, made.maps) - kspace)
    n_samples = int(mask.sum()) * kspace.numel() / kspace.shape[-2]
    return float(torch.linalg.vector_norm(off) / n_samples**0.5)


def outside(card: ModelCard, figures: Mapping[str, tuple[float, ...]]) -> dict[str, str]:
    """Figures beyond the ranges of a card, by name, in words."""
    ranges = {"residual": RESIDUAL, **card.ranges}
    return {
        name: f"{MEASURED[name]} {' x '.join(f'{value:.3g}' for value in values)}, not {low:.3g} to {high:.3g}"
        for name, values in figures.items()
        for low, high in [ranges.get(name, (-np.inf, np.inf))]
        if not all(low <= value <= high for value in values)
    }
