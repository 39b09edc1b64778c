"""U-Nets: of real images, of complex images, and as a reconstruction of their own.

Names of weights are those of fastMRI's public models, so that these can be loaded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dropout import ChannelDropout
from .encoding import TINY, Network, Reconstruction, magnitude, smooth_maps, to_image


class _Normalisation(nn.InstanceNorm2d):
    """Brings each channel of each image to mean 0 and variance 1; without gradients by fewer passes on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu":
            return super().forward(x)
        flat = x.flatten(2)
        off = flat - flat.mean(-1, keepdim=True)
        variance = torch.linalg.vector_norm(off, dim=-1, keepdim=True).square() / flat.shape[-1]
        return off.mul_((variance + self.eps).rsqrt()).view(x.shape)


class _Convolutions(nn.Module):
    """Two convolutions, each normalised over the image. The numbers of layers are part of the names of weights."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            _Normalisation(out_channels),
            nn.LeakyReLU(0.2),
            ChannelDropout(dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            _Normalisation(out_channels),
            nn.LeakyReLU(0.2),
            ChannelDropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.layers(x)
        return given


class _Enlargement(nn.Module):
    """Twice the pixels along each axis, half the channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False),
            _Normalisation(out_channels),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.layers(x)
        return given


class UNet(nn.Module):
    """A U-Net of images of any size: (batch, in_channels, y, x) to (batch, out_channels, y, x), real.

    `channels` is the width of the first layer, doubled at each of the `pools`; `dropout` is the part of the channels
    that are set to 0 by chance after each convolution in training. With `readout_first`, axes are swapped inside, for
    weights that were trained on images whose readout runs along y, such as fastMRI's.

    References: O. Ronneberger et al., MICCAI 2015, p. 234-241; J. Zbontar et al., arXiv 1811.08839 (this form).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: int = 32,
        pools: int = 4,
        *,
        readout_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.multiple, self.readout_first = 2**pools, readout_first
        widths = [channels * 2**level for level in range(pools)]
        self.down_sample_layers = nn.ModuleList(
            _Convolutions(before, width, dropout) for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.conv = _Convolutions(widths[-1], channels * 2**pools, dropout)
        self.up_transpose_conv = nn.ModuleList(_Enlargement(2 * width, width) for width in reversed(widths))
        self.up_conv = nn.ModuleList(_Convolutions(2 * width, width, dropout) for width in reversed(widths))
        self.up_conv[-1] = nn.Sequential(self.up_conv[-1], nn.Conv2d(channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.readout_first:
            x = x.mT
        n_y, n_x = x.shape[-2:]
        # The smallest image in the middle has several pixels, since one alone cannot be normalised.
        sizes = [max(-(-n // self.multiple), least) * self.multiple for n, least in ((n_y, 1), (n_x, 2))]
        top, left = (sizes[0] - n_y) // 2, (sizes[1] - n_x) // 2
        x = functional.pad(x, (left, sizes[1] - n_x - left, top, sizes[0] - n_y - top))
        skipped = []
        for layer in self.down_sample_layers:
            x = layer(x)
            skipped.append(x)
            x = functional.avg_pool2d(x, 2)
        x = self.conv(x)
        for enlarge, layer in zip(self.up_transpose_conv, self.up_conv, strict=True):
            x = layer(torch.cat([enlarge(x), skipped.pop()], 1))
        x = x[..., top : top + n_y, left : left + n_x]
        return x.mT if self.readout_first else x


class ComplexUNet(nn.Module):
    """A U-Net of complex images, whose parts are each brought to mean 0 and deviation 1. Shape (batch, y, x)."""

    def __init__(self, channels: int, pools: int, *, readout_first: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.unet = UNet(2, 2, channels, pools, readout_first=readout_first, dropout=dropout)

    def forward(self, image: Tensor) -> Tensor:
        parts = torch.view_as_real(image).permute(0, 3, 1, 2)
        given = _normalised(self.unet, parts).permute(0, 2, 3, 1).contiguous()
        return torch.view_as_complex(given)


def _normalised(unet: nn.Module, images: Tensor) -> Tensor:
    """What a U-Net makes of images whose mean is 0 and deviation 1, at their mean and deviation again."""
    mean = images.mean((-2, -1), keepdim=True)
    deviation = (images.var((-2, -1), keepdim=True) + TINY**2).sqrt()
    given: Tensor = unet((images - mean) / deviation)
    return given * deviation + mean


class UNetReconstruction(Network):
    """A U-Net that cleans the magnitude image in which lines that were not acquired are 0.

    It sees no k-space and keeps to no line; `image` is its magnitude, whose phase is in `maps`.

    Reference: J. Zbontar et al., fastMRI: An open dataset and benchmarks for accelerated MRI, arXiv 1811.08839.
    """

    def __init__(
        self, channels: int = 32, pools: int = 4, *, readout_first: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.unet = UNet(1, 1, channels, pools, readout_first=readout_first, dropout=dropout)

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        zero_filled = magnitude(to_image(kspace))
        cleaned = _normalised(self.unet, zero_filled[:, None])[:, 0]
        return Reconstruction(cleaned, cleaned.to(kspace.dtype), smooth_maps(kspace, n_centre))
