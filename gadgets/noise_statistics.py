"""How much maps of the signal-to-noise ratio vary from image to image, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, ImageType, Text
from echotrain.mrd.errors import DataError

from .gadget import Gadget
from .grappa import SNR_SCALE
from .image_headers import SNR_MAP, STD_MAP, data_role, image_type, worked_on
from .images import magnitude
from .parameters import parameter

DEVIATION_SCALE = 1000  # as Gadgetron's, so that it survives as an integer


@dataclass(slots=True)
class _Sums:
    """What is kept of images that belong together."""

    first: Image
    n_images: int
    """How many came, those that are left out among them."""

    mean: NDArray[np.float32]
    squares: NDArray[np.float32]
    """Sum of the squares of the distances from the mean."""


class NoiseDeviation(Gadget[Image, Image]):
    """Give the standard deviation of maps of the signal-to-noise ratio over repetitions, times 1000, after the last.

    The deviation of the magnitudes, which is 1 where there is much signal and noise is the only change; in pure noise
    it is 0.66. Each slice, contrast, ... has one, with the header of its first image and 10 times the number of its
    series: 3000, 4000 for the second encoding. All images pass. Only sums are kept, whatever the number of repetitions.

    References: B. Welford, Technometrics 1962, 4:419-420.

    Raises:
        DataError: for a map that is neither complex nor a magnitude.
    """

    skip: int = parameter(5, "Images that are left out at the start, until the signal is steady.", low=0)

    def start(self, header: Header, /) -> None:
        self._sums: dict[tuple[int, ...], _Sums] = {}

    def process(self, image: Image, /) -> Iterator[Image]:
        if data_role(image) == SNR_MAP:
            self._add(image)
        yield image

    def finish(self) -> Iterator[Image | Text]:
        n_lacking = 0
        for sums in self._sums.values():
            n = sums.n_images - self.skip
            if n < 2:
                n_lacking += 1
                continue
            yield self._deviation(sums.first, np.sqrt(sums.squares / n))
        if n_lacking:
            yield Text(
                f"warning: NoiseDeviation: {n_lacking} slices, contrasts, ... have no more than {self.skip + 1} maps "
                "of the signal-to-noise ratio, so no deviation; acquire more repetitions, or make skip smaller"
            )
        self._sums.clear()

    def _add(self, image: Image) -> None:
        kind = image_type(image)
        if kind not in (ImageType.COMPLEX, ImageType.MAGNITUDE):
            raise DataError(
                f"a map of the signal-to-noise ratio holds {kind.name.lower()} parts, which have no deviation here; "
                "put NoiseDeviation before ComplexParts"
            )
        head = image.head
        counters = ("image_series_index", "average", "slice", "contrast", "phase", "set")
        key = (*(int(head[name]) for name in counters), *image.data.shape)
        sums = self._sums.get(key)
        if sums is None:
            zeros = np.zeros(image.data.shape, np.float32)
            sums = self._sums[key] = _Sums(image, 0, zeros, zeros.copy())
        sums.n_images += 1
        n = sums.n_images - self.skip
        if n > 0:
            values = magnitude(image.data) if kind == ImageType.COMPLEX else image.data
            before = values - sums.mean
            sums.mean += before / np.float32(n)
            sums.squares += before * (values - sums.mean)

    def _deviation(self, first: Image, values: NDArray[np.float32]) -> Image:
        """The map, complex where the images are, so that gadgets on images treat it as one of them."""
        kind = np.complex64 if np.iscomplexobj(first.data) else np.float32
        return worked_on(
            first,
            (values * np.float32(DEVIATION_SCALE / SNR_SCALE)).astype(kind),
            by=type(self).__name__,
            meta={"DataRole": STD_MAP, "GADGETRON_DataRole": STD_MAP},
            image_series_index=10 * int(first.head["image_series_index"]) % 65536,
        )
