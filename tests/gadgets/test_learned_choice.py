"""Which weights a scan is reconstructed with, by their name or their architecture."""

import pytest
from tiny_networks import find_only_in, install_weights

from echotrain.gadgets.learned.choice import best, candidates
from echotrain.gadgets.learned.weights import ModelCard, Weights
from echotrain.mrd.errors import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return find_only_in(tmp_path, monkeypatch)


def chosen(cards, acceleration, n_channels=6, matrix=(48, 40)):
    """The name of the best weights; `cards` are ranges, or whole cards, by name."""
    weights = [
        Weights(name, card if isinstance(card, ModelCard) else ModelCard("varnet", ranges=card), "", None)
        for name, card in cards.items()
    ]
    return best(weights, {"acceleration": (acceleration,), "channels": (n_channels,), "matrix": matrix}).name


def names(model):
    return {one.name for one in candidates(model)}


def test_weights_are_taken_by_their_name_or_all_of_an_architecture(folder):
    for name, architecture in (("one", "varnet"), ("other", "varnet"), ("plane", "unet"), ("few", "modl")):
        install_weights(folder, name, architecture)
    assert names("varnet") == {"one", "other"}
    assert names("unet") == {"plane"}
    assert names("other") == {"other"}
    with pytest.raises(ConfigError, match="no weights are called 'naive'; installed: few, one, other, plane"):
        candidates("naive")


def test_the_name_of_weights_goes_before_that_of_their_architecture(folder):
    install_weights(folder, "varnet", "modl")
    install_weights(folder, "other")
    assert names("varnet") == {"varnet"}


def test_a_file_that_is_no_weights_hinders_none_that_are_named(folder):
    install_weights(folder, "head")
    (folder / "torn.safetensors").write_bytes(b"")
    assert names("head") == {"head"}
    with pytest.raises(ConfigError, match=r"torn\.safetensors has no model card"):
        candidates("varnet")


@pytest.mark.parametrize(("acceleration", "name"), [(2.0, "two"), (3.5, "four"), (2.4, "two"), (9.0, "any")])
def test_the_narrowest_range_of_accelerations_wins_among_those_that_hold_it(acceleration, name):
    cards = {
        "any": {"acceleration": (1.0, 12.0)},
        "four": {"acceleration": (3.0, 4.5)},
        "knees": {"acceleration": (1.5, 2.4), "channels": (15.0, 15.0)},
        "two": {"acceleration": (1.5, 2.5)},
    }
    assert chosen(cards, acceleration) == name


@pytest.mark.parametrize(("acceleration", "name"), [(2.0, "three"), (4.0, "three"), (5.5, "eight"), (16.0, "eight")])
def test_weights_for_the_nearest_acceleration_are_taken_whatever_else_is_out_of_range(acceleration, name):
    cards = {
        "eight": {"acceleration": (7.0, 8.0)},
        "three": {"acceleration": (2.5, 3.0), "matrix": (300.0, 320.0)},
    }
    assert chosen(cards, acceleration) == name


def test_weights_with_dropout_are_taken_where_there_are_no_others():
    dropout = ModelCard("varnet", {"dropout": 0.2}, ranges={"acceleration": (2.0, 4.0)})
    assert chosen({"dropout": dropout, "plain": {"acceleration": (1.0, 3.0)}}, 3.5) == "plain"
    assert chosen({"dropout": dropout}, 3.5) == "dropout"


def test_weights_for_a_single_channel_are_taken_for_one_alone():
    cards = {
        "single": {"channels": (1.0, 1.0), "acceleration": (3.0, 4.0)},
        "several": {"channels": (4.0, 12.0), "acceleration": (7.0, 8.0)},
    }
    assert chosen(cards, 3.5) == "several"
    assert chosen(cards, 3.5, n_channels=1) == "single"
