"""From images of single channels to one image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError

from .coils import adaptive_coil_maps, combine, root_sum_of_squares
from .gadget import Gadget
from .image_headers import image_type, worked_on
from .parameters import parameter


class CombineCoils(Gadget[Image, Image]):
    """Combine the channels of an image into one: its magnitude (rss), or a complex image (adaptive).

    Colour images, whose channels are no coils, pass, and so do images of one channel that are not complex.

    Raises:
        DataError: for images of several channels of phase, real or imaginary part alone, and with adaptive for
            magnitudes and for pixels that are not finite.
    """

    method: Literal["rss", "adaptive"] = parameter(
        "rss", "Root of the sum of squares, or coil maps estimated from the image, which keep its phase."
    )
    width: int = parameter(5, "Box within which adaptive coil maps vary little; odd.", unit="pixels", low=1)
    iterations: int = parameter(5, "Power iterations of the adaptive coil maps.", low=1)

    def process(self, image: Image, /) -> Iterator[Image]:
        name, kind = type(self).__name__, image_type(image)
        if kind == ImageType.RGB or (kind != ImageType.COMPLEX and len(image.data) == 1):
            yield image
            return
        if kind != ImageType.COMPLEX and (kind != ImageType.MAGNITUDE or self.method == "adaptive"):
            raise DataError(
                f"{kind.name.lower()} images cannot be combined by method={self.method}; "
                "put CombineCoils before parts are taken"
            )
        if self.method == "rss":
            magnitude = root_sum_of_squares(image.data)[None]
            yield worked_on(image, magnitude, by=name, image_type=ImageType.MAGNITUDE)
        else:
            if not np.isfinite(image.data).all():
                raise DataError(
                    f"image {image.head['image_index']} holds pixels that are not finite, so has no coil maps; look at "
                    "the source of the data, or set method to rss"
                )
            maps = adaptive_coil_maps(image.data, self.width, self.iterations)
            yield worked_on(image, combine(image.data, maps)[None], by=name)
