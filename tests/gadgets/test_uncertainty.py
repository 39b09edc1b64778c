"""Spread over samples against numpy's, and Stein's estimate against errors that are known, linear and learned."""

import numpy as np
import pytest
import torch
from tiny_networks import PARAMETERS, tiny
from undersampling import noise, relative

from echotrain.gadgets.learned.networks import Reconstruction
from echotrain.gadgets.learned.networks.encoding import along_lines, expand, magnitude
from echotrain.gadgets.learned.uncertainty import (
    calibration_factor,
    card_factor,
    ensemble,
    has_unit_noise,
    spread,
    stein_risk,
    with_dropout,
)
from echotrain.gadgets.learned.weights import ModelCard, Weights
from echotrain.mrd.errors import ConfigError, DataError

N_CHANNELS, N_KY, N_KX, N_CENTRE = 3, 24, 20, 9
MASK = torch.arange(N_KY) % 2 == 0
MASK[N_KY // 2 - N_CENTRE // 2 :][:N_CENTRE] = True
ACQUIRED = along_lines(MASK)


def random(*shape, seed=0):
    return torch.from_numpy(noise(*shape, seed=seed))


def unit_maps(seed=5):
    maps = random(1, N_CHANNELS, N_KY, N_KX, seed=seed)
    return maps / magnitude(maps)[:, None]


def noisy(clean, seed):
    """Lines with noise of unit variance."""
    return (clean + random(*clean.shape, seed=seed) * 0.5**0.5) * ACQUIRED


def true_risk(predicted, clean):
    n = N_CHANNELS * int(MASK.sum()) * N_KX
    return float((ACQUIRED * (predicted - clean)).abs().square().sum()) / n


# Spread


def test_mean_and_deviation_are_those_over_the_samples():
    maps, images = unit_maps(), random(5, 1, N_KY, N_KX, seed=1)
    samples = [Reconstruction(2 * image.abs(), image, maps) for image in images]
    found = spread(iter(samples))
    assert relative(found.made.magnitude[0].numpy(), 2 * np.abs(images[:, 0].numpy()).mean(0)) < 1e-5
    assert relative(found.made.image.numpy(), images.numpy().mean(0)) < 1e-5
    assert relative(found.deviation[0].numpy(), 2 * np.abs(images[:, 0].numpy()).std(0, ddof=1)) < 1e-5
    assert found.made.maps is maps


def test_samples_whose_maps_have_other_phases_do_not_cancel():
    maps, image = unit_maps(), random(1, N_KY, N_KX, seed=1)
    turned = torch.polar(torch.ones(N_KY, N_KX), 3 * random(N_KY, N_KX, seed=2).real)
    found = spread(
        [Reconstruction(image.abs(), image, maps), Reconstruction(image.abs(), image * turned.conj(), maps * turned)]
    )
    torch.testing.assert_close(found.made.image, image)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_have_no_deviation(n):
    one = Reconstruction(torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 1, 2, 3))
    with pytest.raises(DataError, match=f"{n} images have no deviation"):
        spread([one] * n)


# Stein's estimate


def ridge(maps, weight):
    """Tikhonov's solution by a matrix: image, from lines, and the lines that it stands for."""
    pixels = torch.eye(N_KY * N_KX, dtype=torch.complex64).view(-1, N_KY, N_KX)
    encoding = (expand(pixels, maps) * ACQUIRED).flatten(1).T  # (sample, pixel)
    normal = encoding.mH @ encoding + weight * torch.eye(N_KY * N_KX)
    hat = encoding @ torch.linalg.solve(normal, encoding.mH)  # (sample, sample)
    return lambda lines: (hat @ lines.flatten()).view(lines.shape), hat


def test_of_a_linear_estimate_it_is_that_in_closed_form_and_unbiased():
    """Its mean over noise is the squared bias and the trace of the noise that is left; probes only scatter."""
    maps = unit_maps()
    clean = expand(2 * random(1, N_KY, N_KX, seed=3), maps) * ACQUIRED
    predict, hat = ridge(maps, 0.3)
    n = N_CHANNELS * int(MASK.sum()) * N_KX
    bias = float((predict(clean) - clean).abs().square().sum())
    expected = (bias + float(hat.abs().square().sum())) / n
    found, true = [], []
    for seed in range(40):
        lines = noisy(clean, 100 + seed)
        predicted = predict(lines)
        closed = float((predicted - lines).abs().square().sum() + 2 * hat.diagonal().real.sum()) / n - 1
        found.append(stein_risk(predict, lines, ACQUIRED, predicted, probes=2, seed=seed))
        assert found[-1] == pytest.approx(closed, abs=0.06)
        true.append(true_risk(predicted, clean))
    assert 0.2 < expected < 0.9  # of the noise is left, so that each term counts
    assert np.mean(true) == pytest.approx(expected, rel=0.02)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / len(found) ** 0.5)
    assert np.std(found) / len(found) ** 0.5 < 0.02 * expected


