"""Pixel values fit for integers and for display."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, ImageType, Meta, Text
from echotrain.mrd.errors import DataError

from .gadget import Gadget
from .image_headers import image_type, is_map, worked_on
from .parameters import parameter


class ScaleIntensity(Gadget[Image, Image]):
    """Scale magnitude images so that a percentile of their pixels meets a target; images of other types and maps pass.

    By default the first image of a series that holds any signal fixes the scale of its series, so that intensities stay
    comparable from image to image. An image without signal keeps its values.
    """

    percentile: float = parameter(99.0, "Percentile of the pixels that is mapped to the target.", low=0, high=100)
    target: float = parameter(2048.0, "Value that the percentile is mapped to.", low=1e-6)
    scope: Literal["image", "series"] = parameter("series", "Whether each image or each series has a scale of its own.")

    def start(self, header: Header, /) -> None:
        self._ratios: dict[int, float] = {}

    def process(self, image: Image, /) -> Iterator[Image]:
        if image_type(image) != ImageType.MAGNITUDE or is_map(image):
            yield image
            return
        series = int(image.head["image_series_index"])
        ratio = self._ratios.get(series) or self._ratio(image.data)
        if ratio and self.scope == "series":
            self._ratios[series] = ratio
        meta: Meta = {
            "GADGETRON_ScaleRatio": ratio or 1.0,
            "WindowCenter": round(self.target / 2),
            "WindowWidth": max(1, round(self.target)),
        }
        yield worked_on(image, image.data * np.float32(ratio or 1.0), by=type(self).__name__, meta=meta)

    def _ratio(self, data: NDArray[Any]) -> float:
        """The factor that maps the percentile to the target, or 0 where there is no signal to go by."""
        finite = data[np.isfinite(data)]
        level = float(np.percentile(finite, self.percentile)) if finite.size else 0.0
        ratio = self.target / level if level > 0 else 0.0
        return ratio if ratio < np.finfo(np.float32).max else 0.0


class ToInteger(Gadget[Image, Image]):
    """Convert images to unsigned 16-bit integers, rounded to the nearest and clamped.

    Magnitudes, maps among them, keep their scale, so belong after ScaleIntensity. Zero of real and imaginary parts lies
    in the middle of the range; phases from -pi to pi become 0 to 4095. RescaleSlope and RescaleIntercept lead back from
    those. A pixel that is not finite becomes 0, and the client is told once. Colour images pass, and so do phases and
    real and imaginary parts that are such integers already.

    Raises:
        DataError: for a complex image.
    """

    maximum: int = parameter(32767, "Largest value of magnitudes and of real and imaginary parts.", low=1, high=65535)

    def start(self, header: Header, /) -> None:
        self._warned = self._told_of_zeros = False

    def process(self, image: Image, /) -> Iterator[Any]:
        kind = image_type(image)
        if kind == ImageType.COMPLEX:
            raise DataError("a complex image cannot become integers; put ComplexParts before ToInteger")
        if kind == ImageType.RGB or (kind != ImageType.MAGNITUDE and image.data.dtype == np.uint16):
            yield image
            return
        slope, intercept, maximum = 1.0, 0.0, self.maximum
        if kind == ImageType.PHASE:
            slope, intercept, maximum = math.pi / 2048, -math.pi, 4095
        elif kind != ImageType.MAGNITUDE:
            intercept = -float((self.maximum + 1) // 2)
        values = image.data.astype(np.float32)
        values -= np.float32(intercept)
        values /= np.float32(slope)
        finite = np.isfinite(values)
        if not finite.all():
            values[~finite] = 0
            if not self._warned:
                self._warned = True
                number = image.head["image_index"]
                yield Text(f"warning: ToInteger: image {number} holds pixels that are not finite; set to 0")
        integers = np.clip(np.rint(values, out=values), 0, maximum, out=values).astype(np.uint16)
        if kind == ImageType.MAGNITUDE and not integers.any() and image.data.any() and not self._told_of_zeros:
            self._told_of_zeros = True
            yield Text(
                f"warning: ToInteger: all pixels of image {image.head['image_index']} became 0, as none reaches 0.5; "
                "scale images before, or whiten them where the chain counts on units of the noise"
            )
        yield worked_on(
            image, integers, by=type(self).__name__, meta=self._meta(image, kind, slope, intercept, integers)
        )

    def _meta(
        self, image: Image, kind: ImageType, slope: float, intercept: float, integers: NDArray[np.uint16]
    ) -> Meta:
        """The window, in whole numbers after rescaling as MRD wants it, and the rescaling where there is one."""
        if kind == ImageType.MAGNITUDE:
            if "WindowCenter" in image.meta:
                return {}
            largest = int(integers.max())
            return {"WindowCenter": largest // 2, "WindowWidth": max(1, largest)}
        width = 7 if kind == ImageType.PHASE else self.maximum + 1  # 7 is the least that covers 2 pi
        return {"RescaleSlope": slope, "RescaleIntercept": intercept, "WindowCenter": 0, "WindowWidth": width}


class InvertContrast(Gadget[Image, Image]):
    """Exchange bright and dark of magnitude images, where `maximum` becomes 0 and 0 `maximum`; others and maps pass."""

    maximum: int = parameter(
        4095, "Value that becomes 0, as does any above it; 0: each image's brightest pixel.", low=0
    )

    def process(self, image: Image, /) -> Iterator[Image]:
        if image_type(image) != ImageType.MAGNITUDE or is_map(image):
            yield image
            return
        maximum = self.maximum or image.data.max()
        data = (maximum - np.minimum(image.data, maximum)).astype(image.data.dtype)
        yield worked_on(image, data, by=type(self).__name__)
