"""Training of a prior: what it is to learn, and that it learns it."""

import json

import pytest
import torch
from made_up_brain import made_up_tissues
from tiny_networks import PARAMETERS, tiny

from echotrain.clients.training import loop, plan
from echotrain.clients.training.plan import Plan
from echotrain.clients.training.score_matching import denoising_error, score_matching
from echotrain.gadgets.learned.weights import read_card
from echotrain.mrd.errors import ParameterError

LEVELS = torch.tensor([0.02, 0.1, 0.4, 0.9])


@pytest.fixture(autouse=True)
def torch_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch makes it with the first optimizer


class WhitePrior:
    """Pixels that are normal, each by itself; `factor` takes what it gives off the best that can be given."""

    def __init__(self, deviation, factor=1.0):
        self.deviation, self.factor = deviation, factor

    def denoise(self, image, level):
        level = level[:, None, None]
        return self.factor * self.deviation**2 / (self.deviation**2 + level**2) * image


def images(deviation):
    torch.manual_seed(1)
    return deviation * torch.randn(len(LEVELS), 60, 50, dtype=torch.complex64)


def missed(factor, deviation=0.3):
    truth = images(deviation)
    torch.manual_seed(2)  # the same noise each time
    return float(denoising_error(WhitePrior(deviation, factor), truth, LEVELS))


def test_the_mean_that_is_known_in_closed_form_misses_least():
    best = missed(1.0)
    assert best == pytest.approx(1, rel=0.02)  # in units of what is to be expected of it
    assert best < missed(0.97)
    assert best < missed(1.03)


def test_every_level_counts_alike():
    truth = images(0.3)
    each = [float(denoising_error(WhitePrior(0.3), truth, torch.full((4,), float(level)))) for level in LEVELS]
    assert each == pytest.approx([1] * 4, rel=0.05)


def test_it_learns_from_the_magnitude_alone_with_phases_by_chance():
    seen = []

    class Noted(WhitePrior):
        def denoise(self, image, level):
            seen.append((image, level))
            return super().denoise(image, level)

    truth = torch.rand(1, 24, 20)
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        score_matching(Noted(0.3), truth)
    (one, levels), (same, _), (other, _) = seen
    assert one.shape == (4, 24, 20)
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert not torch.allclose(one, other)
    assert levels.tolist() == sorted(levels.tolist())  # a level of each quarter
    assert 0.005 <= levels[0] < 0.016
    assert 0.158 < levels[-1] <= 0.5


def test_a_network_learns_it():
    network = tiny("score", channels=8).train()
    truth = torch.zeros(1, 24, 20)
    truth[:, 6:18, 5:15] = 1
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = score_matching(network, truth)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_a_prior_is_trained_like_any_network_and_judged_by_what_it_reconstructs(run, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "icbm152", made_up_tissues)
    options = ["--architecture", "score", "--matrix", "32,40", "--channels", "3", "--validation-slices", 1]
    options += [word for key, value in PARAMETERS["score"].items() for word in ("--set", f"{key}={value}")]
    options += ["--accelerations", "3", "--centre-fractions", "0.2", "--device", "cpu"]
    status, _, err = run("train", tmp_path / "prior", *options, "--steps", 3)
    assert status == 0, err
    (last,) = [json.loads(line) for line in (tmp_path / "prior" / loop.LOG).read_text().splitlines() if "loss" in line]
    assert 0 < last["loss"] < 1.5
    card = read_card(tmp_path / "prior" / "prior.safetensors")
    assert card.architecture == "score"
    assert card.figures["R3_network_head"].keys() == {"ssim", "psnr", "nmse"}


def test_a_network_that_knows_nothing_yet_gives_the_noisy_image_less_what_is_to_be_expected_of_noise():
    network, image = tiny("score"), images(network_deviation := 0.28)
    network.requires_grad_(False)
    network.made.weight.zero_()
    network.made.bias.zero_()
    kept = network_deviation**2 / (network_deviation**2 + LEVELS**2)
    torch.testing.assert_close(network.denoise(image, LEVELS), kept[:, None, None] * image)


def test_an_adversary_is_for_networks_that_reconstruct():
    with pytest.raises(ParameterError, match="learns from true images alone"):
        Plan(architecture="score", adversarial=0.1)
