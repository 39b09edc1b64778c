"""Networks that reconstruct multi-channel k-space, by the name that a model card gives their architecture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from echotrain.mrd.errors import ConfigError, nearest

from .dropout import dropping
from .encoding import Network, Reconstruction, intensity_scale
from .modl import Modl
from .naive import NaiveCnn
from .score import ScoreNetwork
from .sense_varnet import SenseVarNet
from .unet import UNet, UNetReconstruction
from .varnet import VarNet

__all__ = [
    "ARCHITECTURES",
    "Modl",
    "NaiveCnn",
    "Network",
    "Reconstruction",
    "ScoreNetwork",
    "SenseVarNet",
    "UNet",
    "UNetReconstruction",
    "VarNet",
    "build",
    "dropping",
    "intensity_scale",
]

ARCHITECTURES: Mapping[str, type[Network]] = {
    "modl": Modl,
    "naive": NaiveCnn,
    "score": ScoreNetwork,
    "sense_varnet": SenseVarNet,
    "unet": UNetReconstruction,
    "varnet": VarNet,
}

_WANTED: Mapping[type, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda _: True),
    int: ("a whole number from 1", lambda value: value >= 1),
    float: ("a decimal from 0.0 to less than 1", lambda value: 0 <= value < 1),
}


def build(description: Mapping[str, Any]) -> Network:
    """The network of `{"architecture": "varnet", "parameters": {"cascades": 8, ...}}`, with weights by chance.

    Raises:
        ConfigError: where there is no such architecture, or it has no such parameters.
    """
    name, parameters = str(description.get("architecture")), description.get("parameters", {})
    if name not in ARCHITECTURES:
        raise ConfigError(f"there is no architecture {name!r} of networks; {nearest(name, ARCHITECTURES)}")
    architecture = ARCHITECTURES[name]
    known = inspect.signature(architecture).parameters
    for parameter, value in parameters.items():
        if parameter not in known:
            raise ConfigError(f"architecture {name} has no parameter {parameter!r}; {nearest(parameter, known)}")
        wanted = type(known[parameter].default)
        words, fits = _WANTED[wanted]
        if type(value) is not wanted or not fits(value):
            raise ConfigError(f"{parameter}={value!r} of architecture {name} must be {words}")
    return architecture(**parameters)
