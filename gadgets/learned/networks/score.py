"""A network of complex images with noise of a known level, which knows images in general and no sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..score_sampling import sample_posterior
from .encoding import Network, Reconstruction, along_lines, intensity_scale, smooth_maps

DEVIATION = 0.28  # of pixels of scaled pictures, the air around included
FREQUENCIES = 8  # waves of the logarithm of the noise level, as sines and cosines
EMBEDDED = 32
FEW_LEVELS, FEW_SAMPLES = 16, 2  # of a reconstruction by the network alone


class _Block(nn.Module):
    """Two convolutions beside a short cut; the noise level scales and shifts channels between them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.level = nn.Linear(EMBEDDED, 2 * out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.across = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        nn.init.zeros_(self.second.weight)  # so that without normalisation no layer is louder than the one before

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.level(embedded)[..., None, None].chunk(2, 1)
        inner = functional.silu(torch.addcmul(shift, self.first(functional.silu(x)), 1 + scale))
        given: Tensor = self.across(x) + self.second(inner)
        return given


class ScoreNetwork(Network):
    """The mean of all images that an image with noise may be of, and so the score of the distribution of images.

    A U-Net without normalisation, as images have intensities that matter: the brightest is about 1. `channels` is the
    width of its first layer, doubled at each of the `pools`.

    References: Y. Song, S. Ermon, Improved techniques for training score-based generative models, NeurIPS 2020; T.
    Karras et al., Elucidating the design space of diffusion-based generative models, ibid. 2022 (its scaling).
    """

    deviation = DEVIATION

    def __init__(self, channels: int = 16, pools: int = 3) -> None:
        super().__init__()
        self.multiple = 2**pools
        widths = [channels * 2**level for level in range(pools + 1)]
        self.embedding = nn.Sequential(nn.Linear(2 * FREQUENCIES, EMBEDDED), nn.SiLU(), nn.Linear(EMBEDDED, EMBEDDED))
        self.given = nn.Conv2d(2, channels, 3, padding=1)
        self.down = nn.ModuleList(
            _Block(before, width) for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(_Block(width + 2 * width, width) for width in reversed(widths[:-1]))
        self.made = nn.Conv2d(channels, 2, 3, padding=1)

    def denoise(self, image: Tensor, level: Tensor) -> Tensor:
        """The mean of the images that `image` may be of. Shapes (batch, y, x), complex, and (batch,).

        `level` is the deviation of the complex noise.
        """
        level = level[:, None, None]
        size = (level**2 + DEVIATION**2).sqrt()
        found = self._network(image / size * math.sqrt(2), level[:, 0, 0] / DEVIATION) / math.sqrt(2)
        return image * (DEVIATION / size) ** 2 + found * (level * DEVIATION / size)

    def _network(self, image: Tensor, level: Tensor) -> Tensor:
        waves = (level.log() * 0.5)[:, None] * torch.arange(1, FREQUENCIES + 1, device=level.device) / 2
        embedded = functional.silu(self.embedding(torch.cat([waves.sin(), waves.cos()], 1)))
        n_y, n_x = image.shape[-2:]
        x = torch.view_as_real(image).permute(0, 3, 1, 2)
        x = self.given(functional.pad(x, (0, -n_x % self.multiple, 0, -n_y % self.multiple)))
        skipped: list[Tensor] = []
        for block in self.down:
            x = block(functional.avg_pool2d(x, 2) if skipped else x, embedded)
            skipped.append(x)
        skipped.pop()
        for block in self.up:
            enlarged = functional.interpolate(x, scale_factor=2.0)
            x = block(torch.cat([enlarged, skipped.pop()], 1), embedded)
        x = self.made(functional.silu(x))[..., :n_y, :n_x].float()
        return torch.view_as_complex(x.permute(0, 2, 3, 1).contiguous())

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        """The mean over a few samples of what images there may be, with maps from the centre lines."""
        maps, scale = smooth_maps(kspace, n_centre), intensity_scale(kspace, n_centre)
        lines = along_lines(mask) * kspace / scale[:, None, None, None]
        images = [
            sample_posterior(self, *one, n_samples=FEW_SAMPLES, levels=FEW_LEVELS).mean(0)
            for one in zip(lines, mask.expand(len(lines), -1), maps, strict=True)
        ]
        image = torch.stack(images) * scale[:, None, None]
        return Reconstruction(image.abs(), image, maps)
