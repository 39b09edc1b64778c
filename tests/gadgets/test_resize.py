"""Images on more or fewer pixels: waves stay waves, the centre stays, and headers stay true."""

import numpy as np
import pytest

from echotrain.gadgets import InvertContrast, Resize
from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError, ParameterError

FIELD = (240.0, 200.0, 60.0)


def image(data, kind=ImageType.COMPLEX):
    return Image(data).with_data(data, image_type=kind, field_of_view=FIELD)


def resized(given, **parameters):
    (found,) = Resize(**parameters).process(given)
    return found


def wave(n_z, n_y, n_x):
    """Two periods along x, one along y, about the centre."""
    z, y, x = (np.arange(n) - n // 2 for n in (n_z, n_y, n_x))
    along = np.exp(2j * np.pi * (2 * x / n_x + (y / n_y)[:, None] + 0 * z[:, None, None]))
    return along.astype(np.complex64)[None]


@pytest.mark.parametrize("matrix", [(16, 20, 6), (11, 7, 3), (24, 9, 5)])
def test_a_wave_is_the_same_wave_on_other_pixels_of_the_same_field_of_view(matrix):
    found = resized(image(wave(5, 10, 12)), matrix=matrix)
    np.testing.assert_allclose(found.data, wave(*matrix[::-1]), atol=2e-6)
    assert found.head["field_of_view"].tolist() == list(FIELD)
    assert found.described()["matrix_size"].tolist() == list(matrix)


def test_pixels_are_a_multiple_of_those_there_but_along_an_axis_of_one():
    found = resized(image(wave(1, 10, 12)), scale=(1.5, 2, 3))
    np.testing.assert_allclose(found.data, wave(1, 20, 18), atol=2e-6)


def test_pixels_are_cropped_and_added_about_the_centre_and_the_field_of_view_tells():
    data = np.arange(5 * 10 * 12, dtype=np.float32).reshape(1, 5, 10, 12)
    found = resized(image(data, ImageType.MAGNITUDE), matrix=(6, 16, 0), by="pixels")
    assert found.data.shape == (1, 5, 16, 6)
    np.testing.assert_array_equal(found.data[:, :, 3:13], data[..., 3:9])
    assert not found.data[:, :, [*range(3), *range(13, 16)]].any()
    assert found.head["field_of_view"].tolist() == [120, 320, 60]


def test_an_image_of_that_size_passes_as_the_same_object():
    given = image(wave(5, 10, 12))
    assert resized(given, matrix=(12, 0, 0)) is given


@pytest.mark.parametrize("kind", [ImageType.PHASE, ImageType.RGB])
def test_phases_and_colours_are_not_interpolated(kind):
    data = np.ones((3, 1, 10, 12), np.float32)
    with pytest.raises(DataError, match=kind.name.lower()):
        resized(image(data, kind), matrix=(16, 0, 0))
    assert resized(image(data, kind), matrix=(16, 0, 0), by="pixels").data.shape == (3, 1, 10, 16)


def test_sizes_of_some_axes_alone_are_refused():
    with pytest.raises(ParameterError, match="scale has 2 values; give three"):
        Resize(scale="2 2")


def test_each_image_is_inverted_about_its_own_brightest_pixel_where_none_is_given():
    data = np.array([[[[0, 3, 7]]]], np.float32)
    (found,) = InvertContrast(maximum=0).process(image(data, ImageType.MAGNITUDE))
    assert found.data.tolist() == [[[[7, 4, 0]]]]
