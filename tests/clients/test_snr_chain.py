"""Gadgetron's chain for maps of signal to noise: by its name and as its classes, on a simulated scan of known noise."""

import numpy as np
import pytest
from gadgetron_texts import gadget, legacy

from echotrain.clients.recon import reconstruct
from echotrain.mrd import Image, Text

AS_TEXT = legacy(
    gadget("NoiseAdjustGadget"),
    gadget("AsymmetricEchoAdjustROGadget"),
    gadget("RemoveROOversamplingGadget"),
    gadget("AcquisitionAccumulateTriggerGadget", trigger_dimension="", sorting_dimension=""),
    gadget("BucketToBufferGadget", N_dimension="repetition", S_dimension="set", ignore_segment="true"),
    gadget("GenericReconCartesianReferencePrepGadget", average_all_ref_S="true"),
    gadget("GenericReconCartesianGrappaGadget", send_out_gfactor="true", send_out_snr_map="true"),
    gadget("GenericReconPartialFourierHandlingFilterGadget"),
    gadget("GenericReconKSpaceFilteringGadget"),
    gadget("GenericReconFieldOfViewAdjustmentGadget"),
    gadget("GenericReconNoiseStdMapComputingGadget"),
    gadget("GenericReconImageArrayScalingGadget", scalingFactor="10.0", scalingFactor_dedicated="1000.0"),
    gadget("ImageArraySplitGadget"),
    gadget("ComplexToFloatGadget"),
    gadget("FloatToUShortGadget", max_intensity="32767", intensity_offset="0"),
    gadget("ImageFinishGadget"),
)
N_REPETITIONS, SKIPPED = 35, 5


@pytest.fixture(scope="module")
def scan(small_scan):
    return small_scan(
        matrix=(32, 36),
        coils=5,
        slices=1,
        repetitions=N_REPETITIONS,
        noise=0.01,
        noise_lines=100,
        acceleration=2,
        calibration=16,
    )


def images(scan, config):
    return [item for item in reconstruct(scan.batches, scan.header, config) if isinstance(item, Image)]


@pytest.fixture(scope="module")
def series(scan):
    """Images by the number of their series."""
    made = {}
    for image in images(scan, "Generic_Cartesian_Grappa_SNR"):
        made.setdefault(int(image.head["image_series_index"]), []).append(image)
    return made


def pixels(made):
    return np.stack([image.data[0, 0] for image in made]).astype(np.float64)


def test_images_and_maps_are_series_of_their_own_that_say_what_they_are(series):
    assert {number: len(made) for number, made in series.items()} == {
        1: N_REPETITIONS,
        20: 1,
        300: N_REPETITIONS,
        3000: 1,
    }
    roles = {number: made[0].meta["GADGETRON_DataRole"] for number, made in series.items()}
    assert roles == {1: "Image", 20: "Gfactor", 300: "SNR_MAP", 3000: "STD_MAP"}
    assert {image.data.dtype.name for made in series.values() for image in made} == {"uint16"}
    assert [int(image.head["repetition"]) for image in series[300]] == list(range(N_REPETITIONS))


def test_the_map_of_signal_to_noise_is_the_filtered_image_by_the_g_factor(series):
    """The g-factor is smooth, so that filtering before and after the division gives nearly the same."""
    ratio, image, g = (pixels(series[number])[0] for number in (300, 1, 20))
    bright = ratio > 200
    np.testing.assert_allclose(ratio[bright] * g[bright] / 100, image[bright], rtol=0.1)
    assert np.median(ratio[bright] * g[bright] / 100 / image[bright]) == pytest.approx(1, abs=0.01)


def test_the_deviation_is_one_within_the_object_and_that_of_the_maps_everywhere(series):
    maps, (deviation,) = pixels(series[300]), pixels(series[3000])
    np.testing.assert_allclose(deviation, 100 * maps[SKIPPED:].std(axis=0), rtol=0.06)  # maps are rounded to 0.1
    n = N_REPETITIONS - SKIPPED
    of_few = np.sqrt(1 - 1 / n) * (1 - 1 / (4 * n))  # the mean of deviations of n values, about their own mean
    assert deviation[maps.mean(axis=0) > 100].mean() / 1000 == pytest.approx(of_few, abs=0.03)


def test_the_chain_by_name_and_as_gadgetrons_text_give_the_same(series, scan):
    made = images(scan, AS_TEXT)
    wanted = [image for several in series.values() for image in several]
    assert len(made) == len(wanted)
    for image in made:
        number, repetition = int(image.head["image_series_index"]), int(image.head["repetition"])
        (same,) = [other for other in series[number] if int(other.head["repetition"]) == repetition]
        np.testing.assert_array_equal(image.data, same.data)


def test_a_scan_of_few_repetitions_gives_maps_and_is_told_that_there_is_no_deviation(small_scan):
    short = small_scan(matrix=(32, 36), coils=5, slices=1, repetitions=2, noise=0.01, acceleration=2, calibration=16)
    items = list(reconstruct(short.batches, short.header, "Generic_Cartesian_Grappa_SNR"))
    assert [int(item.head["image_series_index"]) for item in items if isinstance(item, Image)].count(300) == 2
    assert any("no deviation" in item.text for item in items if isinstance(item, Text))
