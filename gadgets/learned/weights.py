"""Weights of networks as safetensors files, each with a card that says what it is and what it was trained for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as files

from echotrain.mrd.errors import ConfigError

from .folders import find_file, named_files
from .networks import Network, build

SUFFIX = ".safetensors"
CARD = "card"  # the name in the file's metadata
KINDS = {16: torch.float16, 32: torch.float32}

MEASURED = {
    "acceleration": "acceleration",
    "matrix": "matrix",
    "channels": "channels",
    "centre": "lines at the centre",
    "noise": "noise over signal",
    "residual": "residual over noise",
}
"""What a range of a card may be of, in words; `scan_figures` and `line_residual` say how each is measured."""


@dataclass(frozen=True)
class ModelCard:
    """What weights are, and what they were trained for."""

    architecture: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Those of the architecture, as `networks.build` takes them."""

    trained_on: str = ""
    """The data, in words."""

    command: str = ""
    """That made the weights."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    """What the weights were found to be worth, by name."""

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and most, both included, of what it was trained for, by the names in MEASURED."""

    contrasts: tuple[str, ...] = ()
    """Contrasts that it was trained on, in words."""

    bits: int = 32
    """Of each weight in the file, 16 or 32; networks compute with 32."""

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `text` describes.

        Raises:
            ConfigError: where it is no card.
        """
        try:
            values = json.loads(text)
            ranges = {str(name): (float(low), float(high)) for name, (low, high) in values.pop("ranges", {}).items()}
            card = cls(ranges=ranges, contrasts=tuple(values.pop("contrasts", ())), **values)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"the model card is none: {error}") from error
        if card.bits not in tuple(KINDS):
            raise ConfigError(f"the model card has bits={card.bits!r}; known: {', '.join(map(str, KINDS))}")
        if unknown := set(ranges).difference(MEASURED):
            raise ConfigError(
                f"the model card has ranges of {', '.join(sorted(unknown))}; known: {', '.join(MEASURED)}"
            )
        return card

    def to_json(self) -> str:
        """The card as text, to read and to be read again."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


@dataclass(frozen=True, eq=False)
class Weights:
    """A network with its weights, ready to run on the CPU."""

    name: str
    card: ModelCard
    sha256: str
    """Of the file."""

    network: Network


def save_weights(path: Path, network: Network, card: ModelCard) -> None:
    """Write the weights of `network` in as many bits as their card says, and a readable copy of the card beside."""
    kind = KINDS[card.bits]
    tensors = {name: value.detach().cpu().to(kind).contiguous() for name, value in network.state_dict().items()}
    path.write_bytes(files.save(tensors, {CARD: card.to_json()}))
    path.with_suffix(".json").write_text(card.to_json() + "\n")


def weights_files() -> dict[str, Path]:
    """Files of weights by name."""
    return named_files(SUFFIX)


def load_weights(name: str) -> Weights:
    """The weights called `name`; the same object each time while their file is the same.

    Raises:
        ConfigError: where there are none of that name, or the file is not what it should be.
    """
    return read_weights(find_file("weights", name, weights_files()))


def read_weights(path: Path) -> Weights:
    """The weights of a file; the same object each time while the file is the same.

    Raises:
        ConfigError: where the file is not what it should be.
    """
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"weights {path} cannot be read: {error}") from error


def read_card(path: Path) -> ModelCard:
    """The card of a file of weights, without the weights.

    Raises:
        ConfigError: where it has none.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # No file says more of itself than it has bytes.
        header = file.read(min(length, path.stat().st_size))
    try:
        text = json.loads(header)["__metadata__"][CARD]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path.name} has no model card in its metadata, so it is none of Echotrain's weights; write it with "
            "save_weights"
        ) from error
    try:
        return ModelCard.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error.message}") from error


@lru_cache(maxsize=8)
def _loaded(path: Path, _changed: int) -> Weights:
    data = path.read_bytes()
    try:
        tensors = files.load(data)
    except SafetensorError as error:
        raise ConfigError(f"{path.name} is damaged or no safetensors file: {error}; copy or train it again") from error
    card = read_card(path)
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
        raise ConfigError(f"{path.name} holds weights that are not finite numbers; copy or train it again")
    try:
        with torch.device("meta"):  # weights that would be by chance take neither time nor memory
            network = build(asdict(card))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except (ConfigError, RuntimeError) as error:
        raise ConfigError(f"the weights of {path.name} are not those of its card: {error}") from error
    network.eval().requires_grad_(False)
    return Weights(path.stem, card, sha256(data).hexdigest(), network)
