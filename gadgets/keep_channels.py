"""A choice among the channels of lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from echotrain.mrd import Acquisitions
from echotrain.mrd.errors import DataError, ParameterError

from .gadget import Gadget
from .lines import copied
from .parameters import parameter


class KeepChannels(Gadget[Acquisitions, Acquisitions]):
    """Leave channels out of all lines. Belongs after Prewhiten, where the noise was measured of all channels.

    Raises:
        DataError: where a line has none of the channels that are kept.
    """

    takes_image_space_readout = True

    first: int = parameter(0, "How many channels are kept, from the first on; 0: all that `mask` keeps.", low=0)
    mask: tuple[int, ...] = parameter(
        (), "1 for each channel that is kept, 0 for others and for those beyond; without it, all are.", low=0, high=1
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.first and self.mask:
            raise ParameterError("first and mask are both given; give one of them", gadget="KeepChannels")

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions]:
        if self.mask:
            kept = np.flatnonzero(self.mask[: lines.n_channels])
        else:
            kept = np.arange(min(self.first or lines.n_channels, lines.n_channels))
        if not len(kept):
            raise DataError(
                f"line {lines.head['scan_counter'][0]} has {lines.n_channels} channels, and none of them is kept by "
                f"mask={' '.join(map(str, self.mask))}"
            )
        if len(kept) == lines.n_channels:
            yield lines
            return
        head = copied(lines.head)
        head["active_channels"] = len(kept)
        yield replace(lines, head=head, data=lines.data[:, kept])
