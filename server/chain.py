"""A chain of gadgets: built from its description, checked for fit, and run."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from echotrain.mrd import Acquisitions, Header, Text
from echotrain.mrd.errors import ConfigError, EchotrainError, GadgetError

from .chain_fit import check_fit
from .chain_graph import AnyGadget, Graph, Parts, Place, all_gadgets, paths
from .chain_xml import ChainDescription, Parallel, Part
from .information import answered
from .registry import Registry
from .running import IMAGES, LINES

_CAUGHT = (Exception, SystemExit)  # a gadget that calls `sys.exit` must not end us without a word


class Chain:
    """Gadgets in a row, with parallel branches; items of a type that a gadget does not take pass it by, in order.

    An item goes into every branch that has a gadget for its type and those without gadgets, and past a parallel part
    where no branch is for it. Images that leave a branch have its name as the meta attribute `Branch`, or that of the
    branch inside it that they came out of.
    """

    def __init__(self, name: str, parts: Parts, notes: Iterable[str] = ()) -> None:
        """Check that neighbours fit.

        Raises:
            ConfigError: where a gadget would never be given anything, or the chain ends with what cannot be sent.
        """
        self.name = name
        self.notes = tuple(notes)
        """Words for the client ahead of anything else."""
        self.gadgets = list(all_gadgets(parts))
        """All of them, in the order of the text."""
        self.entered: Callable[[int], None] = lambda index: None
        """Called with a gadget's index before each time its code runs."""
        self.gives = check_fit(parts, self.gadgets)
        """The types of what comes out, but for what passes by all gadgets."""
        self._graph = Graph(parts, self._run)

    @property
    def stages(self) -> list[int]:
        """The stage of each gadget."""
        return [place.stage for place in self._graph.places]

    def start(self, header: Header) -> None:
        """Start every gadget.

        Raises:
            EchotrainError: naming the gadget.
        """
        for index, gadget in enumerate(self.gadgets):
            for path in paths(self._graph.places[index].then):
                for _ in self._run(index, lambda: gadget.connect(path)):  # noqa: B023 - run at once
                    pass
            for _ in self._run(index, lambda: gadget.start(header)):  # noqa: B023
                pass

    def process(self, item: Any, at: Place | None = None, stage: int = IMAGES) -> Iterator[tuple[Any, Place]]:
        """What comes of `item` from `at` or the beginning to the end of `stage`, each with the place to go on from."""
        at = at or self._graph.begin
        while at.stage <= stage and not isinstance(item, at.accepts):
            at = at.then
        if at.stage > stage:
            yield item, at
        elif at.branches:
            for way in at.ways(item):
                yield from self.process(item, way, stage)
        else:
            for given in at.work(item):
                yield from self.process(given, at.then, stage)

    def finish(self, stage: int) -> Iterator[tuple[Any, Place]]:
        """What the gadgets of `stage` still held, each one's sent through those after it to the end of the stage."""
        for index, place in enumerate(self._graph.places):
            if place.stage == stage:
                for given in self._run(index, self.gadgets[index].finish):
                    yield from self.process(given, place.then, stage)

    def leaves_out(self, item: Any) -> bool:
        """Whether `item`, which came out, are lines that only did because the chain has no gadget for lines."""
        return isinstance(item, Acquisitions) and Acquisitions not in self.gives

    def run(self, header: Header, items: Iterable[Any]) -> Iterator[Any]:
        """Everything that the chain makes of a scan, as it is made."""
        self.start(header)
        yield from map(Text, self.notes)
        for item in map(answered, items):
            for given, _ in self.process(item):
                yield given
        for held, at in self.finish(LINES):
            for given, _ in self.process(held, at):
                yield given
        for given, _ in self.finish(IMAGES):
            yield given

    def _run(self, index: int, call: Callable[[], Iterable[Any] | None]) -> Iterator[Any]:
        """What `call` into gadget `index` gives, with every error turned into one that names the gadget."""
        gadget = self.gadgets[index]
        name = type(gadget).__name__
        try:
            self.entered(index)
            given = call()
            if given is None:
                return
            if isinstance(given, (*gadget.yields, Text)):
                given = (given,)  # returned by itself, where others yield
            iterator = iter(given)
        except _CAUGHT as error:
            _raise_named(error, name)
        while True:
            try:
                self.entered(index)
                item = next(iterator)
            except StopIteration:
                return
            except _CAUGHT as error:
                _raise_named(error, name)
            if not isinstance(item, (*gadget.yields, Text)):
                wanted = " or ".join(kind.__name__ for kind in gadget.yields)
                raise GadgetError(f"gave {type(item).__name__}, but its class line says {wanted}", gadget=name)
            yield item


def lines_left_out(count: int) -> Text:
    """The words for lines that a chain left out."""
    return Text(f"warning: no gadget of the chain takes lines; {count} were left out")


def build_chain(description: ChainDescription, registry: Registry) -> Chain:
    """Make the gadgets that `description` names, with their parameters.

    Raises:
        ConfigError: with everything that is wrong, at once.
    """
    problems: list[EchotrainError] = []
    parts = _build(description.parts, registry, problems)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError("; ".join(map(str, problems)), detail="\n".join(problem.detail for problem in problems))
    return Chain(description.name, parts, description.notes)


def _build(parts: Iterable[Part], registry: Registry, problems: list[EchotrainError]) -> Parts:
    built: list[AnyGadget | Mapping[str, Parts]] = []
    for part in parts:
        try:
            if isinstance(part, Parallel):
                built.append({branch.name: _build(branch.parts, registry, problems) for branch in part.branches})
            else:
                built.append(registry.find(part.gadget)(**part.values))
        except EchotrainError as error:
            problems.append(error)
        except _CAUGHT as error:
            assert not isinstance(part, Parallel)
            problems.append(_named(error, part.gadget))
    return built


def _raise_named(error: BaseException, gadget: str) -> NoReturn:
    named = _named(error, gadget)
    if named is error:  # which is not its own cause
        raise error
    raise named from error


def _named(error: BaseException, gadget: str) -> EchotrainError:
    """`error` as one that names `gadget`; what is not ours becomes a GadgetError with the traceback as detail."""
    if isinstance(error, EchotrainError):
        error.gadget = error.gadget or gadget
        return error
    detail = "".join(traceback.format_exception(error))
    places = traceback.extract_tb(error.__traceback__)
    where = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
    return GadgetError(f"{type(error).__name__}: {error}{where}", gadget=gadget, detail=detail)
