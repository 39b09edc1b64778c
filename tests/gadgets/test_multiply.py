"""Images times a fixed factor; maps, which have units of their own, are left alone."""

import numpy as np
import pytest

from echotrain.gadgets import MultiplyIntensity
from echotrain.mrd import Image

PIXELS = np.arange(24).reshape(1, 2, 3, 4)


def multiplied(data, meta, factor):
    (image,) = MultiplyIntensity(factor=factor).process(Image(data, meta=meta))
    return image


@pytest.mark.parametrize(
    ("given", "expected"),
    [("complex64", "complex64"), ("float32", "float32"), ("uint16", "float32"), ("float64", "float32")],
)
def test_pixels_are_multiplied_in_single_precision(given, expected):
    image = multiplied(PIXELS.astype(given), {"GADGETRON_DataRole": "Image"}, "2.5")
    assert image.data.dtype == np.dtype(expected)
    np.testing.assert_array_equal(image.data, 2.5 * PIXELS)
    assert image.meta["GADGETRON_ScaleRatio"] == 2.5


def test_an_image_that_says_nothing_of_its_role_is_multiplied():
    np.testing.assert_array_equal(multiplied(PIXELS.astype("f4"), {}, 3).data, 3 * PIXELS)


@pytest.mark.parametrize("meta", [{"GADGETRON_DataRole": "Gfactor"}, {"DataRole": "Gfactor"}])
def test_maps_are_left_alone(meta):
    image = multiplied(PIXELS.astype("f4"), meta, 10)
    np.testing.assert_array_equal(image.data, PIXELS)
    assert image.meta == meta
