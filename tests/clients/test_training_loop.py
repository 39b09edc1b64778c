"""`echotrain train`: what it writes, going on after an interruption, and what it refuses."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from made_up_brain import made_up_tissues
from tiny_networks import PARAMETERS

from echotrain.clients.training import loop, plan
from echotrain.clients.training.checkpoints import load
from echotrain.clients.training.masks import Sampling
from echotrain.clients.training.plan import Plan, resumed
from echotrain.gadgets.learned.folders import VARIABLE
from echotrain.gadgets.learned.weights import load_weights, read_card, read_weights
from echotrain.mrd import write_acquisitions
from echotrain.mrd.errors import DataError, ParameterError


@pytest.fixture(autouse=True)
def made_up_template(monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "icbm152", made_up_tissues)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # torch makes it with the first optimizer


@pytest.fixture
def train(run, tmp_path):
    """`train("name", "--steps", 3)`: status, lines of both outputs; tiny networks on tiny heads."""

    def command(name, *arguments, architecture="varnet", fresh=True):
        small = [f"{key}={value}" for key, value in PARAMETERS[architecture].items()]
        options = ["--architecture", architecture, "--matrix", "32,40", "--channels", "3", "--validation-slices", 1]
        options += [word for value in small for word in ("--set", value)]
        options += ["--accelerations", "3", "--centre-fractions", "0.2", "--device", "cpu"]
        return run("train", tmp_path / name, *(options if fresh else ()), *arguments)

    return command


def lines_of(folder):
    return [json.loads(line) for line in (folder / loop.LOG).read_text().splitlines()]


def weights_of(folder):
    return load(folder).network


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("architecture", ["unet", "varnet", "modl", "naive"])
def test_a_network_learns_what_it_is_shown(train, tmp_path, small_scan, architecture):
    """One slice again and again, so that the loss can only fall."""
    scan = small_scan(slices=1)
    write_acquisitions(tmp_path / "head.h5", scan.header, scan.batches)
    same = ["--data", tmp_path / "head.h5", "--validation", tmp_path / "head.h5", "--loss", "l1"]
    arguments = [*same, "--steps", 60, "--rate", 3e-3, "--validate-every", 60, "--mask", "equispaced_fraction"]
    status, _, err = train("net", *arguments, architecture=architecture)
    assert status == 0, err
    losses = [line["loss"] for line in lines_of(tmp_path / "net") if "loss" in line]
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]


def test_it_writes_weights_with_a_card_a_log_and_pictures(train, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "net"))
    status, out, err = train("net", "--steps", 4, "--validate-every", 2)
    assert status == 0, err
    weights = tmp_path / "net" / "net.safetensors"
    assert out == [str(weights)]
    learnt = {name: value.half().float() for name, value in weights_of(tmp_path / "net").items()}
    assert equal(load_weights("net").network.state_dict(), learnt)  # as gadgets find them
    card = read_card(weights)
    assert (card.parameters, card.bits) == (PARAMETERS["varnet"], 16)
    assert "4 steps" in card.trained_on
    assert card.ranges["channels"] == (3, 3)
    assert 32 <= card.ranges["matrix"][0] <= card.ranges["matrix"][1] <= 40
    assert 1 < card.ranges["acceleration"][0] <= card.ranges["acceleration"][1] <= 3
    assert card.figures["R3_network_head"].keys() == {"ssim", "psnr", "nmse"}
    assert [line["step"] for line in lines_of(tmp_path / "net") if "validation" in line] == [2, 4]
    (picture,) = (tmp_path / "net" / "pictures" / "step000004").glob("series003_*.png")
    height, width = np.asarray(PIL.Image.open(picture)).shape
    assert 32 <= height <= 40
    assert width % 4 == 0


def test_one_that_was_interrupted_goes_on_as_if_it_had_not_been(train, tmp_path, monkeypatch):
    assert train("whole", "--steps", 7, "--validate-every", 3, "--batch", 2)[0] == 0
    advance = loop.Training._advance

    def until_the_fifth_step(self, batch):
        if self.step == 4:
            raise KeyboardInterrupt
        return advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_advance", until_the_fifth_step)
        status, _, err = train("parts", "--steps", 7, "--validate-every", 3, "--batch", 2)
        assert (status, err[-1]) == (1, "echotrain train: interrupted")
    assert load(tmp_path / "parts").step == 3
    assert not equal(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    torch.manual_seed(99)  # whatever chance there was elsewhere
    assert train("parts", "--resume", fresh=False)[0] == 0
    one, other = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert equal(one.network, other.network)
    assert one.ranges == other.ranges
    for mine, theirs in zip(one.optimizer["state"].values(), other.optimizer["state"].values(), strict=True):
        assert equal(mine, theirs)


def test_one_starts_from_weights_that_are_there_and_goes_on_without_their_file(train, tmp_path):
    train("first", "--steps", 2)
    file = tmp_path / "first" / "first.safetensors"
    train("second", "--start-from", file, "--steps", 1, "--rate", 1e-9)
    began, ended = read_weights(file).network.state_dict(), weights_of(tmp_path / "second")
    assert all(torch.allclose(began[name], ended[name], atol=1e-7) for name in began)
    file.unlink()
    assert train("second", "--resume", "--steps", 2, fresh=False)[0] == 0


def test_weights_of_another_network_are_no_start(train, tmp_path):
    train("first", "--steps", 1)
    file = tmp_path / "first" / "first.safetensors"
    status, _, errors = train("second", "--start-from", file, "--steps", 1, architecture="unet")
    assert status == 1
    assert "has the weights of another network" in errors[0]
    status, _, errors = train("third", "--start-from", tmp_path / "none.safetensors", "--steps", 1)
    assert status == 1
    assert "cannot be read" in errors[0]


def test_the_same_seed_gives_the_same_weights_whatever_the_workers(train, tmp_path):
    for name, *options in (("one",), ("two", "--workers", 1), ("other", "--seed", 1), ("whole", "--whole-picture")):
        assert train(name, "--steps", 2, *options)[0] == 0
    assert equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))
    assert not equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "other"))
    assert not equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "whole"))


def test_a_single_coil_can_be_emulated(train, tmp_path):
    assert train("net", "--steps", 2, "--single-coil", architecture="unet")[0] == 0
    assert read_card(tmp_path / "net" / "net.safetensors").ranges["channels"] == (1, 1)


def test_time_that_is_over_ends_it_with_weights_and_it_may_be_given_more(train, tmp_path):
    assert train("net", "--steps", 5, "--minutes", 1e-9)[0] == 0
    assert (tmp_path / "net" / "net.safetensors").exists()
    assert load(tmp_path / "net").step < 5
    assert train("net", "--resume", "--minutes", 0, fresh=False)[0] == 0
    assert load(tmp_path / "net").step == 5


def test_the_rate_falls_in_the_last_fifth(train, tmp_path):
    assert train("net", "--steps", 10, "--validate-every", 5, "--rate", 1e-3)[0] == 0
    (logged,) = [line for line in lines_of(tmp_path / "net") if "loss" in line]
    assert logged["rate"] == pytest.approx(1e-4)


def test_a_loss_that_is_lost_ends_it_with_words(train):
    status, _, err = train("net", "--steps", 20, "--rate", 1e30)
    assert status == 1
    assert "the loss became" in err[-1]
    assert "lower --rate than 1e+30" in err[-1]


def test_convolutions_in_16_bits_still_give_images(train, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "mixed_precision", lambda device: True)
    for architecture in PARAMETERS:
        status, _, err = train(architecture, "--steps", 2, architecture=architecture)
        assert status == 0, err
        assert all(value.dtype == torch.float32 for value in weights_of(tmp_path / architecture).values())


def test_a_folder_with_a_training_is_not_written_over(train):
    assert train("net", "--steps", 1)[0] == 0
    status, _, err = train("net", "--steps", 1)
    assert status == 1
    assert "--resume" in err[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loss", "l3"], "no loss 'l3'"),
        (["--mask", "spiral"], "no sampling 'spiral'"),
        (["--steps", 0], "steps=0 must be 1 or more"),
        (["--rate", "nan"], "rate=nan must be above 0"),
        (["--minutes", "nan"], "minutes=nan must be 0 or more"),
        (["--device", "quantum"], "device 'quantum' cannot be had"),
        (["--set", "depth=3"], "no parameter 'depth'"),
        (["--data", "nowhere"], "no file nowhere"),
        (["--resume"], "start without --resume"),
    ],
)
def test_what_cannot_be_is_refused_with_words(train, arguments, words):
    status, out, err = train("net", *arguments)
    assert (status, out) == (1, [])
    assert words in err[-1]


def test_a_training_goes_on_only_as_it_began():
    kept = Plan(steps=5).plain()
    assert resumed(kept, {"steps": 9, "loss": "ssim+l1"}).steps == 9
    with pytest.raises(ParameterError, match=r"loss='ssim\+l1', and cannot go on with 'l1'"):
        resumed(kept, {"loss": "l1"})


def test_a_damaged_checkpoint_is_refused_and_nothing_in_it_is_run(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="not a whole checkpoint"):
        load(tmp_path)
    values = {"step": 1, "plan": Sampling(), "network": {}, "optimizer": {}, "ranges": {}, "minutes": 0.0}
    torch.save(values, tmp_path / "checkpoint.pt")  # of a class, as a pickle may name any
    with pytest.raises(DataError, match="not a whole checkpoint"):
        load(tmp_path)
