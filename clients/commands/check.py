"""`echotrain check`: check a chain without data and show every parameter and where its value comes from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from echotrain.gadgets import Gadget
from echotrain.gadgets.parameters import as_text
from echotrain.server.chain_xml import Parallel, Part, Step
from echotrain.server.prepare import prepare_chain

from . import config_text, local_settings


def run(options: argparse.Namespace) -> int:
    """Print the resolved chain and what its user is to know."""
    description, chain = prepare_chain(config_text(options.config), local_settings(options), dict(options.settings))
    print(f"chain {chain.name}")
    for line in _tree(description.parts, iter(chain.gadgets)):
        print(f"  {line}")
    for note in chain.notes:
        print(f"note: {note}")
    return 0


def _tree(parts: Sequence[Part], gadgets: Iterator[Gadget[Any, Any]]) -> Iterator[str]:
    """A line for everything in `parts`, whose gadgets come next in `gadgets`."""
    for part in parts:
        if not isinstance(part, Parallel):
            yield from _gadget(part, next(gadgets))
            continue
        yield "parallel"
        for branch in part.branches:
            yield f"  branch {branch.name}" + ("" if branch.parts else ": gives what it is given")
            yield from (f"    {line}" for line in _tree(branch.parts, gadgets))


def _gadget(step: Step, gadget: Gadget[Any, Any]) -> Iterator[str]:
    taken, given = (" or ".join(kind.__name__ for kind in kinds) for kinds in (gadget.accepts, gadget.yields))
    yield f"{step.gadget}: {taken} to {given}"
    for name, spec in gadget.parameters.items():
        source = "set" if name in step.overridden else "chain" if name in step.values else "default"
        unit = f" {spec.unit}" if spec.unit else ""
        yield f"  {name} = {as_text(getattr(gadget, name))}{unit}  ({source})"
