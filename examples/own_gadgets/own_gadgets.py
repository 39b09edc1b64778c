"""A gadget of one's own: takes images, gives images, has one parameter."""

from collections.abc import Iterator

from echotrain.gadgets import Gadget, parameter
from echotrain.mrd import Image


class Gamma(Gadget[Image, Image]):
    """Brighten what is dark in magnitude images, or darken it; the brightest pixel stays as it is."""

    power: float = parameter(0.5, "Below 1 brightens, above 1 darkens.", low=0.1, high=10)

    def process(self, image: Image, /) -> Iterator[Image]:
        peak = image.data.max() or 1
        yield image.with_data(peak * (image.data / peak) ** self.power)
