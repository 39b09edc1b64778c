"""The stock chains that go by Gadgetron's names, on simulated scans of several slices, sets and repetitions."""

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.mrd import Image, ImageType


def images(scan, config):
    return [item for item in reconstruct(scan.batches, scan.header, config) if isinstance(item, Image)]


def pixels(made):
    return np.stack([image.data[0, 0] for image in made]).astype(np.float64)


def difference(made, wanted):
    """Root of the mean square of what differs after one common scale, as a fraction."""
    scale = (made * wanted).sum() / (made**2).sum()
    return np.linalg.norm(scale * made - wanted) / np.linalg.norm(wanted)


@pytest.fixture(scope="module")
def full(small_scan):
    return small_scan(matrix=(40, 36), coils=5, slices=2, repetitions=2, noise=0.003)


@pytest.fixture(scope="module")
def accelerated(small_scan):
    return small_scan(matrix=(40, 36), coils=5, slices=2, repetitions=2, noise=0.003, acceleration=2, calibration=16)


@pytest.mark.parametrize(
    ("config", "same"), [("default", "rss"), ("distributed_default.xml", "rss"), ("default_optimized", "fft")]
)
def test_the_default_chains_give_each_slice_and_repetition_as_series_0(full, config, same):
    made = images(full, config)
    assert [(int(i.head["slice"]), int(i.head["repetition"])) for i in made] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert {int(image.head["image_series_index"]) for image in made} == {0}
    assert [int(image.head["image_index"]) for image in made] == [1, 2, 3, 4]
    assert {image.data.dtype.name for image in made} == {"float32"}
    assert difference(pixels(made), pixels(images(full, same))) < 1e-5


@pytest.mark.parametrize(
    "config", ["grappa_cpu", "grappa_float", "Generic_Cartesian_Grappa", "Generic_Cartesian_Grappa_T2W"]
)
def test_accelerated_scans_give_the_images_of_the_full_ones(full, accelerated, config):
    made, wanted = images(accelerated, config), images(full, config)
    made = [image for image in made if image.head["image_series_index"] < 10]  # not those of the g-factor
    assert [int(image.head["slice"]) for image in made] == [int(image.head["slice"]) for image in wanted]
    assert len(made) == 4
    aliased = images(accelerated, "default")
    assert difference(pixels(made), pixels(wanted)) < 0.1
    assert difference(pixels(aliased), pixels(images(full, "default"))) > 0.3


def test_maps_of_the_g_factor_are_a_series_of_their_own(accelerated):
    made = images(accelerated, "Generic_Cartesian_Grappa_T2W")
    maps = [image for image in made if image.head["image_series_index"] == 20]
    assert {image.meta["GADGETRON_DataRole"] for image in maps} == {"Gfactor"}
    assert {int(image.head["slice"]) for image in maps} == {0, 1}
    assert {int(image.head["image_series_index"]) for image in made} == {1, 20}


def test_generic_chains_give_magnitudes_or_complex_images(accelerated):
    magnitudes, complex_images = (
        images(accelerated, f"Generic_Cartesian_Grappa{suffix}.xml") for suffix in ("", "_Complex")
    )
    assert {int(image.head["image_type"]) for image in magnitudes} == {ImageType.MAGNITUDE}
    assert {int(image.head["image_type"]) for image in complex_images} == {ImageType.COMPLEX}
    np.testing.assert_allclose(np.abs(complex_images[0].data), magnitudes[0].data, atol=0.51)


def test_a_chain_for_noise_scans_gives_no_images(full):
    assert not images(full, "default_measurement_dependencies")


@pytest.mark.parametrize(
    "config", ["partial_fourier", "sense", "cg_sense", "linear_spirit", "l1_spirit", "cs_tv", "cs_wavelet"]
)
def test_a_side_that_an_accelerated_scan_leaves_out_is_completed(small_scan, config):
    parameters = {"matrix": (40, 60), "coils": 6, "slices": 1, "noise": 0.003}
    half = small_scan(**parameters, acceleration=2, calibration=20, partial_fourier=0.65)
    wanted = pixels(images(small_scan(**parameters), "fft"))

    def error(filled):
        made = [
            item
            for item in reconstruct(half.batches, half.header, config, {"PartialFourier.method": filled})
            if isinstance(item, Image) and item.head["image_type"] == ImageType.MAGNITUDE
        ]
        return difference(pixels(made), wanted)

    assert error("pocs") < 0.6 * error("zero_filling")


def test_spirit_by_gadgetrons_name_gives_the_images_of_the_full_scan(full, accelerated):
    made, wanted = images(accelerated, "Generic_Cartesian_Spirit"), images(full, "Generic_Cartesian_Grappa")
    assert sorted((int(i.head["slice"]), int(i.head["repetition"])) for i in made) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    order = sorted(range(4), key=lambda n: (made[n].head["repetition"], made[n].head["slice"]))
    assert difference(pixels([made[n] for n in order]), pixels(wanted)) < 0.1


def test_the_first_channels_alone_give_images_in_gadgetrons_unoptimized_chains(accelerated):
    made = images(accelerated, "grappa_unoptimized_float")
    assert {int(image.head["image_series_index"]) for image in made} == {0}
    assert difference(pixels(made), pixels(images(accelerated, "grappa_cpu"))) < 0.1
