"""`echotrain gadgets`: list gadgets, or show one with its parameters."""

from __future__ import annotations

import argparse
import inspect
import sys

from echotrain.gadgets.parameters import Parameter, as_text, type_name
from echotrain.server.registry import Registry

from . import local_settings


def run(options: argparse.Namespace) -> int:
    """Print names with one line each, or everything about one."""
    settings = local_settings(options)
    registry = Registry(settings.gadget_folders, settings.packages)
    if options.name is not None:
        gadget = registry.find(options.name)
        taken, given = (" or ".join(kind.__name__ for kind in kinds) for kinds in (gadget.accepts, gadget.yields))
        print(f"{options.name}: {taken} to {given}\n\n{inspect.getdoc(gadget) or ''}\n")
        for name, spec in gadget.parameters.items():
            print(f"  {name} = {as_text(spec.default)!r}  ({_type(spec)})\n      {spec.doc}")
        return 0
    for name, gadget in sorted(registry.gadgets.items()):
        print(f"{name:20}  {(inspect.getdoc(gadget) or '').partition(chr(10))[0]}")
    for source, reason in registry.failures.items():
        print(f"echotrain gadgets: {source} could not be loaded: {reason.strip().splitlines()[-1]}", file=sys.stderr)
    return 0


def _type(spec: Parameter) -> str:
    bounds = f", at least {spec.low:g}" if spec.low is not None else ""
    bounds += f", at most {spec.high:g}" if spec.high is not None else ""
    return type_name(spec.type) + (f" [{spec.unit}]" if spec.unit else "") + bounds
