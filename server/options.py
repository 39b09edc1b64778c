"""Parameters that a client names without a gadget, as OpenRecon's user interface does."""

from __future__ import annotations

from collections.abc import Mapping

from echotrain.mrd.errors import ConfigError

from .chain_xml import ChainDescription
from .registry import Registry


def with_options(
    description: ChainDescription, registry: Registry, options: Mapping[str, str]
) -> tuple[ChainDescription, list[str]]:
    """The chain with `options`, each set in every gadget that has such a parameter, and words on those that none has.

    A name may also be `Gadget.parameter`.

    Raises:
        ConfigError: where that gadget is not in the chain.
    """
    settings: dict[str, str] = {}
    unknown = []
    for name, value in options.items():
        keys = [name] if "." in name else [f"{gadget}.{name}" for gadget in _having(name, description, registry)]
        settings.update(dict.fromkeys(keys, value))
        if not keys:
            unknown.append(f"{name}={value[:60]!r}")
    words = f"warning: no gadget of {description.name!r} has these parameters of the client: {', '.join(unknown)}"
    return description.with_parameters(settings), [words] if unknown else []


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
