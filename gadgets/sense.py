"""Parallel imaging by SENSE, from k-space of which every nth line was acquired to one complex image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, KSpace
from echotrain.mrd.errors import DataError

from .calibration import _CalibratedReconstruction, calibration_block
from .grappa_weights import g_factor
from .image_headers import worked_on
from .parameters import parameter
from .sampling import Lattice, sampling_lattice
from .sense_unfolding import folding_shape, sense_unmixing, unfold

G_FACTOR_SCALE = 100  # as that of Grappa


@dataclass(frozen=True, slots=True, eq=False)
class _Unmixing:
    """Shapes (channel, z, y, x), on a grid that folds onto itself."""

    maps: NDArray[np.complex64]
    coefficients: NDArray[np.complex64]


class Sense(_CalibratedReconstruction):
    """Reconstruct k-space of which every nth line along ky (and kz) was acquired to one complex image, by SENSE.

    Pixels that fold onto one another are solved for by coil maps, from the k-space's calibration lines or, where it has
    none, from the lines without gaps around its centre. Lines between those of the regular grid that are not for
    calibration alone stay as acquired. Intensities are those of the fully sampled image, combined by the same maps.
    Where the number of lines is no multiple of n the image is unfolded on a grid that is a few pixels larger, over the
    same field of view.

    References: K. Pruessmann et al., Magn Reson Med 1999, 42:952-962.

    Raises:
        DataError: where lines are missing in no regular way or beyond the header's acceleration factor, calibration
            lines are missing, too few or of other channels, or samples are not finite.
    """

    regularization: float = parameter(
        1e-3, "Tikhonov's weight, where 1 is that of the data in a fully sampled pixel.", low=0
    )
    gfactor: bool = parameter(
        False, "Give a map of the g-factor, times 100, with each calibration: series 20, 30 for the second encoding."
    )

    def start(self, header: Header, /) -> None:
        super().start(header)
        self._mapped: dict[tuple[int, ...], _Unmixing] = {}
        self._n_maps: Counter[int] = Counter()

    def finish(self) -> None:
        super().finish()
        self._mapped.clear()

    def _steps(self, unit: KSpace) -> tuple[int, int, int]:
        """How far lines lie apart; as the header says where they are still to come."""
        announced = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration
        if unit.early:
            return (*announced, 0)
        steps = sampling_lattice(unit.sampled).steps
        if prod(steps[:2]) > prod(announced) > 1:
            found, most = (" x ".join(map(str, along)) for along in (steps[:2], announced))
            raise DataError(
                f"neighbouring lines are {found} apart (ky x kz), though the header's acceleration factor is {most}; "
                "send the lines that are missing, or correct the header"
            )
        return steps

    def _kind(self, unit: KSpace) -> tuple[int, ...]:
        return (*unit.data.shape, *self._steps(unit))

    def _calibrate(self, unit: KSpace) -> _Unmixing:
        block, centre = calibration_block(unit, self._header)
        steps = self._steps(unit)
        maps = self._coil_maps(block, centre, folding_shape(unit.data.shape[1:], steps))[0]
        return _Unmixing(maps, sense_unmixing(maps, steps, self.regularization))

    def _images(self, unit: KSpace, channels: Image, made: _Unmixing) -> Iterator[Image]:
        lattice = sampling_lattice(unit.sampled)
        if self.gfactor and self._mapped.get(unit.scene) is not made:
            self._mapped[unit.scene] = made
            yield self._g_factor_map(channels, made, lattice)
        axes = (-3, -2) if unit.readout_in_image_space else (-3, -2, -1)
        data = unfold(unit.data, lattice, made.maps, made.coefficients, sampled=unit.sampled, axes=axes)
        yield worked_on(channels, data[None], by=type(self).__name__)

    def _g_factor_map(self, channels: Image, made: _Unmixing, lattice: Lattice) -> Image:
        """A complex image like that which it belongs to, so that gadgets on images treat it as one."""
        found = g_factor(made.coefficients, lattice.acceleration)
        for axis, n in enumerate(channels.data.shape[1:]):
            size = found.shape[axis]  # the nearest pixel of the grid that folds
            found = found.take(np.rint((np.arange(n) - n // 2) * size / n).astype(int) + size // 2, axis, mode="clip")
        series = 10 * (int(channels.head["image_series_index"]) + 1)
        self._n_maps[series] += 1
        index = (self._n_maps[series] - 1) % 65535 + 1
        return worked_on(
            channels,
            (G_FACTOR_SCALE * found).astype(np.complex64)[None],
            by=type(self).__name__,
            meta={"DataRole": "Gfactor", "GADGETRON_DataRole": "Gfactor", "GADGETRON_ImageNumber": index},
            image_series_index=series,
            image_index=index,
        )
