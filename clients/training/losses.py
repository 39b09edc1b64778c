"""How far an image is from the truth, so that a network can learn from it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 7  # pixels, without weights
K1, K2 = 0.01, 0.03
L1_WEIGHT = 10  # near the truth both parts weigh about alike


def ssim_map(image: Tensor, truth: Tensor, data_range: Tensor | float) -> Tensor:
    """Structural similarity around each pixel that a whole window fits around. Shape (slice, y - 6, x - 6).

    Args:
        image: shape (slice, y, x).
        truth: shape (slice, y, x).
        data_range: the brightest value there may be.

    References:
        Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 13, 2004.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    products = torch.stack([image, truth, image * image, truth * truth, image * truth], dim=1)
    x, y, xx, yy, xy = functional.avg_pool2d(products, WINDOW, stride=1).unbind(dim=1)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances, covariance = unbiased * (xx - x * x + yy - y * y), unbiased * (xy - x * y)
    return (2 * x * y + c1) * (2 * covariance + c2) / ((x * x + y * y + c1) * (variances + c2))


def ssim_loss(image: Tensor, truth: Tensor, data_range: Tensor | float, pixels: Tensor) -> Tensor:
    """1 - the mean structural similarity around `pixels`, a mask of shape (slice, y, x)."""
    margin = WINDOW // 2
    inner = pixels[:, margin:-margin, margin:-margin]
    return 1 - ssim_map(image, truth, data_range)[inner].mean()


def l1_loss(image: Tensor, truth: Tensor, data_range: Tensor | float, pixels: Tensor) -> Tensor:
    """Mean size of the difference at `pixels`, a mask, as a fraction of the brightest value."""
    return functional.l1_loss(image[pixels], truth[pixels]) / data_range


def ssim_l1_loss(image: Tensor, truth: Tensor, data_range: Tensor | float, pixels: Tensor) -> Tensor:
    """Structure around `pixels` and brightness everywhere, so that around the head nothing is made up."""
    everywhere = functional.l1_loss(image, truth) / data_range
    return ssim_loss(image, truth, data_range, pixels) + L1_WEIGHT * everywhere


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | float, Tensor], Tensor]] = {
    "ssim": ssim_loss,
    "l1": l1_loss,
    "ssim+l1": ssim_l1_loss,
}
