"""Training against banding: either axis, what the adversary tells and teaches, and how much of it can be measured."""

import functools
import json

import numpy as np
import pytest
import torch
from made_up_brain import made_up_tissues
from scipy.ndimage import gaussian_filter1d
from tiny_networks import PARAMETERS, tiny

from echotrain.clients.training import detectability, loop, plan
from echotrain.clients.training.banding import Adversary, Classifier, seen
from echotrain.clients.training.batches import Examples, show
from echotrain.clients.training.checkpoints import load
from echotrain.clients.training.examples import centre_crop, root_sum_of_squares, transpose
from echotrain.clients.training.masks import Sampling
from echotrain.clients.training.synthetic import Synthetic
from echotrain.gadgets.learned.networks.encoding import magnitude, to_image
from echotrain.gadgets.learned.weights import read_card

CPU = torch.device("cpu")
SAMPLING = Sampling("equispaced", (3,), (0.2,))


@pytest.fixture(autouse=True)
def cache_of_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch makes it with the first optimizer


@pytest.fixture
def heads():
    return Synthetic(made_up_tissues(), (30, 41), (3, 3), (0, 1))


def noise(seed, smoothed, shape=(26, 31)):
    """Pairs (2, y, x) of noise, smoothed along the first axis and along the second, or along both alike."""
    random = np.random.default_rng(seed)
    axes = ((-2,), (-1,)) if smoothed == "along one axis" else ((-2, -1), (-2, -1))
    pictures = [random.standard_normal(shape) for _ in range(2)]
    for number, each in enumerate(axes):
        for axis in each:
            pictures[number] = gaussian_filter1d(pictures[number], 0.7, axis)
    return seen(torch.tensor(np.stack(pictures), dtype=torch.float32), torch.ones(2, *shape) > 0, transposed=False)


@functools.cache
def taught():
    """An adversary that has faced pictures smoothed along one axis."""
    adversary = Adversary(0, CPU)
    for seed in range(100):
        for picture, transposed in zip(noise(seed, "along one axis"), (False, True), strict=True):
            adversary.face(picture[None], transposed=transposed)
        adversary.step()
    adversary.accuracy()
    return adversary


def test_a_transposed_scan_is_the_scan_of_the_transposed_picture(heads):
    example = next(each for each in map(heads.draw, range(9)) if each.truth.shape[0] != each.truth.shape[1])
    turned = transpose(example)
    assert turned.transposed
    assert (turned.truth == example.truth.T).all()
    assert (turned.head == example.head.T).all()
    wanted = root_sum_of_squares(example.kspace).T
    np.testing.assert_allclose(root_sum_of_squares(turned.kspace), wanted, atol=1e-5 * wanted.max())
    assert not transpose(turned).transposed


def test_lines_are_left_out_along_the_other_axis_of_the_picture(heads):
    example = heads.draw(3)
    plain, turned = (show(each, SAMPLING, (0, 0)) for each in (example, transpose(example)))
    upright = turned.kspace.mT
    assert (plain.kspace.abs().amax((0, 1, 3)) > 0).equal(plain.mask)  # rows
    assert (upright.abs().amax((0, 1, 2)) > 0).equal(turned.mask)  # columns
    assert not turned.mask.all()
    taken = upright[..., turned.mask] * turned.scale
    np.testing.assert_allclose(taken, example.kspace[..., turned.mask.numpy()][None], rtol=1e-5)


def test_a_picture_is_seen_the_right_way_up_whichever_way_it_was_made(heads):
    example = heads.draw(1)
    whole = Sampling("equispaced", (1,), (0.2,))
    pictures = []
    for each in (example, transpose(example)):
        shown = show(each, whole, (0, 0))
        image = centre_crop(magnitude(to_image(shown.kspace)), tuple(shown.truth.shape[-2:]))
        pictures.append(seen(image, shown.head, transposed=shown.transposed))
    assert pictures[0].shape[-2:] == example.truth.shape
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)
    assert (pictures[0][0].numpy()[~example.head] == 0).all()
    inside = pictures[0][0].numpy()[example.head]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-2)


def test_about_half_of_the_examples_are_transposed_always_the_same_ones(heads):
    def ways(seed, **either_way):
        data = Examples(heads, SAMPLING, seed, one_coil=False, **either_way)
        return [data[index].transposed for index in range(16)]

    assert 4 <= sum(ways(0, either_way=True)) <= 12
    assert ways(0, either_way=True) == ways(0, either_way=True) != ways(1, either_way=True)
    assert not any(ways(0))


def test_of_a_picture_on_its_side_the_classifier_says_the_opposite():
    pictures = noise(0, "along one axis")
    torch.manual_seed(0)
    classifier = Classifier()
    torch.testing.assert_close(classifier(pictures), -classifier(pictures.mT))
    assert classifier(pictures).abs().min() > 0


def test_the_adversary_learns_along_which_axis_pictures_are_smoothed():
    adversary = taught()
    for seed in range(1000, 1030):
        for picture, transposed in zip(noise(seed, "along one axis"), (False, True), strict=True):
            adversary.face(picture[None], transposed=transposed)
    assert adversary.accuracy() > 0.9


@pytest.mark.parametrize("smoothed", ["along one axis", "along both"])
def test_a_new_classifier_finds_the_axis_only_where_there_is_one(smoothed):
    pairs = [noise(seed, smoothed) for seed in range(80)]
    measured = detectability.summary(detectability.found(pairs[:40], pairs[40:]))
    if smoothed == "along one axis":
        assert measured.accuracy > 0.9
    else:
        assert measured.low <= 0.5 <= measured.high
        assert measured.high < 0.7


