"""A chain of gadgets: built from its description, checked for fit, and run."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from echotrain.gadgets.gadget import Gadget
from echotrain.mrd import Acquisitions, Header, Image, Text, Waveforms
from echotrain.mrd.errors import ConfigError, EchotrainError, GadgetError

from .chain_xml import ChainDescription
from .registry import Registry

AnyGadget = Gadget[Any, Any]

_CAUGHT = (Exception, SystemExit)  # a gadget that calls `sys.exit` must not end us without a word
SENDABLE = frozenset({"Acquisitions", "Waveforms", "Image", "Text", "Array", "Dicom"})


class Chain:
    """Gadgets in a row; items of a type that a gadget does not take pass it by, in order."""

    def __init__(self, name: str, gadgets: Sequence[AnyGadget]) -> None:
        """Check that neighbours fit.

        Raises:
            ConfigError: where a gadget would never be given anything, or the chain ends with what cannot be sent.
        """
        self.name = name
        self.gadgets = list(gadgets)
        self.entered: Callable[[int], None] = lambda index: None
        """Called with a gadget's index before each time its code runs."""
        _check_fit(self.gadgets)

    @property
    def line_stage(self) -> int:
        """How many gadgets at the start work on lines; those after them work on whole k-spaces and images."""
        for index, gadget in enumerate(self.gadgets):
            if not {Acquisitions, Waveforms} & set(gadget.accepts):
                return index
        return len(self.gadgets)

    def start(self, header: Header) -> None:
        """Start every gadget.

        Raises:
            EchotrainError: naming the gadget.
        """
        for index, gadget in enumerate(self.gadgets):
            for _ in self._run(index, lambda: gadget.connect(self.gadgets[index + 1 :])):  # noqa: B023 - run at once
                pass
            for _ in self._run(index, lambda: gadget.start(header)):  # noqa: B023
                pass

    def process(self, item: Any, first: int = 0, last: int | None = None) -> Iterator[Any]:
        """What comes out when `item` goes through the gadgets from `first` up to, not including, `last`."""
        last = len(self.gadgets) if last is None else last
        while first < last and not isinstance(item, self.gadgets[first].accepts):
            first += 1
        if first == last:
            yield item
            return
        gadget = self.gadgets[first]
        for given in self._run(first, lambda: gadget.process(item)):
            yield from self.process(given, first + 1, last)

    def finish(self, first: int = 0, last: int | None = None) -> Iterator[Any]:
        """What the gadgets from `first` up to `last` still held, each one's sent through those after it."""
        last = len(self.gadgets) if last is None else last
        for index in range(first, last):
            for given in self._run(index, self.gadgets[index].finish):
                yield from self.process(given, index + 1, last)

    def run(self, header: Header, items: Iterable[Any]) -> Iterator[Any]:
        """Everything that the chain makes of a scan, as it is made."""
        self.start(header)
        for item in items:
            yield from self.process(item)
        yield from self.finish()

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
            raise _named(error, name) from error
        while True:
            try:
                self.entered(index)
                item = next(iterator)
            except StopIteration:
                return
            except _CAUGHT as error:
                raise _named(error, name) from error
            if not isinstance(item, (*gadget.yields, Text)):
                wanted = " or ".join(kind.__name__ for kind in gadget.yields)
                raise GadgetError(f"gave {type(item).__name__}, but its class line says {wanted}", gadget=name)
            yield item


def build_chain(description: ChainDescription, registry: Registry) -> Chain:
    """Make the gadgets that `description` names, with their parameters.

    Raises:
        ConfigError: with everything that is wrong, at once.
    """
    gadgets: list[AnyGadget] = []
    problems: list[EchotrainError] = []
    for step in description.steps:
        try:
            gadgets.append(registry.find(step.gadget)(**step.values))
        except EchotrainError as error:
            problems.append(error)
        except _CAUGHT as error:
            problems.append(_named(error, step.gadget))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError("; ".join(map(str, problems)), detail="\n".join(problem.detail for problem in problems))
    return Chain(description.name, gadgets)


def _named(error: BaseException, gadget: str) -> EchotrainError:
    """`error` as one that names `gadget`; what is not ours becomes a GadgetError with the traceback as detail."""
    if isinstance(error, EchotrainError):
        error.gadget = error.gadget or gadget
        return error
    detail = "".join(traceback.format_exception(error))
    places = traceback.extract_tb(error.__traceback__)
    where = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
    return GadgetError(f"{type(error).__name__}: {error}{where}", gadget=gadget, detail=detail)


def _check_fit(gadgets: Sequence[AnyGadget]) -> None:
    if not gadgets:
        raise ConfigError("the chain has no gadgets")
    images_only = not {Acquisitions, Waveforms} & set(gadgets[0].accepts) and Image in gadgets[0].accepts
    flowing: set[type] = {Image} if images_only else {Acquisitions, Waveforms}
    for gadget in gadgets:
        name = type(gadget).__name__
        taken = flowing & set(gadget.accepts)
        if not taken:
            wanted = " or ".join(kind.__name__ for kind in gadget.accepts)
            have = " and ".join(sorted(kind.__name__ for kind in flowing))
            raise ConfigError(f"takes {wanted}, but only {have} reach it here", gadget=name)
        flowing = (flowing - taken) | set(gadget.yields)
    for kind in flowing:
        if kind.__name__ not in SENDABLE:
            raise ConfigError(
                f"the chain ends with {kind.__name__}, which cannot be sent to a client; "
                "a FourierTransform after it makes images",
                gadget=type(gadgets[-1]).__name__,
            )
