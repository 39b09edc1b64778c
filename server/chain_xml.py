"""The native XML form of a chain: `<chain name="..."><gadget name="..." parameter="value"/>...</chain>`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from echotrain.gadgets.gadget import Gadget
from echotrain.gadgets.parameters import as_text
from echotrain.mrd.errors import ConfigError, nearest
from echotrain.mrd.xml import parse_xml


@dataclass(frozen=True, slots=True)
class Step:
    """One gadget of a chain: its name and the parameters that were given, as text."""

    gadget: str
    values: Mapping[str, str] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
    """Names of parameters that were set from outside the chain's own text."""


@dataclass(frozen=True, slots=True)
class ChainDescription:
    """What a chain's text says, before any gadget is looked up."""

    name: str
    steps: tuple[Step, ...]

    def with_parameters(self, settings: Mapping[str, str]) -> ChainDescription:
        """The same chain with `Gadget.parameter` set to new values in every gadget of that name.

        Raises:
            ConfigError: where a setting is not of that form or names no gadget of the chain.
        """
        steps = list(self.steps)
        for key, value in settings.items():
            gadget, dot, parameter = key.rpartition(".")
            chosen = [i for i, step in enumerate(steps) if gadget in (step.gadget, step.gadget.rpartition(".")[2])]
            if not dot or not chosen:
                hint = nearest(gadget or key, {step.gadget for step in steps})
                raise ConfigError(f"the setting {key!r} is not Gadget.parameter of a gadget in {self.name!r}; {hint}")
            for i in chosen:
                values = {**steps[i].values, parameter: value}
                steps[i] = replace(steps[i], values=values, overridden=steps[i].overridden | {parameter})
        return replace(self, steps=tuple(steps))


def parse_chain(text: str | bytes) -> ChainDescription:
    """Read a chain's XML.

    Raises:
        ConfigError: where it is not XML, not a chain, or holds anything that is not known.
    """
    root = parse_xml(text, "the chain", ConfigError)
    if root.tag != "chain":
        raise ConfigError(f"the chain's root element is <{root.tag}>, not <chain>")
    problems = [f"<chain> has no attribute {name!r}" for name in root.attrib if name != "name"]
    steps: list[Step] = []
    for element in root:
        values = dict(element.attrib)
        name = values.pop("name", "")
        if element.tag != "gadget":
            problems.append(f"<{element.tag}> is not supported in a chain; <gadget> is")
        elif not name:
            problems.append(f"gadget number {len(steps) + 1} has no name")
        elif len(element):
            problems.append(f"<gadget name={name!r}> holds <{element[0].tag}>; parameters are attributes")
        else:
            steps.append(Step(name, values))
    if problems:
        raise ConfigError("; ".join(problems))
    return ChainDescription(root.get("name", "chain"), tuple(steps))


def chain_xml(name: str, gadgets: list[Gadget[Any, Any]], names: list[str]) -> str:
    """The chain as XML with every parameter's value written out; `names` are the gadgets' names in chains."""
    root = ElementTree.Element("chain", name=name)
    for gadget, gadget_name in zip(gadgets, names, strict=True):
        values = {parameter: as_text(getattr(gadget, parameter)) for parameter in gadget.parameters}
        ElementTree.SubElement(root, "gadget", {"name": gadget_name, **values})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
