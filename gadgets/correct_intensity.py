"""Shading of surface coils, estimated from the image itself and taken off it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from echotrain.mrd import Header, Image, ImageType
from echotrain.mrd.errors import DataError

from .coils import root_sum_of_squares
from .gadget import Gadget
from .image_headers import image_type, is_map, worked_on
from .parameters import parameter

FAR = 0.01  # weight of the mean where no object is near


def shading(magnitude: NDArray[Any], deviation: Sequence[float], threshold: float = 0.1) -> NDArray[np.float32]:
    """How bright an image is around each pixel, 1 on average over the object. Shapes (z, y, x), or any.

    The mean of the object's pixels under a Gaussian of `deviation` pixels along each axis, where the object is what
    exceeds `threshold` times the 99th percentile. Far from the object it tends to 1; 1 where there is none.

    References: L. Axel et al., Am J Roentgenol 1987, 148:418-420 (division by a smooth image).
    """
    values = np.asarray(magnitude, np.float32)
    inside = values > threshold * np.percentile(values, 99)
    if not inside.any():
        return np.ones_like(values)
    mean = values[inside].mean()
    around = gaussian_filter(np.where(inside, values, 0), deviation, mode="constant")
    share = gaussian_filter(inside.astype(np.float32), deviation, mode="constant")
    field: NDArray[np.float32] = (around + FAR * mean) / (mean * (share + FAR))
    field /= field[inside].mean()
    return field


class CorrectIntensity(Gadget[Image, Image]):
    """Take off the shading by surface coils: divide images by what they look like when very smooth.

    Contrast of the anatomy over distances of `smoothness` or more is taken off as well, so the field is wanted much
    smoother than what is looked for. The mean over the object stays, and noise rises where the coils see less. The
    field is that of the first image of each slice, contrast and set, so that repetitions and phases stay comparable.
    Channels that are not combined share one. Phase images, those in colours and maps pass.

    References: L. Axel et al., Am J Roentgenol 1987, 148:418-420.

    Raises:
        DataError: for real and imaginary parts, and for pixels that are not finite.
    """

    smoothness: float = parameter(25.0, "Deviation of the Gaussian that smooths the image.", unit="mm", low=1)
    threshold: float = parameter(
        0.1, "What is taken for the object, in units of the 99th percentile of the pixels.", low=0, high=1
    )
    most: float = parameter(10.0, "By how much a pixel is brightened at most.", low=1)

    def start(self, header: Header, /) -> None:
        self._fields: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def process(self, image: Image, /) -> Iterator[Image]:
        kind = image_type(image)
        if kind in (ImageType.PHASE, ImageType.RGB) or is_map(image):
            yield image
            return
        if kind not in (ImageType.MAGNITUDE, ImageType.COMPLEX):
            raise DataError(
                f"{kind.name.lower()} parts have no shading of their own; put CorrectIntensity before ComplexParts"
            )
        if not np.isfinite(image.data).all():
            raise DataError(
                f"image {image.head['image_index']} holds pixels that are not finite; look at the source of the data"
            )
        names = ("image_series_index", "slice", "contrast", "set")
        key = (*(int(image.head[name]) for name in names), *image.data.shape)
        if key not in self._fields:
            sizes = image.data.shape[1:]
            spacing = [mm / n if mm > 0 else 1 for mm, n in zip(image.head["field_of_view"][::-1], sizes, strict=True)]
            deviation = [self.smoothness / step if n > 1 else 0 for step, n in zip(spacing, sizes, strict=True)]
            found = shading(root_sum_of_squares(image.data), deviation, self.threshold)
            self._fields[key] = np.maximum(found, np.float32(1 / self.most))
        yield worked_on(image, image.data / self._fields[key], by=type(self).__name__)

    def finish(self) -> None:
        self._fields.clear()
