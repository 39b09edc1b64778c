"""From the field of view and matrix that were encoded to those that the protocol asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, ImageType
from echotrain.mrd.errors import DataError

from .fourier import centred_fft, centred_ifft
from .gadget import Gadget
from .image_headers import ENCODING, image_type, worked_on
from .parameters import parameter


def resize_centred(data: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """`data` cropped, or filled with zeros, to `shape` along its last axes; index n // 2 stays the centre.

    A view of `data` where nothing is filled.
    """
    full = (*data.shape[: data.ndim - len(shape)], *shape)
    crop, place = [], []
    for have, want in zip(data.shape, full, strict=True):
        size = min(have, want)
        crop.append(slice(have // 2 - size // 2, have // 2 - size // 2 + size))
        place.append(slice(want // 2 - size // 2, want // 2 - size // 2 + size))
    cropped = data[tuple(crop)]
    if cropped.shape == full:
        return cropped
    filled = np.zeros(full, data.dtype)
    filled[tuple(place)] = cropped
    return filled


def resample(data: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """`data` on a grid of `shape` pixels over the same field of view along its last axes, by way of k-space.

    Intensities stay; real data stays real.
    """
    axes = [axis for axis in range(-len(shape), 0) if data.shape[axis] != shape[axis]]
    if not axes:
        return data
    scale = math.sqrt(math.prod(shape[axis] / data.shape[axis] for axis in axes))
    image = centred_ifft(resize_centred(centred_fft(data, axes), shape), axes)
    image *= np.float32(scale)
    return image if np.iscomplexobj(data) else image.real


class CropFieldOfView(Gadget[Image, Image]):
    """Crop images to the reconstructed field of view and interpolate them to its matrix.

    Belongs before the magnitude is taken, which cannot be interpolated in k-space without loss. An axis of one pixel is
    left alone; an image that fits already passes as it is, and so does one in colours.

    Raises:
        DataError: where a phase image would have to be interpolated, which its jumps of 2 pi do not allow.
    """

    interpolate: bool = parameter(True, "Interpolate to the matrix; without, larger fields of view are cropped only.")

    def start(self, header: Header, /) -> None:
        self._header = header

    def process(self, image: Image, /) -> Iterator[Image]:
        recon = self._header.encoding(int(str(image.meta.get(ENCODING, 0)))).recon
        have = image.data.shape[:0:-1]
        fov = image.head["field_of_view"].tolist()
        crop, matrix = list(have), list(have)
        for axis, size in enumerate(have):
            if min(size, recon.matrix[axis]) > 1:
                matrix[axis] = recon.matrix[axis]
                if min(fov[axis], recon.field_of_view_mm[axis]) > 0:
                    crop[axis] = max(1, round(size * recon.field_of_view_mm[axis] / fov[axis]))
        if not self.interpolate:
            crop = matrix = [min(part, size) for part, size in zip(crop, have, strict=True)]
        if tuple(crop) == tuple(matrix) == have or image_type(image) == ImageType.RGB:
            yield image
            return
        if crop != matrix and image_type(image) == ImageType.PHASE:
            raise DataError(
                f"a phase image of {crop} pixels cannot be interpolated to {matrix}; put CropFieldOfView before "
                "ComplexParts"
            )
        data = resample(resize_centred(image.data, crop[::-1]), matrix[::-1])
        new_fov = [mm * part / size for mm, part, size in zip(fov, crop, have, strict=True)]
        yield worked_on(image, data, by=type(self).__name__, field_of_view=new_fov)