def test_the_interval_is_that_of_the_slices():
    assert detectability.summary(np.ones(9)) == (1, 1, 1)
    right = np.repeat([0.0, 0.5, 1.0], 30)
    mean, low, high = detectability.summary(right)
    error = right.std() / len(right) ** 0.5
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=0.02)


def test_its_gradient_leads_away_from_what_gives_the_axis_away():
    adversary = taught()
    rough = np.random.default_rng(7).standard_normal((26, 31))
    for transposed, axis in ((False, 0), (True, 1)):
        strength = torch.tensor(0.8, requires_grad=True)
        smooth = torch.tensor(gaussian_filter1d(rough, 0.7, axis), dtype=torch.float32)
        image = (1 - strength) * torch.tensor(rough, dtype=torch.float32) + strength * smooth
        picture = seen(image[None], torch.ones(1, 26, 31) > 0, transposed=False)
        guess = adversary.face(picture, transposed=transposed)
        guess.backward()
        assert float(guess.detach()) > 0
        assert float(strength.grad) > 0  # with less of it there would be less to tell


def test_the_adversary_is_fixed_while_the_network_learns_to_fool_it(heads):
    adversary = Adversary(0, CPU)
    network = tiny("varnet").train()
    shown = show(heads.draw(0), SAMPLING, (0, 0))
    picture = seen(shown.image(network), shown.head, transposed=False)
    guess = adversary.face(picture, transposed=False)
    own = [parameter.grad.clone() for parameter in adversary.classifier.parameters()]
    guess.backward()
    assert any(parameter.grad.abs().max() > 0 for parameter in network.parameters())
    assert all(a.grad.equal(b) for a, b in zip(adversary.classifier.parameters(), own, strict=True))


@pytest.fixture
def train(run, tmp_path, monkeypatch):
    """`train("name", "--steps", 3)`: status, lines of both outputs; tiny networks on tiny heads."""
    monkeypatch.setattr(plan, "icbm152", made_up_tissues)
    monkeypatch.setattr(detectability, "LEARNT_FROM", 3)
    monkeypatch.setattr(detectability, "JUDGED_BY", 2)

    def command(name, *arguments, fresh=True):
        options = [
            "--architecture",
            "varnet",
            "--matrix",
            "32,40",
            "--channels",
            "3",
            "--validation-slices",
            1,
            "--device",
            "cpu",
        ]
        options += [word for key, value in PARAMETERS["varnet"].items() for word in ("--set", f"{key}={value}")]
        options += ["--accelerations", "3", "--centre-fractions", "0.2"]
        return run("train", tmp_path / name, *(options if fresh else ()), *arguments)

    return command


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_one_that_was_interrupted_goes_on_as_if_it_had_not_been(train, tmp_path, monkeypatch):
    arguments = ["--adversarial", "0.5", "--steps", 5, "--validate-every", 2, "--batch", 2]
    assert train("whole", *arguments)[0] == 0
    advance = loop.Training._advance

    def until_the_fourth_step(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_advance", until_the_fourth_step)
        assert train("parts", *arguments)[0] == 1
    assert load(tmp_path / "parts").step == 2
    torch.manual_seed(99)  # whatever chance there was elsewhere
    assert train("parts", "--resume", fresh=False)[0] == 0
    one, other = load(tmp_path / "whole"), load(tmp_path / "parts")
    for part in ("network", "optimizer", "adversary", "ranges"):
        assert same(getattr(one, part), getattr(other, part)), part
    reports = [read_card(tmp_path / name / f"{name}.safetensors").figures for name in ("whole", "parts")]
    assert reports[0] == reports[1]


def test_with_a_weight_of_0_it_is_the_training_without(train, tmp_path):
    assert train("without", "--steps", 3)[0] == 0
    assert train("zero", "--steps", 3, "--adversarial", "0")[0] == 0
    assert train("with", "--steps", 3, "--adversarial", "0.1")[0] == 0
    without, zero, with_it = (load(tmp_path / name) for name in ("without", "zero", "with"))
    assert same(without.network, zero.network)
    assert same(without.optimizer, zero.optimizer)
    assert zero.adversary is None
    assert not same(without.network, with_it.network)


def test_a_second_phase_says_how_well_the_axis_is_found(train, tmp_path):
    assert train("first", "--steps", 2)[0] == 0
    weights = tmp_path / "first" / "first.safetensors"
    status, _, err = train("second", "--start-from", weights, "--steps", 2, "--adversarial", "0.1")
    assert status == 0, err
    assert "axis of the missing lines found in" in err[-1]
    measured = read_card(tmp_path / "second" / "second.safetensors").figures["detectability"]
    assert 0 <= measured["low"] <= measured["accuracy"] <= measured["high"] <= 1
    lines = [json.loads(line) for line in (tmp_path / "second" / loop.LOG).read_text().splitlines()]
    assert lines[-1]["detectability"] == measured
    assert all(0 <= line["adversary"] <= 1 for line in lines if "loss" in line)


def test_a_weight_that_is_none_is_refused(train):
    for weight in ("-1", "nan", "inf"):
        status, _, err = train("net", "--adversarial", weight)
        assert status == 1
        assert f"adversarial={float(weight)} must be 0 or more" in err[-1]