@pytest.mark.parametrize("name", ["varnet", "modl", "unet"])
def test_of_a_network_it_is_unbiased_over_noise(name):
    network = tiny(name).requires_grad_(False)
    maps, kernel = unit_maps(), torch.zeros(1, N_KY, N_KX, dtype=torch.complex64)
    kernel[:, 9:16, 7:14] = random(1, 7, 7, seed=4)
    clean = 3 * expand(kernel, maps) * ACQUIRED

    def predict(lines):
        made = network.reconstruct(lines / 20, MASK, N_CENTRE)
        return 20 * expand(made.image, made.maps)

    off = []
    for seed in range(40):
        lines = noisy(clean, 200 + seed)
        predicted = predict(lines)
        found = stein_risk(predict, lines, ACQUIRED, predicted, seed=seed)
        off.append((found - true_risk(predicted, clean), found + 1))
    (bias, level), scatter = np.mean(off, 0), np.std(off, 0)[0] / len(off) ** 0.5
    assert abs(bias) < 4 * scatter
    assert scatter < 0.03 * level


def test_lines_as_they_are_have_the_error_of_their_noise():
    lines = noisy(torch.zeros(1, N_CHANNELS, N_KY, N_KX), 1)
    assert stein_risk(lambda kspace: kspace, lines, ACQUIRED, lines) == pytest.approx(1, abs=1e-3)


def test_samples_that_were_not_acquired_do_not_count():
    lines = noisy(torch.zeros(1, N_CHANNELS, N_KY, N_KX), 1)

    def more(kspace):
        return kspace + 100 * (~ACQUIRED)

    assert stein_risk(more, lines, ACQUIRED, more(lines)) == pytest.approx(1, abs=1e-3)


def test_lines_with_less_noise_than_they_should_have_are_known():
    lines = noisy(torch.zeros(1, N_CHANNELS, N_KY, N_KX), 1)
    assert has_unit_noise(lines, ACQUIRED)
    assert has_unit_noise(lines + 10 * ACQUIRED, ACQUIRED)
    assert not has_unit_noise(0.5**0.5 * lines, ACQUIRED)  # two averages


# Calibration and members


def test_the_factor_puts_as_many_errors_within_one_deviation_as_normal_ones():
    deviation = np.abs(noise(5000, seed=1)).astype(np.float32)
    error = 3 * deviation * noise(5000, seed=2).real
    factor = calibration_factor(deviation, error)
    assert factor == pytest.approx(3, rel=0.05)
    assert np.mean(np.abs(error) <= factor * deviation) == pytest.approx(0.6827, abs=1e-3)
    assert np.isfinite(calibration_factor(np.zeros(5), np.ones(5)))


def weights(name, architecture="varnet", figures=(), **parameters):
    card = ModelCard(architecture, PARAMETERS[architecture] | parameters, figures=dict(figures))
    return Weights(name, card, "00", tiny(architecture))


def test_the_factor_is_that_of_the_card_for_the_kind():
    one = weights("one", figures={"uncertainty_dropout": {"factor": 2.5, "samples": 8}})
    assert card_factor(one, "dropout") == 2.5
    assert card_factor(one, "ensemble") is None


@pytest.mark.parametrize("figures", [3, {}, {"factor": 0}, {"factor": "much"}, {"factor": float("nan")}])
def test_a_factor_that_is_none_is_refused(figures):
    with pytest.raises(ConfigError, match=r"the card of weights one has uncertainty_dropout=.* no factor above 0"):
        card_factor(weights("one", figures={"uncertainty_dropout": figures}), "dropout")


def test_of_several_weights_those_with_dropout_are_taken():
    one, other = weights("one"), weights("other", dropout=0.2)
    assert with_dropout([one, other]) == [other]
    with pytest.raises(ConfigError, match="weights one were trained without dropout"):
        with_dropout([one])


def test_members_of_an_ensemble_are_several_of_one_architecture():
    one, other, unet = weights("one"), weights("other"), weights("flat", "unet")
    assert ensemble([one, other]) == [one, other]
    for members in ([one], [one, one]):
        with pytest.raises(ConfigError, match="name two or more weights, each once"):
            ensemble(members)
    with pytest.raises(ConfigError, match=r"one \(varnet\), flat \(unet\) is of different architectures"):
        ensemble([one, unet])
