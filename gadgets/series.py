"""Numbers of image series."""

from __future__ import annotations

from collections.abc import Iterator

from echotrain.mrd import Image

from .gadget import Gadget
from .image_headers import worked_on
from .parameters import parameter


class NumberSeries(Gadget[Image, Image]):
    """Number series from `first` on, where they were numbered from 1; the distances between them stay."""

    first: int = parameter(1, "Number of the series of the first encoding space.", low=0, high=65535)

    def process(self, image: Image, /) -> Iterator[Image]:
        series = int(image.head["image_series_index"]) + self.first - 1
        yield worked_on(image, image.data, by=type(self).__name__, image_series_index=series % 65536)
