"""Learned images with maps of how far they may be off, and words where nothing is known of that."""

import numpy as np
import pytest
import torch
from known_coils import HEADER, known_coils, started, unit
from tiny_networks import find_only_in, install_weights
from undersampling import N_CHANNELS, N_KX, N_KY, every, noise, relative

from echotrain.clients.recon import reconstruct
from echotrain.gadgets import LearnedReconstruction
from echotrain.gadgets.learned.networks import dropping
from echotrain.gadgets.learned.networks.encoding import expand
from echotrain.gadgets.learned.weights import load_weights
from echotrain.mrd import Image, Text
from echotrain.mrd.errors import ConfigError, DataError

N_CENTRE = 13
SAMPLED = every(3)
SAMPLED[:, N_KY // 2 - N_CENTRE // 2 :][:, :N_CENTRE] = True
DROPOUT = {"dropout": 0.2}
ANY = {"residual": (0.0, 1e6)}  # networks with weights by chance are far off the lines


def lines(signal=40, deviation=1.0):
    _, _, kspace = known_coils((1, N_KY, N_KX), N_CHANNELS)
    return unit(signal * kspace + deviation * noise(*kspace.shape, seed=7) * np.float32(0.5**0.5), SAMPLED)


def run(gadget, *units):
    """Images and warnings."""
    started(gadget, HEADER)
    items = [item for one in units for item in gadget.process(one)]
    gadget.finish()
    return [item for item in items if isinstance(item, Image)], [str(item) for item in items if isinstance(item, Text)]


def magnitudes(network, kspace, seeds=(None,), of=lambda one: one.magnitude):
    """What a network makes of lines, with channels dropped by each seed."""
    samples, mask = torch.from_numpy(kspace.data[None, :, 0]), torch.from_numpy(SAMPLED[0])
    made = []
    for seed in seeds:
        with torch.no_grad(), dropping(None if seed is None else torch.Generator().manual_seed(seed)):
            made.append(of(network.reconstruct(samples, mask, N_CENTRE))[0].numpy())
    return np.array(made)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return find_only_in(tmp_path, monkeypatch)


def test_dropout_gives_mean_and_deviation_over_its_draws(folder):
    network = install_weights(folder, "net", parameters=DROPOUT)
    made = magnitudes(network, lines(), range(5))
    (image, deviation), words = run(LearnedReconstruction(model="net", uncertainty="dropout", samples=5), lines())
    assert relative(np.abs(image.data[0, 0]), made.mean(0)) < 1e-3
    assert relative(deviation.data[0, 0].real, made.std(0, ddof=1)) < 1e-2
    assert (deviation.data.imag == 0).all()
    assert int(deviation.head["image_series_index"]) == int(image.head["image_series_index"]) + 600
    assert deviation.meta["EchotrainUncertainty"] == "standard deviation over 5 draws of dropout"
    assert deviation.meta["DataRole"] == "STD_MAP"
    assert "EchotrainUncertainty" not in image.meta
    assert sum("no factor for deviations over 5 draws of dropout" in word for word in words) == 1
    ((again, _), _) = run(LearnedReconstruction(model="net", uncertainty="dropout", samples=5), lines())
    np.testing.assert_array_equal(again.data, image.data)


def test_an_ensemble_gives_mean_and_deviation_over_its_networks(folder):
    names = ("one", "two", "three")
    made = [magnitudes(install_weights(folder, name, seed=seed), lines())[0] for seed, name in enumerate(names)]
    (image, deviation), _ = run(LearnedReconstruction(model=" ".join(names), uncertainty="ensemble"), lines())
    assert relative(np.abs(image.data[0, 0]), np.mean(made, 0)) < 1e-3
    assert relative(deviation.data[0, 0].real, np.std(made, 0, ddof=1)) < 1e-2
    assert image.meta["EchotrainModel"] == "one two three"
    assert image.meta["EchotrainWeights"].split() == [load_weights(name).sha256 for name in names]
    assert deviation.meta["EchotrainUncertainty"] == "standard deviation over 3 networks"


def test_deviations_are_times_the_factor_of_the_card(folder):
    for name, figures in (("plain", {}), ("calibrated", {"uncertainty_dropout": {"factor": 2.5}})):
        install_weights(folder, name, parameters=DROPOUT, figures=figures, ranges=ANY)
    gadgets = (LearnedReconstruction(model=name, uncertainty="dropout") for name in ("plain", "calibrated"))
    ((_, plain), _), ((_, calibrated), words) = (run(gadget, lines()) for gadget in gadgets)
    np.testing.assert_allclose(calibrated.data, 2.5 * plain.data, rtol=1e-5)
    assert calibrated.meta["EchotrainUncertaintyFactor"] == 2.5
    assert "EchotrainUncertaintyFactor" not in plain.meta
    assert words == []


def test_each_member_tells_what_is_beyond_its_card(folder):
    for name, low in (("one", 4.0), ("two", 5.0)):
        install_weights(folder, name, ranges=ANY | {"acceleration": (low, 8.0)})
    images, words = run(LearnedReconstruction(model="one two", uncertainty="ensemble"), lines(), lines())
    assert images[0].meta["EchotrainOutside"] == ["acceleration 2, not 4 to 8", "acceleration 2, not 5 to 8"]
    assert sum("acceleration 2" in word for word in words) == 2


@pytest.mark.parametrize(("uncertainty", "seeds"), [("none", (None,)), ("dropout", (0, 1, 2))])
def test_stein_s_estimate_is_near_the_true_error_of_the_acquired_lines(folder, uncertainty, seeds):
    network = install_weights(folder, "net", parameters=DROPOUT, ranges=ANY)
    kspace, clean = lines(signal=1), torch.from_numpy(lines(signal=1, deviation=0).data[None, :, 0])
    made = magnitudes(network, kspace, seeds, lambda one: expand(one.image, one.maps))
    n = N_CHANNELS * int(SAMPLED.sum()) * N_KX
    true = np.sum(np.abs((made.mean(0) - clean[0].numpy())[:, SAMPLED[0]]) ** 2) / n
    gadget = LearnedReconstruction(model="net", uncertainty=uncertainty, samples=3, probes=10)
    (image, *_), _ = run(gadget, kspace)
    assert float(image.meta["EchotrainSure"]) == pytest.approx(true, abs=0.05)
    assert true > 0.3


def test_without_probes_there_is_no_estimate(folder):
    install_weights(folder, "net")
    ((image,), _) = run(LearnedReconstruction(model="net"), lines())
    assert "EchotrainSure" not in image.meta


@pytest.mark.parametrize("deviation", [0.1, 0.7])
def test_where_the_noise_is_not_known_the_estimate_is_not_either(folder, deviation):
    install_weights(folder, "net")
    quiet = lines().data * 0 + noise(N_CHANNELS, 1, N_KY, N_KX) * np.float32(deviation * 0.5**0.5)
    images, words = run(LearnedReconstruction(model="net", probes=1), *[unit(quiet, SAMPLED)] * 2)
    assert not any("EchotrainSure" in image.meta for image in images)
    assert sum("so Stein's estimate of the error is not known; acquire noise" in word for word in words) == 1


def test_samples_filled_with_zeros_have_no_noise_to_count(folder):
    install_weights(folder, "net")
    kspace = lines()
    kspace.data[..., :17] = 0
    estimates = []
    for discard in (0, 17):
        given = unit(kspace.data, SAMPLED, discard_pre=discard)
        ((image,), _) = run(LearnedReconstruction(model="net", probes=1), given)
        estimates.append(float(image.meta.get("EchotrainSure", np.nan)))
    assert np.isfinite(estimates[1])
    assert estimates[0] != estimates[1]


@pytest.mark.parametrize(
    ("model", "uncertainty", "words"),
    [
        ("plain", "dropout", "weights plain were trained without dropout"),
        ("plain", "ensemble", "an ensemble of plain has no deviation; name two or more weights"),
        ("plain unet", "ensemble", r"plain \(varnet\), unet \(unet\) is of different architectures"),
        ("plain other", "none", "no weights are called 'plain other'"),
    ],
)
def test_weights_that_tell_no_uncertainty_are_refused(folder, model, uncertainty, words):
    install_weights(folder, "plain")
    install_weights(folder, "unet", "unet")
    with pytest.raises(ConfigError, match=words):
        started(LearnedReconstruction(model=model, uncertainty=uncertainty))


def test_members_for_a_single_channel_take_no_other(folder):
    install_weights(folder, "plain")
    install_weights(folder, "single", seed=1, ranges={"channels": (1.0, 1.0)})
    with pytest.raises(DataError, match="weights single are for a single channel, and lines have 6"):
        run(LearnedReconstruction(model="plain single", uncertainty="ensemble"), lines())


def test_the_stock_chain_gives_images_and_maps(folder, small_scan):
    install_weights(folder, "varnet_dropout", parameters=DROPOUT)
    scan = small_scan(matrix=(40, 36), coils=4, acceleration=2, noise=0.01)
    items = list(reconstruct(scan.batches, scan.header, "varnet_uncertainty"))
    images = [item for item in items if isinstance(item, Image)]
    assert [int(image.head["image_series_index"]) for image in images] == [1, 601] * 2
    assert all(image.data.shape == (1, 1, 36, 40) and image.data.dtype == np.float32 for image in images)
