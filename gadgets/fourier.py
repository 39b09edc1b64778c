"""Centred unitary Fourier transforms, and the step from k-space to images: index n // 2 is the origin of either."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from echotrain.mrd import Header, Image, KSpace, Text

from .gadget import Gadget
from .image_headers import image_head, image_meta, sampling_limits
from .sampling import missing_lines
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
    that were not acquired stay zero; where they lie between others the client is told, since images are then folded,
    and so it is of samples that are not finite.
    """

    takes_image_space_readout = True

    def start(self, header: Header, /) -> None:
        self._header = header
        self._n_images: Counter[int] = Counter()
        self._warned = self._told_of_samples = False

    def process(self, kspace: KSpace, /) -> Iterator[Image | Text]:
        for unit in kspace.units():
            if not self._warned and (gaps := missing_lines(unit.sampled)):
                self._warned = True
                yield Text(
                    f"warning: FourierTransform: {gaps} were not acquired, so images are folded; take a chain for "
                    "accelerated scans, such as sense, cg_sense or Generic_Cartesian_Grappa"
                )
            for image in self.images(unit):
                # A sample that is not finite makes all pixels so: one tells.
                if not self._told_of_samples and not np.isfinite(image.data[:, 0, 0, 0]).all():
                    self._told_of_samples = True
                    yield Text(
                        f"warning: FourierTransform: line {int(unit.head['scan_counter'])} or others of its k-space "
                        "hold samples that are not finite, and so do all pixels of their image; look at the source of "
                        "the data"
                    )
                yield image

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
