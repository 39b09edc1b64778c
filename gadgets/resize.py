"""Images on another number of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError, ParameterError

from .field_of_view import resample, resize_centred
from .gadget import Gadget
from .image_headers import image_type, worked_on
from .parameters import parameter


class Resize(Gadget[Image, Image]):
    """Bring images to a number of pixels: interpolated over the same field of view, or with pixels cropped or added.

    Interpolation fills k-space with zeros, or crops it, so it is exact for what was sampled; magnitudes are best left
    until after. The centre of the image stays at index n // 2, intensities stay, and an axis of one pixel is left alone
    unless `matrix` asks for more. Colour images are cropped or padded only.

    Raises:
        DataError: where a phase image would have to be interpolated, or one in colours.
    """

    matrix: tuple[int, ...] = parameter((0, 0, 0), "Pixels along x, y and z; 0: as `scale` says.", low=0)
    scale: tuple[float, ...] = parameter(
        (1.0, 1.0, 1.0), "Times the pixels that an image has along x, y and z, rounded.", low=1e-3
    )
    by: Literal["interpolation", "pixels"] = parameter(
        "interpolation", "Over the same field of view; or pixels as they are, cropped or with zeros around them."
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for name in ("matrix", "scale"):
            if len(getattr(self, name)) != 3:
                raise ParameterError(
                    f"{name} has {len(getattr(self, name))} values; give three, for x, y and z",
                    gadget=type(self).__name__,
                )

    def process(self, image: Image, /) -> Iterator[Image]:
        have = image.data.shape[1:]  # (z, y, x)
        wanted = [
            pixels or (max(1, int(size * scale + 0.5)) if size > 1 else 1)
            for size, pixels, scale in zip(have, self.matrix[::-1], self.scale[::-1], strict=True)
        ]
        if tuple(wanted) == have:
            yield image
            return
        if self.by == "pixels":
            sizes = zip(image.head["field_of_view"].tolist(), wanted[::-1], have[::-1], strict=True)
            fov = [mm * n / n_before for mm, n, n_before in sizes]
            yield worked_on(image, resize_centred(image.data, wanted), by=type(self).__name__, field_of_view=fov)
            return
        kind = image_type(image)
        if kind in (ImageType.PHASE, ImageType.RGB):
            raise DataError(
                f"{kind.name.lower()} images of {list(have[::-1])} pixels cannot be interpolated to {wanted[::-1]}; "
                "put Resize before what makes them"
            )
        yield worked_on(image, resample(image.data, wanted), by=type(self).__name__)
