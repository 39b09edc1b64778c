"""The native XML form of a chain: gadgets in a row, and `<parallel>` where branches work side by side.

<chain name="...">
  <gadget name="..." parameter="value"/>
  <parallel>
    <branch name="images"> <gadget .../> </branch>
    <branch name="snr"> <gadget .../> </branch>
  </parallel>
</chain>
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Branch:
    """One of the ways through a parallel part; one without parts gives items as they are."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches that are all given the same items."""

    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        names = [branch.name for branch in self.branches]
        if len(set(names)) < len(names):
            listed = " and ".join(map(repr, names))
            raise ConfigError(f"the branches {listed} of a parallel part need names that differ")


Part = Step | Parallel


@dataclass(frozen=True, slots=True)
class ChainDescription:
    """What a chain's text says, before any gadget is looked up."""

    name: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    """What the client must be told before data comes, such as settings of another dialect that do nothing here."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in the order of the text, those of branches among them."""
        return tuple(_steps(self.parts))

    def with_parameters(self, settings: Mapping[str, str]) -> ChainDescription:
        """The same chain with `Gadget.parameter` set to new values in every gadget of that name.

        `branch/Gadget.parameter` sets only those within that branch.

        Raises:
            ConfigError: where a setting is not of that form or names no gadget of the chain, or none of that branch.
        """
        parts = self.parts
        for key, value in settings.items():
            path, slash, setting = key.rpartition("/")
            gadget, dot, parameter = setting.rpartition(".")
            chosen: list[Step] = []

            def change(step: Step) -> Step:
                if gadget not in (step.gadget, step.gadget.rpartition(".")[2]):  # noqa: B023 - called at once
                    return step
                chosen.append(step)  # noqa: B023
                values = {**step.values, parameter: value}  # noqa: B023
                return replace(step, values=values, overridden=step.overridden | {parameter})  # noqa: B023

            branches = tuple(path.split("/")) if slash else ()
            parts = _changed(parts, branches, change)
            if not dot or not chosen:
                hint = nearest(gadget or key, {step.gadget for step in self.steps})
                within = f"in branch {path!r} of" if slash else "in"
                raise ConfigError(
                    f"the setting {key!r} is not Gadget.parameter of a gadget {within} {self.name!r}; {hint}"
                )
        return replace(self, parts=parts)


def parse_chain(text: str | bytes) -> ChainDescription:
    """Read a chain's XML.

    Raises:
        ConfigError: where it is not XML, not a chain, or holds anything that is not known; with all that is wrong.
    """
    root = parse_xml(text, "the chain", ConfigError)
    if root.tag != "chain":
        raise ConfigError(f"the chain's root element is <{root.tag}>, not <chain>")
    problems = [f"<chain> has no attribute {name!r}" for name in root.attrib if name != "name"]
    parts = _read_parts(root, "the chain", problems)
    if problems:
        raise ConfigError("; ".join(problems))
    return ChainDescription(root.get("name", "chain"), parts)


def chain_xml(description: ChainDescription, gadgets: Sequence[Gadget[Any, Any]]) -> str:
    """The chain as XML with every parameter's value written out; `gadgets` are those made of its steps, in order."""
    root = ElementTree.Element("chain", name=description.name)
    _write_parts(root, description.parts, iter(gadgets))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _steps(parts: Sequence[Part]) -> Iterator[Step]:
    for part in parts:
        if isinstance(part, Parallel):
            for branch in part.branches:
                yield from _steps(branch.parts)
        else:
            yield part


def _changed(parts: Sequence[Part], path: tuple[str, ...], change: Callable[[Step], Step]) -> tuple[Part, ...]:
    """`parts` with `change` made to each step that lies within the branches of `path`, one inside the other."""
    changed: list[Part] = []
    for part in parts:
        if isinstance(part, Parallel):
            branches = []
            for branch in part.branches:
                rest = path[1:] if path[:1] == (branch.name,) else path
                branches.append(replace(branch, parts=_changed(branch.parts, rest, change)))
            changed.append(Parallel(tuple(branches)))
        else:
            changed.append(part if path else change(part))
    return tuple(changed)


def _read_parts(parent: ElementTree.Element, where: str, problems: list[str]) -> tuple[Part, ...]:
    """What stands in `parent`, which errors call `where`; what is wrong is added to `problems`."""
    parts: list[Part] = []
    for number, element in enumerate(parent, 1):
        values = dict(element.attrib)
        name = values.pop("name", "")
        if element.tag == "parallel":
            parts.append(_read_parallel(element, f"part {number} of {where}", problems))
        elif element.tag != "gadget":
            problems.append(f"<{element.tag}> is not supported in {where}; <gadget> and <parallel> are")
        elif not name:
            problems.append(f"gadget number {number} of {where} has no name")
        elif len(element):
            problems.append(f"<gadget name={name!r}> holds <{element[0].tag}>; parameters are attributes")
        else:
            parts.append(Step(name, values))
    return tuple(parts)


def _read_parallel(parallel: ElementTree.Element, where: str, problems: list[str]) -> Parallel:
    problems += [f"<parallel>, {where}, has no attribute {name!r}" for name in parallel.attrib]
    branches: dict[str, Branch] = {}
    for number, element in enumerate(parallel, 1):
        if element.tag != "branch":
            problems.append(f"<{element.tag}> is not supported in <parallel>, {where}; <branch> is")
            continue
        name = element.get("name", "")
        if not name:
            problems.append(f"branch number {number} of <parallel>, {where}, has no name")
        elif "/" in name:
            problems.append(f"the branch name {name!r} holds a slash, which parts a branch from what lies in it")
        elif name in branches:
            problems.append(f"two branches of <parallel>, {where}, are called {name!r}; each needs a name of its own")
        problems += [
            f"<branch name={name!r}> has no attribute {other!r}" for other in element.attrib if other != "name"
        ]
        branches[name] = Branch(name, _read_parts(element, f"branch {name or number!r}", problems))
    if len(parallel) < 2:
        problems.append(f"<parallel>, {where}, has {len(parallel)} <branch>; it needs at least two")
    return Parallel(tuple(branches.values()))


def _write_parts(parent: ElementTree.Element, parts: Sequence[Part], gadgets: Iterator[Gadget[Any, Any]]) -> None:
    for part in parts:
        if isinstance(part, Parallel):
            parallel = ElementTree.SubElement(parent, "parallel")
            for branch in part.branches:
                element = ElementTree.SubElement(parallel, "branch", name=branch.name)
                _write_parts(element, branch.parts, gadgets)
        else:
            gadget = next(gadgets)
            values = {name: as_text(getattr(gadget, name)) for name in gadget.parameters}
            ElementTree.SubElement(parent, "gadget", {"name": part.gadget, **values})
