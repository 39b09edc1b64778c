"""What GRAPPA makes of calibration lines, and the lines that serve frames which have none of their own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, KSpace
from echotrain.mrd.errors import DataError

from .calibration_lines import block_without_gaps
from .coils import adaptive_coil_maps, smooth_images
from .grappa_weights import GrappaWeights, g_factor, grappa_unmixing, grappa_weights
from .sampling import Lattice, dense_block, without_gaps
from .tensors import side_by_side


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What the calibration of a scene gave."""

    calibration: KSpace | None
    steps: tuple[int, int, int]
    """Of the lattice that it is for."""

    weights: GrappaWeights | None
    """None where all lines were acquired, and the image itself gives the maps."""

    maps: NDArray[np.complex64]
    unmixing: NDArray[np.complex64]
    """Shape (channel, z, y, x), as the maps."""

    @classmethod
    def of(
        cls,
        calibration: KSpace | None,
        lattice: Lattice,
        block: NDArray[np.complex64],
        centre: Sequence[int],
        shape: Sequence[int],
        *,
        kernel: Sequence[int],
        regularization: float,
        noise_weight: float,
        width: int,
        iterations: int,
    ) -> Calibrated:
        """Calibrate by a block of lines around `centre`; `shape` (z, y, x) is that of images."""
        maps, weights = side_by_side(
            lambda: adaptive_coil_maps(smooth_images(block, centre, shape), width, iterations),
            lambda: grappa_weights(
                block, lattice.acceleration, kernel, regularization, lattice.shift, noise_weight=noise_weight
            ),
        )
        return cls(calibration, lattice.steps, weights, maps, grappa_unmixing(weights, maps))

    @property
    def g_factor(self) -> NDArray[np.float32]:
        """Shape (z, y, x)."""
        return g_factor(self.unmixing, self.steps[:2])

    def is_of(self, calibration: KSpace | None) -> bool:
        """Whether it was made from these calibration lines."""
        return calibration is not None and self.calibration is calibration

    def fits(self, lattice: Lattice, unit: KSpace) -> bool:
        """Whether it is for lines and images like the unit's."""
        return self.steps == lattice.steps and self.maps.shape == unit.data.shape


def has_calibration(unit: KSpace, lattice: Lattice) -> bool:
    """Whether a unit brings calibration: flagged lines, or lines without gaps along the directions that have gaps."""
    if unit.calibration is not None:
        return True
    blocks = reversed(dense_block(unit.sampled))
    return not any(
        step > 1 and block.stop - block.start < 2 for step, block in zip(lattice.acceleration, blocks, strict=True)
    )


def calibration_block(unit: KSpace, lattice: Lattice, header: Header) -> tuple[NDArray[np.complex64], tuple[int, ...]]:
    """Lines without gaps, shape (channel, kz, ky, kx), and the index of the centre of k-space among them.

    Raises:
        DataError: where there are none, or they have other channels than the unit or samples that are not finite.
    """
    if not has_calibration(unit, lattice):
        raise DataError(
            "there are no calibration lines: none are flagged, and of the others only one in "
            f"{lattice.acceleration[0]} along ky and {lattice.acceleration[1]} along kz was acquired; acquire the "
            "centre of k-space without gaps, separate calibration lines, or repetitions whose lines interleave"
        )
    return block_without_gaps(unit, header)


class FrameWindow:
    """The latest line of each place over the frames of a scene, to calibrate frames that have no lines to do so."""

    def __init__(self, renew: int) -> None:
        """`renew` is after how many frames the calibration is made anew; 0: never."""
        self.calibration: KSpace | None = None
        """The lines of some frames together, once they are all there."""
        self.renewal: tuple[KSpace, Future[Calibrated]] | None = None
        """Later frames' lines, and what is being made of them."""
        self.waiting: list[tuple[KSpace, Lattice]] = []
        """Frames that came before."""
        self._renew = renew
        self._n_frames = 0
        self._lines: KSpace | None = None

    def add(self, frame: KSpace, lattice: Lattice) -> bool:
        """Take the lines of a frame; whether there are enough, or will be if others follow that go on like this.

        Raises:
            DataError: where the frame has another shape than those before.
        """
        if self._lines is None:
            self._lines = replace(frame, data=np.zeros_like(frame.data), sampled=np.zeros_like(frame.sampled))
        lines = self._lines
        if lines.data.shape != frame.data.shape:
            raise DataError(
                f"a repetition has {frame.n_channels} channels x {frame.data.shape[-1]} samples, those before it "
                f"{lines.n_channels} x {lines.data.shape[-1]}; they must be alike to calibrate one another"
            )
        fresh = bool((frame.sampled & ~lines.sampled).any())
        lines.sampled[frame.sampled] = True
        lines.data[:, frame.sampled] = frame.data[:, frame.sampled]
        self._n_frames += 1
        return fresh or self.calibration is not None

    def due(self) -> KSpace | None:
        """The latest lines, where calibration is to be made of them now."""
        assert self._lines is not None
        whole = self.calibration is not None or without_gaps(self._lines.sampled)
        if not whole or (self.calibration is not None and self._n_frames != self._renew):
            return None
        self._n_frames = 0
        return replace(self._lines, data=self._lines.data.copy(), sampled=self._lines.sampled.copy())
