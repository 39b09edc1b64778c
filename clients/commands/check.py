"""`echotrain check`: check a chain without data and show every parameter and where its value comes from."""

from __future__ import annotations

import argparse

from echotrain.gadgets.parameters import as_text
from echotrain.server.chain import build_chain
from echotrain.server.configs import find_config
from echotrain.server.registry import Registry

from . import config_text, local_settings


def run(options: argparse.Namespace) -> int:
    """Print the resolved chain."""
    settings = local_settings(options)
    description = find_config(config_text(options.config), settings.config_folders)
    description = description.with_parameters(dict(options.settings))
    chain = build_chain(description, Registry(settings.gadget_folders, settings.packages))
    print(f"chain {chain.name}")
    for step, gadget in zip(description.steps, chain.gadgets, strict=True):
        taken, given = (" or ".join(kind.__name__ for kind in kinds) for kinds in (gadget.accepts, gadget.yields))
        print(f"  {step.gadget}: {taken} to {given}")
        for name, spec in gadget.parameters.items():
            source = "set" if name in step.overridden else "chain" if name in step.values else "default"
            unit = f" {spec.unit}" if spec.unit else ""
            print(f"    {name} = {as_text(getattr(gadget, name))}{unit}  ({source})")
    return 0
