"""Acquisition flags as bit masks, and the numbers of image types."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray


class Flag(enum.IntFlag):
    """Flags of a readout; ISMRMRD numbers them from 1, so that flag n is bit n - 1."""

    FIRST_IN_ENCODE_STEP1 = 1 << 0
    LAST_IN_ENCODE_STEP1 = 1 << 1
    FIRST_IN_ENCODE_STEP2 = 1 << 2
    LAST_IN_ENCODE_STEP2 = 1 << 3
    FIRST_IN_AVERAGE = 1 << 4
    LAST_IN_AVERAGE = 1 << 5
    FIRST_IN_SLICE = 1 << 6
    LAST_IN_SLICE = 1 << 7
    FIRST_IN_CONTRAST = 1 << 8
    LAST_IN_CONTRAST = 1 << 9
    FIRST_IN_PHASE = 1 << 10
    LAST_IN_PHASE = 1 << 11
    FIRST_IN_REPETITION = 1 << 12
    LAST_IN_REPETITION = 1 << 13
    FIRST_IN_SET = 1 << 14
    LAST_IN_SET = 1 << 15
    FIRST_IN_SEGMENT = 1 << 16
    LAST_IN_SEGMENT = 1 << 17
    IS_NOISE_MEASUREMENT = 1 << 18
    IS_PARALLEL_CALIBRATION = 1 << 19
    IS_PARALLEL_CALIBRATION_AND_IMAGING = 1 << 20
    IS_REVERSE = 1 << 21
    IS_NAVIGATION_DATA = 1 << 22
    IS_PHASECORR_DATA = 1 << 23
    LAST_IN_MEASUREMENT = 1 << 24
    IS_HPFEEDBACK_DATA = 1 << 25
    IS_DUMMYSCAN_DATA = 1 << 26
    IS_RTFEEDBACK_DATA = 1 << 27
    IS_SURFACECOILCORRECTIONSCAN_DATA = 1 << 28
    IS_PHASE_STABILIZATION_REFERENCE = 1 << 29
    IS_PHASE_STABILIZATION = 1 << 30
    COMPRESSION1 = 1 << 52  # ZFP
    COMPRESSION2 = 1 << 53  # NHLBI
    COMPRESSION3 = 1 << 54
    COMPRESSION4 = 1 << 55


COMPRESSED = Flag.COMPRESSION1 | Flag.COMPRESSION2 | Flag.COMPRESSION3 | Flag.COMPRESSION4

# Lines that carry no k-space of the image itself. Surface coil correction is not among them: converters of Siemens data
# set it on ordinary imaging lines whose raw data the scanner corrects.
NOT_IMAGING = (
    Flag.IS_NOISE_MEASUREMENT
    | Flag.IS_PARALLEL_CALIBRATION
    | Flag.IS_NAVIGATION_DATA
    | Flag.IS_PHASECORR_DATA
    | Flag.IS_HPFEEDBACK_DATA
    | Flag.IS_DUMMYSCAN_DATA
    | Flag.IS_RTFEEDBACK_DATA
    | Flag.IS_PHASE_STABILIZATION_REFERENCE
    | Flag.IS_PHASE_STABILIZATION
)


class ImageType(enum.IntEnum):
    """What the numbers of an image stand for."""

    MAGNITUDE = 1
    PHASE = 2
    REAL = 3
    IMAGINARY = 4
    COMPLEX = 5
    RGB = 6


def has_flag(flags: NDArray[np.uint64], flag: Flag) -> NDArray[np.bool_]:
    """Which entries of `flags` carry any bit of `flag`."""
    found: NDArray[np.bool_] = (flags & np.uint64(flag)) != 0
    return found
