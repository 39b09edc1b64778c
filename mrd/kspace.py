"""k-space that belongs together and can be reconstructed: what flows between collection and Fourier transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class KSpace:
    """One slice or volume of one contrast, phase, repetition, set...; not sampled where no line came (zeros there).

    `unit` stands for the counters that were kept together in one k-space, in the order of `axes`; there are none by
    default. The centre of k-space lies at index n // 2 of kz, ky and kx.
    """

    data: NDArray[np.complex64]
    """Shape (*unit, channel, kz, ky, kx); kx is x where `readout_in_image_space`."""

    sampled: NDArray[np.bool_]
    """Which lines were acquired. Shape (*unit, kz, ky)."""

    head: NDArray[np.void]
    """Acquisition header of the line nearest to the centre of k-space. Shape (*unit,), dtype ACQUISITION_HEADER."""

    axes: tuple[str, ...] = ()
    """Names of the counters along `unit`."""

    calibration: KSpace | None = None
    """Lines flagged for calibration (alone or with imaging), on the same grid, or None where none came."""

    readout_in_image_space: bool = False
    """Whether the last axis has been Fourier transformed already and runs along x, centred."""

    @property
    def n_channels(self) -> int:
        return int(self.data.shape[-4])
