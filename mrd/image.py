"""An image with its ISMRMRD header and its meta attributes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .records import DATA_TYPE_NUMBERS, IMAGE_HEADER, VERSION

COUNT_MAX = 65535  # of a header's 16 bits

MetaValue = str | int | float | list[str] | list[int] | list[float]
Meta = dict[str, MetaValue]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image or volume. `head` describes `data` only once `described` was called, as the encoder does."""

    data: NDArray[Any]
    """Shape (channel, z, y, x), of one of ISMRMRD's eight data types."""

    head: NDArray[np.void] = field(default_factory=lambda: image_header())
    """ISMRMRD image header, shape (), dtype IMAGE_HEADER."""

    meta: Meta = field(default_factory=dict)
    """Attributes by name; a list is an attribute with several values. What was read from a stream holds strings."""

    def __post_init__(self) -> None:
        if self.data.ndim != 4:
            raise DataError(f"an image has the axes (channel, z, y, x), not the shape {self.data.shape}")
        if self.data.dtype not in DATA_TYPE_NUMBERS:
            wanted = ", ".join(str(dtype) for dtype in DATA_TYPE_NUMBERS)
            raise DataError(f"an image cannot hold {self.data.dtype}; ISMRMRD knows {wanted}")

    def with_data(self, data: NDArray[Any], **fields: Any) -> Image:
        """The same image with other pixels, and with `fields` of its header set."""
        head = self.head
        if fields:
            head = head.copy()
            for name, value in fields.items():
                head[name] = value
        return replace(self, data=data, head=head)

    def described(self) -> NDArray[np.void]:
        """A copy of the header whose matrix size, channels and data type are those of the data.

        Raises:
            DataError: where an axis is too long for the header.
        """
        if max(self.data.shape) > COUNT_MAX:
            raise DataError(f"an image of shape {self.data.shape} has no header: no axis may exceed {COUNT_MAX}")
        head = self.head.copy()
        head["version"] = VERSION
        head["channels"] = self.data.shape[0]
        head["matrix_size"] = self.data.shape[:0:-1]
        head["data_type"] = DATA_TYPE_NUMBERS[self.data.dtype]
        return head


def image_header() -> NDArray[np.void]:
    """An empty image header, shape ()."""
    head = np.zeros((), IMAGE_HEADER)
    head["version"] = VERSION
    return head
