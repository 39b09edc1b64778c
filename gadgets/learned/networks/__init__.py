"""Networks that reconstruct multi-channel k-space, by the name that a model card gives their architecture."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from echotrain.mrd.errors import ConfigError, nearest

from .encoding import Network, Reconstruction, intensity_scale
from .modl import Modl
from .naive import NaiveCnn
from .unet import UNet, UNetReconstruction
from .varnet import VarNet

__all__ = [
    "ARCHITECTURES",
    "Modl",
    "NaiveCnn",
    "Network",
    "Reconstruction",
    "UNet",
    "UNetReconstruction",
    "VarNet",
    "build",
    "intensity_scale",
]

ARCHITECTURES: Mapping[str, type[Network]] = {
    "modl": Modl,
    "naive": NaiveCnn,
    "unet": UNetReconstruction,
    "varnet": VarNet,
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
        if type(value) is not wanted or (wanted is int and value < 1):
            words = "true or false" if wanted is bool else "a whole number from 1"
            raise ConfigError(f"{parameter}={value!r} of architecture {name} must be {words}")
    return architecture(**parameters)
