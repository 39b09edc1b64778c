"""Series are numbered from any number, and pixels keep their values."""

import numpy as np
import pytest

from echotrain.gadgets import NumberSeries
from echotrain.mrd import Image


def numbered(series, **parameters):
    image = Image(np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)).with_data(
        np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4), image_series_index=series, image_index=5
    )
    (given,) = NumberSeries(**parameters).process(image)
    np.testing.assert_array_equal(given.data, image.data)
    assert given.head["image_index"] == 5
    return int(given.head["image_series_index"])


@pytest.mark.parametrize(("series", "first", "expected"), [(1, 0, 0), (1, 1, 1), (2, 0, 1), (1, 41, 41), (20, 3, 22)])
def test_series_begin_at_the_first_and_keep_their_distances(series, first, expected):
    assert numbered(series, first=first) == expected


def test_numbers_stay_within_their_16_bits():
    assert numbered(3, first=65535) == 1
