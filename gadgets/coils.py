"""Combination of the channels of an image, and the coil maps that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from echotrain.mrd.errors import DataError

from .filters import kspace_filter
from .fourier import centred_ifft
from .tensors import Array, as_given, as_tensor

BLOCK = 1 << 17  # floats that one step works on, so that the sum stays in the cache
GROUP = 1 << 18  # pixels, of all channels in a group, that the box is moved over at once, for the same reason


def root_sum_of_squares(images: Array) -> Array:
    """Magnitude over all channels. Shape (channel, ...) gives (...), real."""
    channels = as_tensor(images)
    if not (channels.is_complex() or channels.is_floating_point()):
        channels = channels.float()
    parts = torch.view_as_real(channels) if channels.is_complex() else channels[..., None]
    flat = parts.reshape(channels.shape[0], -1)
    total = torch.empty_like(flat[0])
    for sums, block in zip(torch.split(total, BLOCK), torch.split(flat, BLOCK, dim=1), strict=True):
        torch.mul(block[0], block[0], out=sums)
        for channel in block[1:]:
            torch.addcmul(sums, channel, channel, out=sums)
    return as_given(total.view(parts.shape[1:]).sum(-1).sqrt_(), images)


def combine(images: Array, maps: Array) -> Array:
    """Sum of the channels weighted by the conjugate of their maps. Shapes (channel, ...) give (...)."""
    return as_given(_combine(as_tensor(images), as_tensor(maps)), images)


def _combine(images: Tensor, maps: Tensor) -> Tensor:
    total = torch.zeros_like(images[0])
    for channel, sensitivity in zip(images, maps, strict=True):
        torch.addcmul(total, channel, sensitivity.conj(), out=total)
    return total


def adaptive_coil_maps(images: Array, width: int = 5, iterations: int = 5) -> Array:
    """Sensitivities of the channels, estimated from their images. Shape (channel, z, y, x) or (channel, y, x).

    Each pixel's map is the dominant eigenvector of the channels' covariance over a box of `width` pixels, found by
    power iterations that start from the dominant eigenvector of the whole image; so the phase of the maps is relative
    to that virtual channel. All iterations but the last are on every second pixel, since maps vary little from one to
    the next. The squares of the maps sum to 1, or to 0 where a box holds no signal.

    References: S. Inati et al., A solution to the phase problem in adaptive coil combination, ISMRM 2013, p. 2672;
    D. Walsh et al., Magn Reson Med 2000, 43:682-690.
    """
    channels = as_tensor(images)
    steps = [2 if size > 2 * width else 1 for size in channels.shape[1:]]
    coarse = channels[_every(steps, [0] * len(steps))].contiguous()
    maps: Tensor = _dominant_channel(channels).view(-1, *[1] * len(steps)).expand_as(coarse)
    for _ in range(iterations - 1):
        # The box of as many pixels as span that of `width`.
        maps = _power_iteration(coarse, _combine(coarse, maps), 2 * ((width // 2 + 1) // 2) + 1)
    combined = torch.empty_like(channels[0])
    for first in product(*map(range, steps)):
        places = _every(steps, first)
        some: Tensor = channels[places]
        nearest: Tensor = maps[(slice(None), *(slice(size) for size in some.shape[1:]))]
        combined[places[1:]] = _combine(some, nearest)
    return as_given(_power_iteration(channels, combined, width), images)


def _every(steps: Sequence[int], first: Sequence[int]) -> tuple[slice, ...]:
    """All channels, and every nth pixel along each axis."""
    return slice(None), *(slice(begin, None, step) for begin, step in zip(first, steps, strict=True))


def _power_iteration(channels: Tensor, combined: Tensor, width: int) -> Tensor:
    """Maps of the channels, from what they gave when combined by maps before."""
    maps = torch.empty_like(channels)
    tiny = torch.finfo(channels.real.dtype).tiny
    # The scale keeps squares of the maps within the range of single precision.
    weight = combined.conj().resolve_conj() / combined.abs().max().clamp_min(tiny)
    per_group = max(1, GROUP // max(1, channels[0].numel()))
    for group, out in zip(torch.split(channels, per_group), torch.split(maps, per_group), strict=True):
        _box_sum(weight * group, width, out)
    return maps.mul_(root_sum_of_squares(maps).clamp_min_(tiny).reciprocal_())  # a complex division is slow


def smooth_images(calibration: Array, centre: Sequence[int], shape: Sequence[int]) -> Array:
    """Images of low resolution from a block of k-space without gaps, for coil maps. Shape (channel, ...).

    `centre` is the index of the centre of k-space along each axis of the block but the first, and `shape` that of the
    images. The part of the block that is symmetric about the centre is taken, under a Hann window.

    Raises:
        DataError: where the centre is not in the block.
    """
    block = as_tensor(calibration)
    smooth = block.new_zeros(len(block), *shape)
    source, target = [slice(None)], [slice(None)]
    window = torch.ones(1, device=block.device)
    for middle, n, size in zip(centre, block.shape[1:], shape, strict=True):
        if not 0 <= middle < n:
            raise DataError(
                "the calibration lines do not reach the centre of k-space, "
                f"which is {max(-middle, middle - n + 1)} off; acquire calibration lines around the centre"
            )
        reach = min(middle, n - 1 - middle, (size - 1) // 2)
        source.append(slice(middle - reach, middle + reach + 1))
        target.append(slice(size // 2 - reach, size // 2 + reach + 1))
        window = window[..., None] * torch.from_numpy(kspace_filter("hann", 2 * reach + 1)).to(block.device)
    smooth[tuple(target)] = block[tuple(source)] * window
    return as_given(centred_ifft(smooth, tuple(range(1, block.ndim))), calibration)


def _dominant_channel(channels: Tensor) -> Tensor:
    """Weights of the combination of channels with most signal, real in its strongest channel. Shape (channel,)."""
    pixels = channels.flatten(1)
    pixels = pixels[:, :: max(1, pixels.shape[1] >> 14)]  # some thousand pixels tell as much as all
    weights: Tensor = torch.linalg.eigh(pixels @ pixels.mH)[1][:, -1]
    strongest = weights[weights.abs().argmax()]
    return weights * (strongest.conj() / strongest.abs())


def _box_sum(x: Tensor, width: int, out: Tensor) -> None:
    """Sum over `width` pixels along all axes but the first, less at the edges, into `out`."""
    source = torch.view_as_real(x)
    for dim in range(1, x.ndim):
        size = source.shape[dim]
        total = source.clone()
        for shift in range(1, min(width // 2, size - 1) + 1):
            rest = size - shift
            total.narrow(dim, 0, rest).add_(source.narrow(dim, shift, rest))
            total.narrow(dim, shift, rest).add_(source.narrow(dim, 0, rest))
        source = total
    torch.view_as_real(out).copy_(source)
