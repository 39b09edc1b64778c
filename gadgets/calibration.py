"""Calibration lines of a k-space, and the coil maps that gadgets make of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Header, Image, KSpace
from echotrain.mrd.errors import DataError

from .calibration_lines import block_without_gaps
from .coils import adaptive_coil_maps, root_sum_of_squares, smooth_images
from .espirit import espirit_maps
from .fourier import FourierTransform
from .gadget import Gadget
from .parameters import parameter
from .sampling import dense_block

LIMIT = 24  # samples along each axis that ESPIRiT takes, those nearest to the centre of k-space
FEWEST = 8  # lines, with which images of the calibration are as coarse as coils are smooth


def calibration_block(unit: KSpace, header: Header) -> tuple[NDArray[np.complex64], tuple[int, ...]]:
    """Lines without gaps, shape (channel, kz, ky, kx), and the index of the centre of k-space among them.

    They are the k-space's calibration lines or, where it has none, the lines around its centre.

    Raises:
        DataError: where there are none, or they have other channels or samples that are not finite.
    """
    lines = unit.calibration or unit
    planes, rows = dense_block(lines.sampled)
    spans = [(block.stop - block.start, n) for block, n in zip((planes, rows), lines.sampled.shape, strict=True)]
    if unit.calibration is None and any(span < 2 <= n for span, n in spans):
        raise DataError(
            "there are no calibration lines: none are flagged, and those around the centre of k-space were acquired "
            "with gaps; acquire the centre of k-space without gaps, or separate calibration lines"
        )
    return block_without_gaps(unit, header)


@dataclass(frozen=True, slots=True, eq=False)
class _Calibrated:
    """What was made of a scene's calibration."""

    calibration: KSpace | None
    kind: tuple[int, ...]
    made: Any


class _CalibratedReconstruction(Gadget[KSpace, Image]):
    """What gadgets share that reconstruct k-space with missing lines to one complex image by coil maps.

    What is made of calibration lines, as soon as they are in, is kept for later repetitions with the same ones.
    """

    takes_image_space_readout = True
    takes_early_calibration = True

    maps: Literal["espirit", "adaptive", "calibration"] = parameter(
        "espirit",
        "Coil maps from calibration lines by ESPIRiT, by Walsh's and Inati's adaptive combination of their images, or "
        "those images themselves over the root of their sum of squares.",
    )
    kernel: tuple[int, ...] = parameter((6, 6, 4), "Samples of ESPIRiT's kernel along kx, ky, kz.", low=1)
    threshold: float = parameter(
        0.03, "Least singular value of signal in ESPIRiT's calibration, in units of the largest.", low=0, high=1
    )
    crop: float = parameter(0.8, "Least eigenvalue of pixels that ESPIRiT's maps cover; others are 0.", low=0, high=1)
    width: int = parameter(5, "Box within which adaptive coil maps vary little; odd.", unit="pixels", low=1)

    def start(self, header: Header, /) -> None:
        self._header = header
        self._transform = FourierTransform()
        self._transform.start(header)
        self._scenes: dict[tuple[int, ...], _Calibrated] = {}

    def process(self, kspace: KSpace, /) -> Iterator[Image]:
        for unit in kspace.units():
            if kspace.early:
                # What fails now fails again with the lines, unless calibration lines were still to come.
                with suppress(DataError):
                    self._known(unit, kspace.calibration)
                continue
            (channels,) = self._transform.images(unit)
            if not isinstance(channels, Image) or not np.isfinite(channels.data).all():
                raise DataError(
                    f"line {int(unit.head['scan_counter'])} or others of its k-space hold samples that are not finite; "
                    "look at the source of the data"
                )
            yield from self._reconstruct(unit, channels, kspace.calibration)

    def finish(self) -> Iterator[Image] | None:
        self._scenes.clear()
        return None

    def _reconstruct(self, unit: KSpace, channels: Image, calibration: KSpace | None) -> Iterator[Image]:
        """The images that there are now that a unit has come; `channels` are images of its channels alone."""
        yield from self._images(unit, channels, self._known(unit, calibration))

    def _known(self, unit: KSpace, calibration: KSpace | None) -> Any:
        """What was made of the unit's calibration, now or before; `calibration` is kept to know it again."""
        kind = self._kind(unit)
        known = self._scenes.get(unit.scene)
        if calibration is None or known is None or known.calibration is not calibration or known.kind != kind:
            known = self._scenes[unit.scene] = _Calibrated(calibration, kind, self._calibrate(unit))
        return known.made

    def _kind(self, unit: KSpace) -> tuple[int, ...]:
        """What of a unit, but for its calibration, `_calibrate` depends on."""
        return unit.data.shape

    def _calibrate(self, unit: KSpace) -> Any:
        """What is to be kept for later k-space with the same calibration."""
        raise NotImplementedError

    def _images(self, unit: KSpace, channels: Image, made: Any) -> Iterator[Image]:
        """The image of a unit, from the images of its channels alone and what `_calibrate` made."""
        raise NotImplementedError

    def _coil_maps(
        self, block: NDArray[np.complex64], centre: tuple[int, ...], shape: tuple[int, ...], sets: int = 1
    ) -> NDArray[np.complex64]:
        """Maps of a calibration block for images of `shape`. Shape (set, channel, z, y, x)."""
        if self.maps == "espirit":
            about = (slice(None), *(_about(middle, n) for middle, n in zip(centre, block.shape[1:], strict=True)))
            found = espirit_maps(
                block[about], shape, sets=sets, kernel=self.kernel, threshold=self.threshold, crop=self.crop
            ).maps
            return np.asarray(found)
        if any(lines < min(FEWEST, n) for lines, n in zip(block.shape[1:], shape, strict=True)):
            raise DataError(
                f"{block.shape[2]} x {block.shape[1]} calibration lines (ky x kz) are too few for coil maps; acquire "
                f"{FEWEST} or more around the centre of k-space along each direction"
            )
        images = smooth_images(block, centre, shape)
        if self.maps == "adaptive":
            return adaptive_coil_maps(images, self.width)[None]
        norm = root_sum_of_squares(images)
        images /= np.where(norm > 0, norm, 1)
        return images[None]


def _about(middle: int, n: int) -> slice:
    """Which of `n` samples are nearest to the middle, which need not be that of the samples."""
    first = min(max(0, middle - LIMIT // 2), max(0, n - LIMIT))
    return slice(first, first + LIMIT)
