"""Pixel values times a fixed factor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from echotrain.mrd import Image

from .gadget import Gadget
from .image_headers import is_map, worked_on
from .parameters import parameter


class MultiplyIntensity(Gadget[Image, Image]):
    """Multiply images by a factor, complex ones too; integers become single precision.

    Maps, such as those of the g-factor, whose DataRole is not Image, have units of their own and pass.
    """

    factor: float = parameter(1.0, "What pixels are multiplied by.", low=0)

    def process(self, image: Image, /) -> Iterator[Image]:
        if is_map(image):
            yield image
            return
        data = image.data * np.float32(self.factor)
        data = data.astype(np.complex64 if np.iscomplexobj(data) else np.float32, copy=False)
        yield worked_on(image, data, by=type(self).__name__, meta={"GADGETRON_ScaleRatio": self.factor})
