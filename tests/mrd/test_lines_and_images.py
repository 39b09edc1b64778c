"""Batches of lines and images: slicing, alignment, and headers that follow the data."""

import numpy as np
import pytest

from echotrain.mrd import Acquisitions, Array, Flag, Image, acquisition_headers, encode
from echotrain.mrd.decode import decode
from echotrain.mrd.errors import DataError, StreamError
from echotrain.mrd.records import DATA_TYPES


@pytest.fixture
def lines():
    head = acquisition_headers(5, 3, 4)
    head["trajectory_dimensions"] = 2
    head["scan_counter"] = np.arange(5)
    head["flags"][[1, 4]] = Flag.IS_REVERSE
    data = np.arange(60, dtype=np.complex64).reshape(5, 3, 4)
    return Acquisitions(head, data, np.arange(40, dtype=np.float32).reshape(5, 4, 2))


def test_slices_masks_and_numbers_pick_lines_with_all_that_belongs_to_them(lines):
    for picked, expected in ((lines[1:4], [1, 2, 3]), (lines[lines.has(Flag.IS_REVERSE)], [1, 4]), (lines[-1], [4])):
        assert picked.head["scan_counter"].tolist() == expected
        np.testing.assert_array_equal(picked.data, lines.data[expected])
        np.testing.assert_array_equal(picked.trajectory, lines.trajectory[expected])


def test_iteration_gives_batches_of_one_line_that_share_memory(lines):
    singles = list(lines)
    assert [len(single) for single in singles] == [1] * 5
    assert all(np.shares_memory(single.data, lines.data) for single in singles)


def test_aligned_copies_only_what_is_not(lines):
    assert lines.aligned() is lines.data
    record = bytearray(b"?") + bytearray(encode(lines))
    ((view, _),) = decode(memoryview(record)[1:])
    aligned = view.aligned()
    assert aligned.flags.aligned
    assert aligned.flags.c_contiguous
    np.testing.assert_array_equal(aligned, lines.data)


def test_other_data_change_the_counts_and_leave_the_old_header_alone(lines):
    cropped = lines.with_data(lines.data[:, :2, 1:3])
    assert (cropped.n_channels, cropped.n_samples) == (2, 2)
    assert cropped.head["number_of_samples"].tolist() == [2] * 5
    assert cropped.head["active_channels"].tolist() == [2] * 5
    assert lines.head["number_of_samples"].tolist() == [4] * 5


@pytest.mark.parametrize("name", ["active_channels", "number_of_samples", "trajectory_dimensions"])
def test_lines_whose_headers_miscount_are_not_encoded(lines, name):
    lines.head[name][3] += 1
    with pytest.raises(DataError, match=f"{name} = {lines.head[name][3]}, but the line has {lines.head[name][0]}"):
        encode(lines)


@pytest.mark.parametrize("number", DATA_TYPES)
def test_each_type_of_pixel_is_described_by_its_number(number):
    image = Image(np.zeros((2, 3, 4, 5), DATA_TYPES[number]))
    head = image.described()
    assert head["data_type"] == number
    assert head["matrix_size"].tolist() == [5, 4, 3]
    assert head["channels"] == 2
    assert image.head["data_type"] == 0


def test_an_image_refuses_other_types_and_other_dimensions():
    with pytest.raises(DataError, match="int64"):
        Image(np.zeros((1, 1, 2, 3), np.int64))
    with pytest.raises(DataError, match=r"\(2, 3\)"):
        Image(np.zeros((2, 3), np.float32))


def test_an_image_too_large_for_its_header_is_refused():
    with pytest.raises(DataError, match="65535"):
        Image(np.zeros((1, 1, 1, 65536), np.uint16)).described()


def test_an_image_without_pixels_travels():
    ((image, _),) = decode(memoryview(encode(Image(np.zeros((0, 1, 2, 3), np.uint16)))))
    assert image.data.shape == (0, 1, 2, 3)


def test_an_image_with_other_pixels_may_set_fields_of_its_header():
    image = Image(np.zeros((1, 1, 2, 3), np.complex64))
    other = image.with_data(np.zeros((1, 1, 2, 3), np.float32), image_series_index=4)
    assert (other.head["image_series_index"], image.head["image_series_index"]) == (4, 0)


def test_an_image_too_large_for_a_reader_is_not_sent():
    vast = np.broadcast_to(np.float64(0), (1, 1025, 1024, 1024))  # which takes no memory
    for item in (Image(vast), Array(vast)):
        with pytest.raises(StreamError, match="at most 4294967296 bytes"):
            encode(item)
