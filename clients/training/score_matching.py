"""What a prior learns from: true images, given a smooth phase, flipped and made noisy, which it is to clean."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from echotrain.gadgets.learned.score_sampling import GREATEST, LEAST, Prior

DRAWS = 4  # of phase and noise, of each image: drawing a head takes as long as learning from two
BRIGHTNESS = (0.8, 1.25)  # the scale of a scan depends on its centre lines a little


def score_matching(prior: Prior, truth: Tensor) -> Tensor:
    """How far the prior's means are off the true image, in units of what is to be expected. Shape (1, y, x), magnitude.

    By chance from torch's own source: the noise levels, of those that sampling goes through; the smooth phase.

    References: P. Vincent, A connection between score matching and denoising autoencoders, Neural Computation 2011,
    23:1661-1674; T. Karras et al., NeurIPS 2022 (the weight of each level).
    """
    image = torch.cat([_varied(truth) for _ in range(DRAWS)])
    # Each part of the levels has its turn in each step, which makes losses scatter less.
    turn = (torch.arange(DRAWS) + torch.rand(DRAWS)) / DRAWS
    level = (LEAST * (GREATEST / LEAST) ** turn).to(truth.device)
    return denoising_error(prior, image, level)


def denoising_error(prior: Prior, image: Tensor, level: Tensor) -> Tensor:
    """Mean square of a prior's error, weighted so that each level counts alike. Shapes (batch, y, x) and (batch,)."""
    noise = torch.randn(image.shape, dtype=image.dtype).to(image.device)
    off = prior.denoise(image + level[:, None, None] * noise, level) - image
    weight = level**-2 + prior.deviation**-2
    return (torch.view_as_real(off).square().sum((-3, -2, -1)) * weight).mean() / image[0].numel()


def _varied(truth: Tensor) -> Tensor:
    """An image of the magnitude `truth`, brighter or darker, as its mirror images, with a smooth phase. Complex."""
    flips = [axis for axis in (-2, -1) if torch.rand(()) < 0.5]
    factor = BRIGHTNESS[0] * (BRIGHTNESS[1] / BRIGHTNESS[0]) ** float(torch.rand(()))
    n_y, n_x = truth.shape[-2:]
    coarse = float(torch.rand(())) * torch.randn(1, 1, 6, 6)
    smooth = functional.interpolate(coarse, (n_y, n_x), mode="bicubic", align_corners=True)[0]
    down, along = 1.5 * torch.randn(2)
    phase = 2 * math.pi * torch.rand(()) + smooth
    phase = phase + down * torch.linspace(-1, 1, n_y)[:, None] + along * torch.linspace(-1, 1, n_x)
    return torch.polar(factor * truth.flip(flips), phase.to(truth.device))
