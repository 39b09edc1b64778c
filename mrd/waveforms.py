"""Physiological signals (ECG, pulse, respiration...) that travel beside the lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Waveforms:
    """n >= 1 waveforms of one shape. Ids: 0 ECG, 1 pulse, 2 respiration, 3 and 4 external, from 1024 custom."""

    head: NDArray[np.void]
    """Shape (waveform,), dtype WAVEFORM_HEADER."""

    data: NDArray[np.uint32]
    """Shape (waveform, channel, sample)."""

    def __len__(self) -> int:
        return len(self.head)

    def __getitem__(self, index: slice) -> Waveforms:
        """The waveforms that `index` picks."""
        return Waveforms(self.head[index], self.data[index])
