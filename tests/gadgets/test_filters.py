"""Filters of k-space have the values that are stated, and do to images what they should."""

import math

import numpy as np
import pytest

from echotrain.gadgets import FilterImages
from echotrain.gadgets.filters import kspace_filter
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError, ParameterError

SHAPE = (2, 4, 10, 7)  # (channel, z, y, x)


def image(data, **fields):
    return Image(data, meta={"DataRole": "Image"}).with_data(data, **fields)


def noise(*shape):
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def filtered(data, **parameters):
    (given,) = FilterImages(**parameters).process(image(data))
    return given.data


@pytest.mark.parametrize("kind", ["none", "gaussian", "hann", "tukey"])
@pytest.mark.parametrize("n", [1, 2, 8, 9, 64])
def test_filters_are_symmetric_about_the_centre_and_keep_the_variance_of_noise(kind, n):
    values = kspace_filter(kind, n)
    assert values.dtype == np.float32
    assert np.mean(values**2) == pytest.approx(1, rel=1e-5)
    paired = values[1 - n % 2 :] if n > 2 else values
    np.testing.assert_array_equal(paired, paired[::-1])
    assert values[n // 2] == values.max()
    if kind != "none" and n > 2 and n % 2 == 0:
        assert values[0] == 0


def test_the_gaussian_falls_to_its_sigma_at_the_edge():
    values = kspace_filter("gaussian", 65, sigma=1.5)
    assert values[0] / values[32] == pytest.approx(math.exp(-1.125), rel=1e-5)
    assert values[16] / values[32] == pytest.approx(math.exp(-1.125 / 4), rel=1e-5)
    even = kspace_filter("gaussian", 64, sigma=1.5)
    assert even[1] / even[32] == even[63] / even[32] == pytest.approx(math.exp(-1.125), rel=1e-5)


def test_the_hann_filter_is_half_a_period_of_a_cosine():
    values = kspace_filter("hann", 12)
    expected = 0.5 + 0.5 * np.cos(np.pi * (np.arange(12) - 6) / 6)
    np.testing.assert_allclose(values / values[6], expected, atol=1e-6)
    np.testing.assert_allclose(kspace_filter("hann", 3) / kspace_filter("hann", 3)[1], [0.5, 1, 0.5], atol=1e-6)


def test_the_tukey_filter_is_flat_within_its_width():
    values = kspace_filter("tukey", 41, width=0.1)  # 5 samples at either side
    flat = values / values[20]
    assert (flat[5:36] == 1).all()
    np.testing.assert_allclose(flat[:5], 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, 6) / 11), rtol=1e-5)


def test_an_image_is_multiplied_in_k_space_along_each_axis():
    data = noise(*SHAPE)
    found = filtered(data, kind="gaussian hann none", sigma="2 1 1")
    factors = kspace_filter("gaussian", 7, 2.0) * kspace_filter("hann", 10)[:, None]
    np.testing.assert_allclose(centred_fft(found, (-3, -2, -1)), centred_fft(data, (-3, -2, -1)) * factors, atol=1e-5)


def test_one_value_stands_for_all_axes():
    data = noise(*SHAPE)
    np.testing.assert_array_equal(
        filtered(data, kind="tukey", width="0.3"), filtered(data, kind="tukey tukey tukey", width="0.3 0.3 0.3")
    )


def test_noise_keeps_its_variance_and_a_uniform_object_becomes_brighter():
    data = noise(1, 1, 256, 256)
    assert np.var(filtered(data, sigma="2")) == pytest.approx(np.var(data), rel=0.02)
    uniform = np.ones((1, 1, 64, 64), np.complex64)
    peak = kspace_filter("gaussian", 64)[32]
    np.testing.assert_allclose(filtered(uniform), peak**2, rtol=1e-4)


def test_headers_stay_and_the_history_grows():
    given = image(noise(*SHAPE), image_series_index=3, field_of_view=(70, 100, 40))
    (found,) = FilterImages().process(given)
    np.testing.assert_array_equal(found.head, given.head)
    assert found.meta["GADGETRON_ImageProcessingHistory"] == ["FilterImages"]


def test_colours_and_no_filter_at_all_pass_untouched():
    colours = image(np.zeros((3, 1, 4, 4), np.uint16), image_type=ImageType.RGB)
    assert list(FilterImages().process(colours)) == [colours]
    given = image(noise(*SHAPE))
    assert list(FilterImages(kind="none").process(given)) == [given]


@pytest.mark.parametrize("role", ["Gfactor", "SNR_MAP", "STD_MAP"])
def test_maps_pass_untouched(role):
    one = Image(noise(*SHAPE), meta={"GADGETRON_DataRole": role})
    assert list(FilterImages().process(one)) == [one]
    real = Image(np.ones(SHAPE, np.float32), meta={"GADGETRON_DataRole": role})
    assert list(FilterImages().process(real)) == [real]


def test_maps_of_signal_to_noise_are_filtered_as_images_are_where_that_is_asked_for():
    data = noise(*SHAPE)
    (found,) = FilterImages(snr_maps=True).process(Image(data, meta={"GADGETRON_DataRole": "SNR_MAP"}))
    np.testing.assert_array_equal(found.data, filtered(data))
    assert found.meta["GADGETRON_DataRole"] == "SNR_MAP"
    for role in ("Gfactor", "STD_MAP"):
        one = Image(data, meta={"GADGETRON_DataRole": role})
        assert list(FilterImages(snr_maps=True).process(one)) == [one]


def test_magnitudes_are_refused():
    with pytest.raises(DataError, match="before ComplexParts"):
        list(FilterImages().process(image(np.ones((1, 1, 4, 4), np.float32))))


@pytest.mark.parametrize("wrong", [{"kind": "hann hann"}, {"sigma": "1 2"}, {"width": "0.1 0.1 0.1 0.1"}])
def test_values_for_some_axes_alone_are_refused(wrong):
    with pytest.raises(ParameterError, match="one for all axes, or three"):
        FilterImages(**wrong)
