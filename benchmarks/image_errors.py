"""How far an image is from the true one: by its norm, and by its structure."""

from __future__ import annotations

import numpy as np
from imaging_scans import Lines
from scipy.ndimage import uniform_filter

WINDOW = 7  # pixels, as fastMRI's measure has it


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def fitted(image: np.ndarray, lines: Lines) -> np.ndarray:
    """The magnitude times the factor that brings it nearest to the truth within the object."""
    magnitude = np.abs(image)
    found, wanted = magnitude[lines.inside], lines.truth[lines.inside]
    return magnitude * (found @ wanted) / (found @ found)


def error(image: np.ndarray, lines: Lines) -> float:
    return relative(fitted(image, lines)[lines.inside], lines.truth[lines.inside])


def similarity_map(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural similarity of real images about each pixel, for a range from 0 to the largest value of the other.

    References: Z. Wang et al., IEEE Trans Image Process 2004, 13:600-612.
    """
    one, other = one.astype(float), other.astype(float)
    means = uniform_filter(one, WINDOW), uniform_filter(other, WINDOW)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances = [
        unbiased * (uniform_filter(a * b, WINDOW) - uniform_filter(a, WINDOW) * uniform_filter(b, WINDOW))
        for a, b in ((one, one), (other, other), (one, other))
    ]
    small = (0.01 * other.max()) ** 2, (0.03 * other.max()) ** 2
    ratio = (2 * means[0] * means[1] + small[0]) * (2 * variances[2] + small[1])
    return ratio / ((means[0] ** 2 + means[1] ** 2 + small[0]) * (variances[0] + variances[1] + small[1]))


def similarity(image: np.ndarray, lines: Lines) -> float:
    """Mean structural similarity within the object."""
    return float(similarity_map(fitted(image, lines), lines.truth)[lines.inside].mean())
