"""What coils and sampling make of an image, as torch operations that gradients go through.

Axes are (batch, channel, y, x) or (batch, channel, ky, kx), complex; index n // 2 is the origin of either. Lines lie
along kx, so a mask of lines has the shape (ky,), or (batch, ky) where samplings differ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

TINY = 1e-10  # keeps divisions from 0 where there is no signal


def to_image(kspace: Tensor) -> Tensor:
    """Centred unitary inverse transform along the last two axes."""
    shifted = torch.fft.ifftshift(kspace, dim=(-2, -1))
    transformed: Tensor = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))
    return transformed


def to_kspace(image: Tensor) -> Tensor:
    """Centred unitary transform along the last two axes."""
    shifted = torch.fft.ifftshift(image, dim=(-2, -1))
    transformed: Tensor = torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))
    return transformed


def expand(image: Tensor, maps: Tensor) -> Tensor:
    """k-space of the channels that see `image`. Shape (batch, y, x) gives (batch, channel, ky, kx)."""
    return to_kspace(image[:, None] * maps)


def reduce(kspace: Tensor, maps: Tensor) -> Tensor:
    """The adjoint of `expand`: channels combined by their maps. Shape (batch, y, x)."""
    return (to_image(kspace) * maps.conj()).sum(1)


def magnitude(channels: Tensor) -> Tensor:
    """Root of the sum of squares over the channels. Shape (batch, y, x)."""
    if channels.requires_grad:  # slower, with a gradient of 0 where there is no signal
        norm: Tensor = torch.linalg.vector_norm(channels, dim=1)
        return norm
    return torch.view_as_real(channels).square().sum(1).sum(-1).sqrt()


def along_lines(mask: Tensor) -> Tensor:
    """A mask of lines, to multiply k-space with; one of samples, (batch, 1, ky, kx), is that already."""
    return mask if mask.ndim == 4 else mask[..., None, :, None]


def centre_lines(kspace: Tensor, n_centre: int | Tensor) -> Tensor:
    """k-space with the `n_centre` lines around its centre alone; a number for all, or one for each of a batch."""
    n_ky = kspace.shape[-2]
    number = torch.as_tensor(n_centre, device=kspace.device)[..., None]
    line = torch.arange(n_ky, device=kspace.device) - n_ky // 2 + number // 2
    return kspace * along_lines((line >= 0) & (line < number))


def smooth_maps(kspace: Tensor, n_centre: int | Tensor) -> Tensor:
    """Images of the centre lines over the root of their sum of squares. They hold the phase of the object as well."""
    channels = to_image(centre_lines(kspace, n_centre))
    return channels / magnitude(channels).clamp_min(TINY)[:, None]


def intensity_scale(kspace: Tensor, n_centre: int | Tensor) -> Tensor:
    """The brightest pixel of the image of the centre lines, by which k-space is divided before a network sees it.

    It depends on neither the acceleration nor, much, on the noise. Shape (batch,); 1 where there is no signal.
    """
    brightest = magnitude(to_image(centre_lines(kspace, n_centre))).amax((-2, -1))
    return torch.where(brightest > 0, brightest, 1)


class Reconstruction(NamedTuple):
    """What a network makes of k-space."""

    magnitude: Tensor
    """Intensities of the root of the sum of squares. Shape (batch, y, x), float32."""

    image: Tensor
    """What the channels see through `maps`. Shape (batch, y, x), complex64."""

    maps: Tensor
    """Shape (batch, channel, y, x); the squares sum to 1 over the channels, or to 0 where there is no signal."""


class Network(nn.Module):
    """A network that takes k-space of any matrix and number of channels; samples of lines not acquired are 0."""

    def reconstruct(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Reconstruction:
        """The image of k-space and what it rests on.

        `kspace` is complex64 (batch, channel, ky, kx), `mask` says which lines were acquired, (ky,) or (batch, ky), and
        `n_centre` how many around the centre were acquired without gaps, of all or of each.
        """
        raise NotImplementedError

    def forward(self, kspace: Tensor, mask: Tensor, n_centre: int | Tensor) -> Tensor:
        """The magnitude alone. Shape (batch, y, x)."""
        return self.reconstruct(kspace, mask, n_centre).magnitude
