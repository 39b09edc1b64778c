"""Gadgets of a Gadgetron configuration, in a row, turned into steps of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from echotrain.mrd.errors import nearest

from .chain_xml import Part, Step
from .gadgetron_classes import SERVED
from .gadgetron_later import CLASSES
from .gadgetron_properties import NO_EFFECT, Served

_GIVE_KSPACE = ("CollectKSpace", "CompressCoils")


@dataclass(frozen=True, slots=True)
class Node:
    """A gadget, or another part of that form, as the text has it."""

    classname: str
    name: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.classname if self.name in ("", self.classname) else f"{self.classname} {self.name!r}"


@dataclass(slots=True)
class Reading:
    """What is wrong with a configuration, what is told of it, and which properties do nothing."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    no_effect: set[str] = field(default_factory=set)


def translated(nodes: Sequence[Node | Part], reading: Reading) -> tuple[Part, ...]:
    """The parts that do the work of `nodes`; what already is a part stays."""
    parts: list[Part] = []
    at = 0
    while at < len(nodes):
        node = nodes[at]
        if not isinstance(node, Node):
            parts.append(node)
            at += 1
            continue
        served = _served_from(nodes[at:])
        taken = [n for n in nodes[at : at + len(served.classes)] if isinstance(n, Node)] if served else [node]
        if served:
            parts += _steps(served, taken, reading)
        else:
            reading.problems.append(_why_not(node))
        at += len(taken)
    parts = _in_order(parts)
    kspace = False
    for part in parts:
        name = part.gadget if isinstance(part, Step) else ""
        if kspace and name == "ExternalPython":
            reading.problems.append(
                "<external> after BucketToBufferGadget: buffers are not yet given to other programs"
            )
        kspace = name in _GIVE_KSPACE
    return tuple(parts)


def _in_order(parts: list[Part]) -> list[Part]:
    """Channels are compressed on k-space here, so after it is collected, and on lines there; the sum is the same."""
    early = [part for part in parts if isinstance(part, Step) and part.gadget == "CompressCoils"]
    at = next((i for i, part in enumerate(parts) if isinstance(part, Step) and part.gadget == "CollectKSpace"), -1)
    before = [part for part in parts[: at + 1] if part not in early]
    return [*before, *(part for part in parts[: at + 1] if part in early), *parts[at + 1 :]]


def _served_from(nodes: Sequence[Node | Part]) -> Served | None:
    """What serves the longest run of classes at the start of `nodes`."""
    names = tuple(node.classname if isinstance(node, Node) else "" for node in nodes)
    fitting = [served for served in SERVED if names[: len(served.classes)] == served.classes]
    return max(fitting, key=lambda served: len(served.classes), default=None)


def _why_not(node: Node) -> str:
    if node.classname in CLASSES:
        return f"{node}: not yet supported ({CLASSES[node.classname]})"
    together = [served.classes for served in SERVED if node.classname in served.classes]
    if together:
        return f"{node}: only served in a row with its neighbours, {' and '.join(together[0])}"
    names = {name for served in SERVED for name in served.classes} | set(CLASSES)
    return f"{node}: no class of Gadgetron has that name; {nearest(node.classname, names)}"


def _steps(served: Served, nodes: Sequence[Node], reading: Reading) -> Sequence[Step]:
    values = {name: rule.default for name, rule in served.properties.items()}
    who = " and ".join(map(str, nodes))
    n_before = len(reading.problems)
    for node in nodes:
        for name, value in node.properties.items():
            if name in served.properties:
                values[name] = value
                _check(node, name, value, served, reading)
            elif name in NO_EFFECT:
                reading.no_effect.add(name)
            else:
                known = {*served.properties, *NO_EFFECT}
                reading.problems.append(f"{node}: there is no property {name!r}; {nearest(name, known)}")
    if served.note:
        reading.notes.append(f"{who}: {served.note}")
    if len(reading.problems) > n_before:
        return ()
    try:
        return served.steps(values)
    except ValueError as reason:
        reading.problems.append(f"{who}: {reason}")
        return ()


def _check(node: Node, name: str, value: str, served: Served, reading: Reading) -> None:
    rule = served.properties[name]
    try:
        fits = rule.served(value)
    except ValueError:
        fits = False
    if not fits:
        told = reading.notes if rule.soft else reading.problems
        told.append(f"{node}: {name}={value!r}: {rule.otherwise}")
