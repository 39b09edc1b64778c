"""k-space that belongs together and can be reconstructed: what flows between collection and Fourier transform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SCENE = ("average", "slice", "contrast", "phase", "set", "segment")


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

    early: bool = False
    """Whether all it has so far are its calibration lines; they come again, as the same object, with all its lines,
    unless more of them came. Only gadgets with `takes_early_calibration` are given such."""

    @property
    def n_channels(self) -> int:
        return int(self.data.shape[-4])

    @property
    def scene(self) -> tuple[int, ...]:
        """Encoding space and counters of the first unit but repetition: alike where calibration may be shared."""
        head = self.head.reshape(-1)[0]
        return (int(head["encoding_space_ref"]), *(int(head["idx"][name]) for name in _SCENE))

    def units(self) -> Iterator[KSpace]:
        """Each unit that a line reached, as a k-space without `axes`, in C order; it has its own calibration."""
        for index in np.ndindex(self.head.shape):
            if self.sampled[index].any():
                yield self._unit(index)

    def _unit(self, index: tuple[int, ...]) -> KSpace:
        calibration = self.calibration and self.calibration._unit(index)
        if calibration is not None and not calibration.sampled.any():
            calibration = None
        head = np.asarray(self.head[index])
        return KSpace(
            self.data[index], self.sampled[index], head, (), calibration, self.readout_in_image_space, self.early
        )
