"""The gadget that draws images from a prior and the lines: mean and deviation, and what it says of them."""

import numpy as np
import pytest
import torch
from known_coils import HEADER, known_coils, started, unit
from tiny_networks import install_weights
from undersampling import N_CHANNELS, N_KX, N_KY, every, noise, relative

from echotrain.gadgets import ScorePrior
from echotrain.gadgets.learned.networks import ScoreNetwork
from echotrain.gadgets.learned.weights import load_weights
from echotrain.mrd import Encoding, Header, Image, Text
from echotrain.mrd.errors import ConfigError, DataError

SIGNAL = 40  # of the object, where the noise of a line has the deviation 1
N_CENTRE = 15
FEW = {"samples": 3, "levels": 4}


def sampling(step=2, shape=(1, N_KY), n_centre=N_CENTRE):
    sampled = every(step, shape=shape)
    first = shape[1] // 2 - n_centre // 2
    sampled[:, first : first + n_centre] = True
    return sampled


def scan(shape=(1, N_KY, N_KX), deviation=1.0):
    """Image and lines of an object, with noise of unit variance."""
    _, image, kspace = known_coils(shape, N_CHANNELS)
    return SIGNAL * image, SIGNAL * kspace + deviation * noise(*kspace.shape, seed=7) * np.float32(0.5**0.5)


def run(gadget, *units, header=HEADER):
    """Images and warnings."""
    started(gadget, header)
    items = [item for one in units for item in gadget.process(one)]
    gadget.finish()
    return [item for item in items if isinstance(item, Image)], [str(item) for item in items if isinstance(item, Text)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def white(folder, monkeypatch):
    """Weights of a prior under which pixels are normal, each by itself, as wide as the object's are."""

    def denoise(self, image, level):
        return image * self.deviation**2 / (self.deviation**2 + level[:, None, None] ** 2)

    install_weights(folder, "prior", "score")
    monkeypatch.setattr(ScoreNetwork, "denoise", denoise)
    monkeypatch.setattr(ScoreNetwork, "deviation", 0.5)


def test_it_gives_the_mean_and_the_deviation_as_images_of_two_series(white):
    truth, kspace = scan()
    ((mean, deviation), _) = run(ScorePrior(model="prior", samples=30), unit(kspace, sampling()))
    assert mean.data.shape == deviation.data.shape == (1, 1, N_KY, N_KX)
    assert mean.data.dtype == deviation.data.dtype == np.complex64
    assert mean.head["image_series_index"] + 600 == deviation.head["image_series_index"]
    inside = np.abs(truth) > 0.2 * np.abs(truth).max()
    assert relative(np.abs(mean.data[0])[inside], np.abs(truth)[inside]) < 0.1
    errors = np.abs(np.abs(mean.data[0]) - np.abs(truth))[inside]
    assert np.mean(errors < 2 * deviation.data[0].real[inside]) == pytest.approx(0.95, abs=0.04)
    assert mean.meta["EchotrainModel"] == deviation.meta["EchotrainModel"] == "prior"
    assert mean.meta["EchotrainWeights"] == load_weights("prior").sha256
    assert mean.meta["EchotrainDataConsistency"] == pytest.approx(1, abs=0.15)
    assert deviation.meta["GADGETRON_DataRole"] == "STD_MAP"
    assert deviation.meta["EchotrainUncertainty"] == "standard deviation over 30 samples of the posterior"
    assert mean.meta["GADGETRON_ImageProcessingHistory"] == ["FourierTransform", "ScorePrior"]


def test_deviations_are_multiplied_by_the_factor_of_the_card_and_else_a_warning_is_given(folder):
    install_weights(folder, "plain", "score")
    install_weights(folder, "known", "score", figures={"uncertainty_posterior": {"factor": 2.5}})
    _, kspace = scan()
    ((_, plain), words) = run(ScorePrior(model="plain", **FEW), unit(kspace, sampling()))
    assert any("no factor for deviations over 3 samples of the posterior" in line for line in words)
    ((_, known), words) = run(ScorePrior(model="known", **FEW), unit(kspace, sampling()))
    assert not any("factor" in line for line in words)
    assert known.meta["EchotrainUncertaintyFactor"] == 2.5
    assert relative(known.data, 2.5 * plain.data) < 1e-5


def test_the_same_seed_gives_the_same_images_whatever_the_intensity(folder):
    install_weights(folder, "prior", "score")
    _, kspace = scan()

    def images(seed, factor=1):
        return run(ScorePrior(model="prior", seed=seed, **FEW), unit(factor * kspace, sampling()))[0]

    torch.manual_seed(99)
    (mean, deviation), (same, alike), (other, _) = images(1), images(1), images(2)
    np.testing.assert_array_equal(mean.data, same.data)
    np.testing.assert_array_equal(deviation.data, alike.data)
    assert relative(other.data, mean.data) > 1e-3


def test_volumes_are_taken_slice_by_slice(white):
    shape = (3, 20, 18)
    truth, kspace = scan(shape)
    header = Header(b"", (Encoding(HEADER.encodings[0].encoded, HEADER.encodings[0].recon, {}),))
    gadget = ScorePrior(model="prior", samples=10)
    ((mean, _), _) = run(gadget, unit(kspace, sampling(2, shape[:2], 10)), header=header)
    inside = np.abs(truth) > 0.2 * np.abs(truth).max()
    assert mean.data.shape == (1, *shape)
    assert relative(np.abs(mean.data[0])[inside], np.abs(truth)[inside]) < 0.2


def test_noise_of_lines_that_are_not_whitened_is_estimated_with_a_warning(white):
    truth, kspace = scan()
    ((mean, _), words) = run(ScorePrior(model="prior", samples=8), unit(1e-4 * kspace, sampling()))
    assert "lines are not whitened" in words[0]
    assert "EchotrainDataConsistency" not in mean.meta
    inside = np.abs(truth) > 0.2 * np.abs(truth).max()
    assert relative(np.abs(mean.data[0])[inside], 1e-4 * np.abs(truth)[inside]) < 0.25  # the object has no smooth parts


def test_what_of_a_scan_is_beyond_the_card_is_said(folder):
    install_weights(folder, "prior", "score", ranges={"matrix": (64, 192)})
    _, kspace = scan()
    ((mean, _), words) = run(ScorePrior(model="prior", **FEW), unit(kspace, sampling()))
    assert mean.meta["EchotrainOutside"][0] == "matrix 48 x 40, not 64 to 192"
    assert any("warning: ScorePrior: matrix 48 x 40" in line for line in words)


def refusal(gadget, *units):
    with pytest.raises((ConfigError, DataError)) as caught:
        run(gadget, *units)
    return caught.value.message


def test_what_cannot_be_used_is_refused_in_words(folder):
    install_weights(folder, "prior", "score")
    install_weights(folder, "varnet", "varnet")
    _, kspace = scan()
    lines = unit(kspace, sampling())
    spoilt = kspace.copy()
    spoilt[0, 0, N_KY // 2, 3] = np.nan
    assert "not finite" in refusal(ScorePrior(model="prior"), unit(spoilt, sampling()))
    assert "lines around the centre" in refusal(ScorePrior(model="prior"), unit(kspace, every(3, first=1)))
    assert "of architecture varnet, which is no prior" in refusal(ScorePrior(model="varnet"), lines)
    assert "no weights are called 'nothing'" in refusal(ScorePrior(model="nothing"), lines)
    (folder / "prior.safetensors").write_bytes(b"spoilt")
    assert "prior.safetensors is damaged" in refusal(ScorePrior(model="prior"), lines)
