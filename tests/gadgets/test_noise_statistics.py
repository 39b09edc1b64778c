"""The deviation over repetitions is that of the maps, pixel by pixel, and only maps of signal to noise count."""

import numpy as np
import pytest

from echotrain.gadgets import NoiseDeviation
from echotrain.mrd import Image, ImageType, Text, parse_header
from echotrain.mrd.errors import DataError

HEADER = parse_header("<ismrmrdHeader/>")
SHAPE = (1, 2, 5, 7)  # (channel, z, y, x)


def snr_map(data, role="SNR_MAP", **fields):
    fields = {"image_type": ImageType.COMPLEX, "image_series_index": 300, **fields}
    return Image(data, meta={"GADGETRON_DataRole": role}).with_data(data, **fields)


def repetitions(n, signal=40.0, seed=0, **fields):
    """Maps times 10, with noise of unit deviation."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, *SHAPE)) + 1j * rng.standard_normal((n, *SHAPE))
    data = (10 * (signal + noise)).astype(np.complex64)
    return [snr_map(one, repetition=number, **fields) for number, one in enumerate(data)]


def given(images, **parameters):
    """What comes while images come, and what comes at the end."""
    gadget = NoiseDeviation(**parameters)
    gadget.start(HEADER)
    return [item for image in images for item in gadget.process(image)], list(gadget.finish())


@pytest.mark.parametrize("skip", [0, 5])
def test_the_deviation_is_that_of_the_magnitudes_after_those_that_are_left_out(skip):
    images = repetitions(12)
    passed, (deviation,) = given(images, skip=skip)
    assert passed == images
    magnitudes = np.abs(np.stack([image.data for image in images[skip:]]).astype(np.complex128)) / 10
    np.testing.assert_allclose(deviation.data, 1000 * magnitudes.std(axis=0), rtol=1e-4)
    assert deviation.data.dtype == np.complex64


def test_it_is_one_in_units_of_the_noise_where_there_is_signal_and_less_where_there_is_none():
    _, (bright,) = given(repetitions(3000), skip=0)
    _, (dark,) = given(repetitions(3000, signal=0), skip=0)
    assert np.abs(bright.data).mean() == pytest.approx(1000, rel=0.01)
    assert np.abs(dark.data).mean() == pytest.approx(1000 * np.sqrt(2 - np.pi / 2), rel=0.01)


def test_a_small_deviation_beside_much_signal_is_not_lost_to_rounding():
    _, (deviation,) = given(repetitions(400, signal=2000), skip=0)
    assert np.abs(deviation.data).mean() == pytest.approx(1000, rel=0.02)


def test_each_slice_and_contrast_has_a_map_of_its_own_in_a_series_of_their_own():
    mixed = [
        image
        for pair in zip(
            repetitions(8, seed=1, slice=1, image_index=2),
            repetitions(8, seed=2, contrast=3, image_series_index=305),
            strict=True,
        )
        for image in pair
    ]
    _, (first, second) = given(mixed)
    assert [int(one.head["image_series_index"]) for one in (first, second)] == [3000, 3050]
    assert [int(one.head["slice"]) for one in (first, second)] == [1, 0]
    assert [int(one.head["contrast"]) for one in (first, second)] == [0, 3]
    assert int(first.head["image_index"]) == 2
    assert int(first.head["repetition"]) == 0
    assert first.meta["GADGETRON_DataRole"] == first.meta["DataRole"] == "STD_MAP"
    (alone,) = given(repetitions(8, seed=1, slice=1))[1]
    np.testing.assert_array_equal(first.data, alone.data)


def test_magnitudes_give_a_magnitude():
    images = [snr_map(np.abs(image.data), image_type=ImageType.MAGNITUDE) for image in repetitions(9)]
    _, (deviation,) = given(images)
    assert deviation.data.dtype == np.float32
    np.testing.assert_allclose(deviation.data, np.abs(given(repetitions(9))[1][0].data), rtol=1e-5)


@pytest.mark.parametrize("role", ["Image", "Gfactor", "STD_MAP"])
def test_other_images_pass_and_do_not_count(role):
    others = [snr_map(image.data, role) for image in repetitions(9)]
    assert given(others) == (others, [])


def test_too_few_repetitions_are_told_and_give_no_map():
    images = repetitions(6) + repetitions(1, slice=1)
    passed, (told,) = given(images)
    assert passed == images
    assert isinstance(told, Text)
    assert told.text.startswith("warning: NoiseDeviation: 2 slices")
    assert isinstance(given(repetitions(7))[1][0], Image)


def test_parts_other_than_magnitudes_are_refused():
    phase = snr_map(np.ones(SHAPE, np.float32), image_type=ImageType.PHASE)
    with pytest.raises(DataError, match="put NoiseDeviation before ComplexParts"):
        given([phase])


def test_what_is_kept_does_not_grow_with_the_number_of_repetitions():
    gadget = NoiseDeviation()
    gadget.start(HEADER)
    for image in repetitions(20):
        list(gadget.process(image))
    (sums,) = gadget._sums.values()
    assert {sums.mean.shape, sums.squares.shape} == {SHAPE}
    assert sums.n_images == 20
