"""The header dtypes are ISMRMRD's C structs, byte for byte."""

import ctypes

import ismrmrd
import numpy as np
import pytest
from ismrmrd.acquisition import AcquisitionHeader, EncodingCounters
from ismrmrd.hdf5 import get_hdf5type
from ismrmrd.image import ImageHeader
from ismrmrd.waveform import WaveformHeader

from echotrain.mrd import records

PAIRS = [
    (records.ACQUISITION_HEADER, AcquisitionHeader),
    (records.IMAGE_HEADER, ImageHeader),
    (records.WAVEFORM_HEADER, WaveformHeader),
    (records.ENCODING_COUNTERS, EncodingCounters),
]


@pytest.mark.parametrize(("dtype", "struct"), PAIRS)
def test_fields_have_the_names_offsets_and_sizes_of_the_struct(dtype, struct):
    ours = [(name, dtype.fields[name][1], dtype.fields[name][0].itemsize) for name in dtype.names]
    theirs = [(name, getattr(struct, name).offset, getattr(struct, name).size) for name, _ in struct._fields_]
    assert ours == theirs
    assert dtype.itemsize == ctypes.sizeof(struct)


def test_the_headers_have_the_sizes_of_the_protocol():
    sizes = [dtype.itemsize for dtype, _ in PAIRS]
    assert sizes == [340, 198, 40, 34]


def values(struct, name):
    value = getattr(struct, name)
    return list(value) if isinstance(value, ctypes.Array) else value


@pytest.mark.parametrize(("dtype", "struct"), PAIRS[:3])
def test_random_bytes_mean_the_same_through_both(dtype, struct):
    raw = np.random.default_rng(5).integers(0, 256, dtype.itemsize, np.uint8).tobytes()
    ours = np.frombuffer(raw, dtype)[0]
    theirs = struct.from_buffer_copy(raw)
    for name in dtype.names:
        if name == "idx":
            for counter in records.ENCODING_COUNTERS.names:
                np.testing.assert_array_equal(ours["idx"][counter], values(theirs.idx, counter))
        else:
            np.testing.assert_array_equal(ours[name], values(theirs, name))


def test_data_types_are_numbered_as_by_ismrmrd():
    # Its HDF5 module, since its image module takes type 4 for a 64-bit integer, unlike ISMRMRD's C header.
    theirs = {number: get_hdf5type(number) for number in range(1, 7)}
    assert theirs == {number: dtype for number, dtype in records.DATA_TYPES.items() if number < 7}
    assert records.DATA_TYPES[ismrmrd.DATATYPE_CXFLOAT] == np.complex64
    assert records.DATA_TYPES[ismrmrd.DATATYPE_CXDOUBLE] == np.complex128


def test_data_types_are_found_by_their_number_and_back():
    assert {number: records.DATA_TYPE_NUMBERS[dtype] for number, dtype in records.DATA_TYPES.items()} == {
        number: number for number in range(1, 9)
    }
