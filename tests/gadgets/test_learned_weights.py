"""Weights: what is written is read, by name from known folders alone, and whatever else lies there is refused."""

import json
import pickle
from hashlib import sha256

import pytest
import torch
from safetensors.torch import load, save
from tiny_networks import PARAMETERS, find_only_in, install_weights, tiny

from echotrain.gadgets.learned.folders import SHIPPED
from echotrain.gadgets.learned.weights import (
    CARD,
    ModelCard,
    load_weights,
    read_card,
    read_weights,
    save_weights,
    weights_files,
)
from echotrain.mrd.errors import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return find_only_in(tmp_path, monkeypatch)


def refusal(name):
    with pytest.raises(ConfigError) as caught:
        load_weights(name)
    return str(caught.value)


def test_what_is_written_is_read(folder):
    card = {
        "trained_on": "phantoms",
        "command": "echotrain train",
        "figures": {"ssim": 0.93},
        "ranges": {"acceleration": (2.0, 4.5), "matrix": (24.0, 320.0)},
        "contrasts": ("T1", "T2"),
    }
    network = install_weights(folder, "head", **card)
    found = load_weights("head")
    assert found.card == ModelCard("varnet", PARAMETERS["varnet"], **card)
    assert found.sha256 == sha256((folder / "head.safetensors").read_bytes()).hexdigest()
    for name, value in network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value), name
    assert not found.network.training
    assert not any(weight.requires_grad for weight in found.network.parameters())
    assert (
        ModelCard.from_json((folder / "head.json").read_text()) == found.card == read_card(folder / "head.safetensors")
    )


def test_half_precision_in_a_file_is_taken(folder):
    network, card = tiny("varnet"), ModelCard("varnet", PARAMETERS["varnet"], bits=16)
    save_weights(folder / "half.safetensors", network, card)
    stored = load((folder / "half.safetensors").read_bytes())
    assert all(weight.dtype == torch.float16 for weight in stored.values())
    found = load_weights("half")
    assert found.card == card
    for name, value in network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value.half().float()), name


def test_weights_are_loaded_once_while_their_file_is_the_same(folder):
    install_weights(folder, "head")
    first = load_weights("head")
    assert load_weights("head") is first
    (folder / "head.safetensors").unlink()
    install_weights(folder, "head", seed=1)
    assert load_weights("head").sha256 != first.sha256


def test_the_first_of_several_folders_wins(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    for seed, place in enumerate((one, other)):
        place.mkdir()
        install_weights(place, "head", seed=seed)
    install_weights(other, "knee")
    monkeypatch.setenv("ECHOTRAIN_MODELS", f"{one}:{other}")
    assert weights_files()["head"].parent == one
    assert {"head", "knee"} <= set(weights_files())


@pytest.mark.parametrize("name", ["haed", "../head", "/head", "sub/head", "head.safetensors", "", ".", "head\0"])
def test_names_that_are_not_there_are_refused_with_those_that_are(folder, name):
    install_weights(folder, "head")
    (folder / "sub").mkdir()
    install_weights(folder / "sub", "head")
    assert f"no weights are called {name!r}; installed: " in (said := refusal(name))
    assert "head" in said.split("installed: ")[1]


def test_a_folder_that_is_none_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_MODELS", str(tmp_path / "absent"))
    assert "absent, which ECHOTRAIN_MODELS names, is not a folder" in refusal("head")


def damaged(data):
    return data[: len(data) // 2]


def nothing(_):
    return b""


def foreign(data):
    return save(load(data))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def pickled(_):
    return pickle.dumps(Bomb())


def other_shapes(data):
    tensors = load(data)
    tensors["cascades.0.dc_weight"] = torch.ones(2)
    return save(tensors, {CARD: ModelCard("varnet", PARAMETERS["varnet"]).to_json()})


def other_names(data):
    return save(load(data) | {"more": torch.ones(2)}, {CARD: ModelCard("varnet", PARAMETERS["varnet"]).to_json()})


def not_finite(data):
    tensors = load(data)
    tensors["cascades.0.dc_weight"][0] = torch.nan
    return save(tensors, {CARD: ModelCard("varnet", PARAMETERS["varnet"]).to_json()})


def integers(data):
    tensors = {name: value.int() for name, value in load(data).items()}
    return save(tensors, {CARD: ModelCard("varnet", PARAMETERS["varnet"]).to_json()})


def with_card(card):
    return lambda data: save(load(data), {CARD: card})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damaged, "damaged or no safetensors file"),
        (nothing, "damaged or no safetensors file"),
        (pickled, "damaged or no safetensors file"),
        (foreign, "has no model card"),
        (other_shapes, "are not those of its card"),
        (other_names, "are not those of its card"),
        (not_finite, "not finite"),
        (integers, "not finite"),
        (with_card("{"), "the model card is none"),
        (with_card("[]"), "the model card is none"),
        (with_card('{"parameters": {}}'), "the model card is none"),
        (with_card('{"architecture": "unet", "colour": 1}'), "the model card is none"),
        (with_card('{"architecture": "unet", "ranges": {"weather": [0, 1]}}'), "ranges of weather"),
        (with_card('{"architecture": "unet", "ranges": {"noise": 3}}'), "the model card is none"),
        (with_card('{"architecture": "unet", "bits": 8}'), "bits=8; known: 16, 32"),
        (with_card('{"architecture": "transformer"}'), "no architecture 'transformer'"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused_with_words(folder, change, words):
    install_weights(folder, "head")
    path = folder / "head.safetensors"
    path.write_bytes(change(path.read_bytes()))
    said = refusal("head")
    assert words in said
    assert "head.safetensors" in said


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}", pickle.dumps([1])])
def test_cards_of_other_files_are_refused_with_words(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.safetensors has no model card"):
        read_card(path)


def test_the_readable_card_is_json(folder):
    install_weights(folder, "head", trained_on="Köpfe")
    assert json.loads((folder / "head.json").read_text())["trained_on"] == "Köpfe"


def test_what_ships_is_whole_small_and_says_what_it_is_for():
    shipped = sorted(SHIPPED.glob("*.safetensors"))
    for path in shipped:
        card = read_weights(path).card
        assert (card.bits, bool(card.trained_on), bool(card.command), bool(card.figures)) == (16, True, True, True), (
            path
        )
        assert ModelCard.from_json(path.with_suffix(".json").read_text()) == card
        assert {"acceleration", "matrix", "channels"} <= set(card.ranges) or card.architecture == "score", path
    assert {path.suffix for path in SHIPPED.iterdir()} <= {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in shipped) <= 10e6
