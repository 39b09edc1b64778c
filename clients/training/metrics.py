"""How good images of a volume are, as fastMRI's figures say it, over the whole picture or the head alone."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from .losses import WINDOW, ssim_map

HEAD_THRESHOLD = 0.1  # of the 99th percentile of a slice


class Figures(NamedTuple):
    """What is given for a volume. The data range is the brightest value of the true volume."""

    ssim: float
    psnr: float
    """[dB]"""

    nmse: float


def compare(images: NDArray[Any], truth: NDArray[Any], heads: NDArray[np.bool_] | None = None) -> Figures:
    """Figures of a volume, over the pixels of `heads` or over all.

    Args:
        images: shape (slice, y, x).
        truth: shape (slice, y, x).
        heads: pixels that count, shape (slice, y, x). For SSIM those around which a whole window fits.

    References:
        Zbontar et al., fastMRI: an open dataset and benchmarks for accelerated MRI, arXiv:1811.08839.
    """
    heads = np.ones(truth.shape, np.bool_) if heads is None else heads
    images, truth = images.astype(np.float64), truth.astype(np.float64)
    data_range = float(truth.max())
    similarity = ssim_map(torch.from_numpy(images), torch.from_numpy(truth), data_range).numpy()
    margin = WINDOW // 2
    inner = heads[:, margin:-margin, margin:-margin]
    squares = ((images - truth) ** 2)[heads]
    mean = float(squares.mean())
    return Figures(
        float(similarity[inner].mean()),
        10 * math.log10(data_range**2 / mean) if mean else math.inf,
        float(squares.sum() / (truth[heads] ** 2).sum()),
    )


def head_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The object in a magnitude image by a threshold, with its dark parts inside. Shape (y, x)."""
    bright = scipy.ndimage.binary_opening(image > HEAD_THRESHOLD * np.percentile(image, 99))
    filled: NDArray[np.bool_] = scipy.ndimage.binary_fill_holes(bright)
    return filled if filled.any() else np.ones(image.shape, np.bool_)
