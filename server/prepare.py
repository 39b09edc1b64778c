"""A chain made ready: found by name, set up as its client asks, and built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from echotrain.mrd.errors import ConfigError

from .chain import Chain, build_chain
from .chain_xml import ChainDescription
from .configs import find_config
from .registry import Registry
from .settings import Settings


def prepare_chain(
    config: str, settings: Settings, parameters: Mapping[str, str], options: Mapping[str, str] | None = None
) -> tuple[ChainDescription, Chain]:
    """The chain that `config` names or is, with `parameters` by `Gadget.parameter`, and its description.

    Each of `options` is set in every gadget that has a parameter of its name, as OpenRecon's user interface names them;
    or by `Gadget.parameter`. Those that no gadget has are noted.

    Raises:
        ConfigError: with everything that is wrong.
    """
    registry = Registry(settings.gadget_folders, settings.packages)
    description = find_config(config, settings.config_folders).with_parameters(parameters)
    if options:
        description = _with_options(description, registry, options)
    return description, build_chain(description, registry)


def _with_options(description: ChainDescription, registry: Registry, options: Mapping[str, str]) -> ChainDescription:
    settings: dict[str, str] = {}
    unknown = []
    for name, value in options.items():
        path, dot, parameter = name.rpartition(".")
        having = _having(parameter, description, registry)
        keys = [f"{gadget}.{parameter}" for gadget in having]
        if dot:
            gadget = path.rpartition("/")[2]
            keys = [name] if any(gadget in (found, found.rpartition(".")[2]) for found in having) else []
        settings.update(dict.fromkeys(keys, value))
        if not keys:
            unknown.append(f"{name[:60]}={value[:60]!r}")
    if unknown:
        words = f"warning: no gadget of {description.name!r} has these parameters of the client: {', '.join(unknown)}"
        description = replace(description, notes=(*description.notes, words))
    return description.with_parameters(settings)


def _having(parameter: str, description: ChainDescription, registry: Registry) -> list[str]:
    """The gadgets of the chain that have a parameter of this name."""
    found = []
    for step in description.steps:
        try:
            if parameter in registry.find(step.gadget).parameters:
                found.append(step.gadget)
        except ConfigError:  # told with all else that is wrong when the chain is built
            continue
    return found
