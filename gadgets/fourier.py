"""Centred unitary Fourier transforms, and the step from k-space to images: index n // 2 is the origin of either."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace, Text

from .gadget import Gadget
from .image_headers import image_head, image_meta, sampling_limits
from .tensors import N_CORES, Array, as_given, as_tensor


def centred_fft(x: Array, axes: Sequence[int]) -> Array:
    """Image to k-space along `axes`: fftshift(fft(ifftshift(x))) / sqrt(n), in the precision of `x`."""
    return as_given(_centred(as_tensor(x), axes, inverse=False), x)


def centred_ifft(x: Array, axes: Sequence[int]) -> Array:
    """k-space to image along `axes`: fftshift(ifft(ifftshift(x))) * sqrt(n), in the precision of `x`."""
    return as_given(_centred(as_tensor(x), axes, inverse=True), x)


def _centred(x: Tensor, axes: Sequence[int], *, inverse: bool) -> Tensor:
    if not x.is_complex():
        x = x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
    # A transform of length 1 changes nothing.
    axes = sorted({axis % x.ndim for axis in axes if x.shape[axis] > 1})
    even = tuple(axis for axis in axes if x.shape[axis] % 2 == 0)
    odd = [axis for axis in axes if x.shape[axis] % 2]
    if odd:
        x = torch.fft.ifftshift(x, dim=odd)
    if even:
        # A shift by n / 2 in one domain is a sign that alternates in the other, which costs less than moving samples.
        parts = torch.view_as_real(x).flatten(-2) * _signs(tuple(x.shape), even, 1, x.device)
        x = torch.view_as_complex(parts.view(*x.shape, 2))
    if axes:
        x = _transform_in_place(x, axes, inverse=inverse)
    if even:
        sign = math.prod((-1) ** (x.shape[axis] // 2) for axis in even)
        torch.view_as_real(x).flatten(-2).mul_(_signs(tuple(x.shape), even, sign, x.device))
    return torch.fft.fftshift(x, dim=odd) if odd else x


def _transform_in_place(x: Tensor, axes: Sequence[int], *, inverse: bool) -> Tensor:
    """Unitary transform with the origin at index 0; `x` may be overwritten."""
    if x.device.type != "cpu":
        transform: Callable[..., Tensor] = torch.fft.ifftn if inverse else torch.fft.fftn
        return transform(x, dim=tuple(axes), norm="ortho")
    last = x.ndim - 1
    if last in axes:
        x = (torch.fft.ifft if inverse else torch.fft.fft)(x, norm="ortho")
    others = [axis for axis in axes if axis != last]
    if others:
        # torch copies strided axes into place and back; pocketfft transforms several of their columns at once.
        function = scipy.fft.ifftn if inverse else scipy.fft.fftn
        x = torch.from_numpy(function(x.numpy(), axes=others, norm="ortho", overwrite_x=True, workers=N_CORES))
    return x


@lru_cache(maxsize=4)
def _signs(shape: tuple[int, ...], axes: tuple[int, ...], first: int, device: torch.device) -> Tensor:
    """Signs that alternate along `axes`, to multiply samples seen as pairs of floats (..., 2 * x)."""
    signs = torch.full((), float(first))
    for axis, size in enumerate(shape):
        along = 1.0 - 2.0 * (torch.arange(size) % 2) if axis in axes else torch.ones(1)
        signs = signs[..., None] * along
    return (signs.repeat_interleave(2, dim=-1) if len(shape) - 1 in axes else signs).to(device)


class FourierTransform(Gadget[KSpace, Image]):
    """Transform k-space to complex images, one per channel, with the header of the line nearest to the centre.

    A unit axis of the k-space gives one image per element, in C order; elements that no line reached give none. Lines
    that were not acquired stay zero; where they lie between others the client is told, since images are then folded.
    """

    takes_image_space_readout = True

    def start(self, header: Header, /) -> None:
        self._header = header
        self._n_images: Counter[int] = Counter()
        self._warned = False

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        if not self._warned and (gaps := _gaps(kspace.sampled)):
            self._warned = True
            yield Text(
                f"warning: FourierTransform: {gaps} were not acquired, so images are folded; take a chain for "
                "accelerated scans, such as sense, cg_sense or Generic_Cartesian_Grappa"
            )
        yield from self.images(kspace)

    def images(self, kspace: KSpace) -> Iterator[Image]:
        """The images of a k-space, whatever lines it lacks."""
        axes = (-3, -2) if kspace.readout_in_image_space else (-3, -2, -1)
        for unit in np.ndindex(kspace.head.shape):
            if not kspace.sampled[unit].any():
                continue
            data = centred_ifft(kspace.data[unit], axes)  # (channel, z, y, x)
            line = kspace.head[unit]
            head = image_head(line, self._header, n_x=data.shape[-1])
            series = int(head["image_series_index"])
            head["image_index"] = self._n_images[series] % 65535 + 1  # the field is 16 bits wide
            self._n_images[series] += 1
            meta = image_meta(head, line, self._header, by=type(self).__name__)
            meta |= sampling_limits(kspace.sampled[unit], line, n_x=data.shape[-1])
            yield Image(data, head, meta)


def _gaps(sampled: NDArray[np.bool_]) -> str:
    """Which lines lack between the first and the last that were acquired, in words; empty where none do."""
    for name, axis in (("ky", -1), ("kz", -2)):
        others = tuple(other for other in range(sampled.ndim) if other != sampled.ndim + axis)
        acquired = sampled.any(axis=others)
        rows = np.flatnonzero(acquired)
        if len(rows) and len(rows) < (span := int(rows[-1] - rows[0]) + 1):
            return f"{span - len(rows)} of {span} lines along {name}"
    return ""
