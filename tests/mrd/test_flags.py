"""Flags and image types carry ISMRMRD's numbers."""

import ismrmrd
import numpy as np
import pytest

from echotrain.mrd.flags import COMPRESSED, NOT_IMAGING, Flag, ImageType, has_flag

NUMBERS = {name[4:]: number for name, number in vars(ismrmrd.constants).items() if name.startswith("ACQ_")}


@pytest.mark.parametrize("flag", list(Flag))
def test_a_flag_is_the_bit_that_its_number_counts_from_one(flag):
    assert flag == 1 << (NUMBERS[flag.name] - 1)


def test_every_flag_but_the_users_is_known():
    assert {flag.name for flag in Flag} == {name for name in NUMBERS if not name.startswith("USER")}


def test_image_types_are_numbered_as_by_ismrmrd():
    names = {"MAGNITUDE": "MAGNITUDE", "PHASE": "PHASE", "REAL": "REAL", "IMAGINARY": "IMAG", "COMPLEX": "COMPLEX"}
    names["RGB"] = "RGB"
    assert {kind.name: kind.value for kind in ImageType} == {
        ours: getattr(ismrmrd, f"IMTYPE_{theirs}") for ours, theirs in names.items()
    }


def test_any_of_several_bits_is_found_including_the_highest():
    flags = np.array([0, 1 << 63, Flag.IS_NOISE_MEASUREMENT, Flag.LAST_IN_SLICE | Flag.COMPRESSION4], np.uint64)
    assert has_flag(flags, NOT_IMAGING).tolist() == [False, False, True, False]
    assert has_flag(flags, COMPRESSED).tolist() == [False, False, False, True]


def test_calibration_lines_that_are_also_image_lines_count_as_imaging():
    assert not NOT_IMAGING & Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING
    assert NOT_IMAGING & Flag.IS_PARALLEL_CALIBRATION
