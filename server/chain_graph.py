"""The places of a chain: where gadgets stand, where branches part and meet, and what goes which way.

An item goes from place to place until one accepts its type; what is made of it goes on from there, before the next item
comes. A parallel part is a fork with a way into each branch; all of them lead to the place where the branches meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from echotrain.gadgets.gadget import Gadget
from echotrain.mrd import Acquisitions, Image, Waveforms

from .running import IMAGES, LINES

AnyGadget = Gadget[Any, Any]
Parts: TypeAlias = "Sequence[AnyGadget | Mapping[str, Parts]]"
"""Gadgets in a row; a mapping among them is a parallel part: its branches by name, which may be empty."""


@dataclass(eq=False, slots=True)
class Place:
    """A point on the way through a chain; items that it does not accept go on to `then`."""

    stage: int
    accepts: tuple[type, ...] = ()
    work: Callable[[Any], Iterable[Any]] = iter
    """What is made here of an item that it accepts; the results go on to `then`."""
    gadget: AnyGadget | None = None
    branches: tuple[tuple[Place, tuple[type, ...]], ...] = ()
    """Of a fork: where each branch begins, and the types that its gadgets take."""
    then: Place = field(init=False)

    def __post_init__(self) -> None:
        self.then = self  # until another is put behind it

    def ways(self, item: Any) -> list[Place]:
        """The branches for `item`: those with gadgets for it and those without any, or one of these if no gadget is."""
        chosen = [begin for begin, takes in self.branches if isinstance(item, takes or object)]
        return chosen if any(isinstance(item, takes) for _, takes in self.branches) else chosen[:1]


class Graph:
    """`parts` laid out. `run` is given a gadget's index and what to call, and gives what comes of it."""

    def __init__(self, parts: Parts, run: Callable[[int, Callable[[], Any]], Iterator[Any]]) -> None:
        self._run = run
        self.places: list[Place] = []
        """Where each gadget stands, in the order of the text; none comes before one that leads to it."""
        self.begin = Place(LINES)
        self._lay(parts, self.begin).then = Place(IMAGES + 1)  # the end, which belongs to no stage

    def _lay(self, parts: Parts, last: Place) -> Place:
        """Lay `parts` out behind a place; the last of theirs."""
        for part in parts:
            if isinstance(part, Gadget):
                last.then = last = self._place(part, last.stage)
            else:
                last.then, last = self._fork(part, last.stage)
        return last

    def _place(self, gadget: AnyGadget, stage: int) -> Place:
        index = len(self.places)
        stage = max(stage, LINES if takes_lines(gadget) else IMAGES)
        place = Place(stage, gadget.accepts, lambda item: self._run(index, lambda: gadget.process(item)), gadget)
        self.places.append(place)
        return place

    def _fork(self, parallel: Mapping[str, Parts], stage: int) -> tuple[Place, Place]:
        """Where the branches of `parallel` part, and where they meet."""
        branches, ends = [], []
        for name, parts in parallel.items():
            begin = Place(stage)
            last = self._lay(parts, begin)
            last.then = end = Place(last.stage, (Image,), _naming(name, set(_branch_names(parts))))
            branches.append((begin, taken(parts)))
            ends.append(end)
        accepts = tuple(kind for _, takes in branches for kind in takes or (object,))
        fork, meeting = Place(stage, accepts, branches=tuple(branches)), Place(max(end.stage for end in ends))
        for place in (fork, *ends):
            place.then = meeting
        return fork, meeting


def all_gadgets(parts: Parts) -> Iterator[AnyGadget]:
    """All gadgets of `parts` in the order of the text, those of branches among them."""
    for part in parts:
        if isinstance(part, Gadget):
            yield part
        else:
            for branch in part.values():
                yield from all_gadgets(branch)


def taken(parts: Parts) -> tuple[type, ...]:
    """The types that any gadget of `parts` takes."""
    return tuple(dict.fromkeys(kind for gadget in all_gadgets(parts) for kind in gadget.accepts))


def takes_lines(gadget: AnyGadget) -> bool:
    """Whether a gadget works on what the scanner sends."""
    return bool({Acquisitions, Waveforms} & set(gadget.accepts))


def paths(at: Place) -> Iterator[list[AnyGadget]]:
    """The gadgets along each way from `at` to the end."""
    if at.then is at:
        yield []
    elif at.branches:
        for begin, _ in at.branches:
            yield from paths(begin)
    else:
        for path in paths(at.then):
            yield [at.gadget, *path] if at.gadget else path


def _branch_names(parts: Parts) -> Iterator[str]:
    for part in parts:
        if not isinstance(part, Gadget):
            for name, branch in part.items():
                yield name
                yield from _branch_names(branch)


def _naming(branch: str, within: set[str]) -> Callable[[Image], list[Image]]:
    """Give images that leave `branch` its name, but for those that have the name of a branch `within` it."""

    def work(image: Image) -> list[Image]:
        return [image if image.meta.get("Branch") in within else replace(image, meta={**image.meta, "Branch": branch})]

    return work
