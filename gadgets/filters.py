"""Filters of k-space, applied to complex images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError, ParameterError

from .fourier import centred_fft, centred_ifft
from .gadget import Gadget
from .image_headers import SNR_MAP, data_role, image_type, is_map, worked_on
from .parameters import parameter

Kind = Literal["none", "gaussian", "hann", "tukey"]


def kspace_filter(kind: Kind, n: int, sigma: float = 1.0, width: float = 0.15) -> NDArray[np.float32]:
    """A filter symmetric about index n // 2, where it is largest. Shape (n,).

    At the distance d, 0 at the centre and 1 at the last sample that has a counterpart on the other side:

    - gaussian: exp(-(`sigma` d)^2 / 2)
    - hann: half a cosine's period, that would reach 0 one sample beyond that
    - tukey: 1, and the edge of a Hann window over the outer `width` of the n samples on either side
    - none: 1

    For even n the first sample, which has no counterpart, becomes 0, but for none. The mean square is 1, so that white
    noise keeps its variance; these are the definitions of Gadgetron.
    """
    if kind == "none" or n < 3:
        return np.ones(n, np.float32)
    half = (n + 1) // 2
    distance = np.abs(np.arange(n) - n // 2)
    from_edge = half - distance
    values: NDArray[Any]
    if kind == "gaussian":
        values = np.exp(-0.5 * (sigma * distance / (half - 1)) ** 2)
    elif kind == "hann":
        values = 0.5 - 0.5 * np.cos(np.pi * from_edge / half)
    else:
        taper = min(max(1, int(np.ceil(width * n))), half)
        values = np.where(from_edge > taper, 1.0, 0.5 - 0.5 * np.cos(2 * np.pi * from_edge / (2 * taper + 1)))
    values = np.where(from_edge > 0, values, 0.0)
    scaled: NDArray[np.float32] = (values / np.sqrt(np.mean(values**2))).astype(np.float32)
    return scaled


class FilterImages(Gadget[Image, Image]):
    """Filter complex images in k-space, along x, y and z.

    Belongs before CropFieldOfView, so that the filter covers what was sampled. The mean square of a filter is 1, as
    with Gadgetron: white noise keeps its variance, and intensities rise a little. An axis of one pixel is left alone.
    Colour images and maps, such as those of the g-factor, pass.

    Raises:
        DataError: for images that are not complex.
    """

    kind: tuple[Kind, ...] = parameter(("gaussian",), "Filter along x, y and z; one for all, or one for each.")
    sigma: tuple[float, ...] = parameter(
        (1.0,), "Of gaussian, how many standard deviations the edge of k-space lies from its centre.", low=0
    )
    width: tuple[float, ...] = parameter(
        (0.15,), "Of tukey, how much of k-space is tapered at either side.", unit="fraction", low=0, high=0.5
    )

    snr_maps: bool = parameter(
        False, "Filter maps of the signal-to-noise ratio too: complex images whose noise keeps the deviation 1."
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._axes = list(zip(*(self._by_axis(name) for name in ("kind", "sigma", "width")), strict=True))

    def process(self, image: Image, /) -> Iterator[Image]:
        kind = image_type(image)
        passes = is_map(image) and not (self.snr_maps and data_role(image) == SNR_MAP)
        if passes or kind == ImageType.RGB or all(name == "none" for name, _, _ in self._axes):
            yield image
            return
        if kind != ImageType.COMPLEX:
            raise DataError(
                f"{kind.name.lower()} images have no k-space to filter; put FilterImages before ComplexParts"
            )
        axes = [-1 - axis for axis, (name, _, _) in enumerate(self._axes) if name != "none"]
        kspace = centred_fft(image.data, axes)
        for axis in axes:
            name, sigma, width = self._axes[-1 - axis]
            values = kspace_filter(name, kspace.shape[axis], sigma, width)
            kspace *= values.reshape(-1, *(1,) * (-1 - axis))
        yield worked_on(image, centred_ifft(kspace, axes), by=type(self).__name__)

    def _by_axis(self, name: str) -> tuple[Any, ...]:
        """The values of a parameter for x, y and z."""
        values: tuple[Any, ...] = getattr(self, name)
        if len(values) not in (1, 3):
            raise ParameterError(
                f"{name} has {len(values)} values; give one for all axes, or three for x, y and z",
                gadget=type(self).__name__,
            )
        return values * 3 if len(values) == 1 else values
