"""PNG export: names, windows, orientation and the montage."""

import math
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from echotrain.clients.png import export_png
from echotrain.mrd import Image, ImageType, image_header
from echotrain.mrd.errors import StorageError


def image_of(data, *, kind=ImageType.MAGNITUDE, series=1, **counters):
    head = image_header()
    head["image_type"], head["image_series_index"] = kind, series
    for name, value in counters.items():
        head[name] = value
    return Image(np.asarray(data), head)


def flat(value, dtype=np.float32, shape=(1, 1, 3, 4), **fields):
    return image_of(np.full(shape, value, dtype), **fields)


def pixels(path):
    return np.asarray(PIL.Image.open(path))


def names(paths):
    return [path.name for path in paths]


def test_rows_run_down_and_columns_to_the_right(tmp_path):
    data = np.zeros((1, 1, 3, 4), np.float32)
    data[0, 0, 0, 3] = 1  # first row, last column: the upper right corner
    picture, _ = export_png([image_of(data)], tmp_path)
    expected = np.zeros((3, 4))
    expected[0, 3] = 255
    np.testing.assert_array_equal(pixels(picture), expected)


def test_names_count_what_varies_within_the_series(tmp_path):
    images = [flat(1, slice=s, repetition=r, contrast=1) for r in (0, 2) for s in (0, 3)]
    paths = export_png(images, tmp_path / "new" / "folder")
    assert names(paths) == [
        "series001_slice000_rep000.png",
        "series001_slice003_rep000.png",
        "series001_slice000_rep002.png",
        "series001_slice003_rep002.png",
        "montage.png",
    ]
    assert all(path.is_file() for path in paths)


def test_volumes_and_channels_become_several_pictures(tmp_path):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    *paths, _ = export_png([image_of(data)], tmp_path)
    assert names(paths) == [f"series001_slice000_z{z:03d}_channel{c:03d}.png" for c in range(2) for z in range(3)]
    white = np.percentile(data, 99.5)
    np.testing.assert_array_equal(pixels(paths[4]), (data[1, 1] * 255 / white).round())


def test_images_with_equal_counters_do_not_overwrite_one_another(tmp_path):
    *paths, _ = export_png([flat(1), flat(2), flat(4)], tmp_path)
    assert len(set(paths)) == 3
    assert [int(pixels(path)[0, 0]) for path in paths] == [64, 128, 255]


def test_a_series_has_one_window_and_another_series_its_own(tmp_path):
    images = [flat(1, slice=0), flat(4, slice=1), flat(100, series=7)]
    dark, bright, other, _ = export_png(images, tmp_path)
    assert [int(pixels(path).max()) for path in (dark, bright, other)] == [64, 255, 255]
    assert other.name == "series007_slice000.png"


def test_a_few_bright_pixels_do_not_darken_the_rest(tmp_path):
    data = np.ones((1, 1, 40, 50), np.float32)
    data[0, 0, 0, :5] = 1e6
    picture, _ = export_png([image_of(data)], tmp_path)
    assert (pixels(picture) == 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float64, np.complex64])
def test_magnitude_of_any_type_runs_from_zero_to_white(tmp_path, dtype):
    data = np.array([0, 40, 100, 100], dtype).reshape(1, 1, 2, 2)
    picture, _ = export_png([image_of(data)], tmp_path)
    assert pixels(picture).tolist() == [[0, 102], [255, 255]]


@pytest.mark.parametrize(
    ("values", "dtype"), [([-math.pi, 0, math.pi, -math.pi], np.float32), ([0, 2048, 4095, 0], np.uint16)]
)
def test_phase_is_mapped_over_its_circle(tmp_path, values, dtype):
    data = np.array(values, dtype).reshape(1, 1, 2, 2)
    picture, _ = export_png([image_of(data, kind=ImageType.PHASE)], tmp_path)
    np.testing.assert_allclose(pixels(picture).astype(int), [[0, 128], [255, 0]], atol=1)


@pytest.mark.parametrize("kind", [ImageType.REAL, ImageType.IMAGINARY])
def test_signed_parts_have_zero_in_the_middle_grey(tmp_path, kind):
    data = np.array([-3, 0, 3, 3], np.float32).reshape(1, 1, 2, 2)
    picture, _ = export_png([image_of(data, kind=kind)], tmp_path)
    np.testing.assert_allclose(pixels(picture).astype(int), [[0, 128], [255, 255]], atol=1)


@pytest.mark.parametrize("kind", [ImageType.REAL, ImageType.IMAGINARY])
def test_signed_parts_stored_as_whole_numbers_are_rescaled(tmp_path, kind):
    data = np.array([1748, 2048, 2348, 2348], np.uint16).reshape(1, 1, 2, 2)
    stored = replace(image_of(data, kind=kind), meta={"RescaleSlope": "0.5", "RescaleIntercept": "-1024"})
    picture, _ = export_png([stored], tmp_path)
    np.testing.assert_allclose(pixels(picture).astype(int), [[0, 128], [255, 255]], atol=1)


def test_magnitude_and_phase_of_one_series_have_their_own_windows_and_names(tmp_path):
    images = [flat(1000), flat(0, kind=ImageType.PHASE)]
    magnitude, phase, _ = export_png(images, tmp_path)
    assert (magnitude.name, phase.name) == ("series001_slice000_type001.png", "series001_slice000_type002.png")
    assert (int(pixels(magnitude)[0, 0]), int(pixels(phase)[0, 0])) == (255, 128)


def test_colours_are_kept_as_they_are(tmp_path):
    data = np.zeros((3, 1, 2, 4), np.uint16)
    data[:, 0, 1, 2] = (255, 17, 3)
    picture, montage = export_png([image_of(data, kind=ImageType.RGB)], tmp_path)
    assert pixels(picture).shape == (2, 4, 3)
    assert pixels(picture)[1, 2].tolist() == [255, 17, 3]
    np.testing.assert_array_equal(pixels(montage), pixels(picture))


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_an_image_of_nothing_is_black_or_white_but_no_error(tmp_path, value):
    picture, _ = export_png([flat(value)], tmp_path)
    assert len(np.unique(pixels(picture))) == 1


def test_the_montage_tiles_the_first_series_only(tmp_path):
    images = [flat(10 * (s + 1), slice=s) for s in range(5)] + [flat(1, series=2, shape=(1, 1, 50, 50))]
    sheet = pixels(export_png(images, tmp_path)[-1])
    assert sheet.shape == (2 * 3, 3 * 4)
    corners = sheet[::3, ::4]
    np.testing.assert_array_equal(corners, [[51, 102, 153], [204, 255, 0]])


def test_pictures_of_several_sizes_share_a_montage(tmp_path):
    sheet = pixels(export_png([flat(1), flat(1, shape=(1, 1, 5, 2), slice=1)], tmp_path)[-1])
    assert sheet.shape == (5, 8)
    assert sheet[4].tolist() == [0, 0, 0, 0, 255, 255, 0, 0]


def test_no_images_make_no_files(tmp_path):
    assert export_png([], tmp_path / "out") == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        export_png([flat(1)], tmp_path / "file")
