"""The contract of a gadget: takes items of one type, gives items of another, one at a time and in order."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from echotrain.mrd import Header, Text

from .parameters import Parameter, declared, resolve

Taken = TypeVar("Taken")
Given = TypeVar("Given")


class Gadget(Generic[Taken, Given]):
    """One step of a chain. The class line says what it takes and gives: `class Crop(Gadget[Image, Image])`.

    Items of other types pass by untouched and in order. A gadget never writes into what it was given: other branches of
    the chain may be given the same item. It may give a `Text` at any time: a line that the client sees, a warning where
    it begins with `warning: `. Whatever it raises ends the session with an error that names the gadget; raise
    `DataError` or `HeaderError` where the input is at fault.

    Parameters are declared with `parameter` and set by keyword, as Python values or as text. They are checked here.

    Raises:
        ParameterError: where a parameter is unknown or its value does not fit.
    """

    accepts: ClassVar[tuple[type, ...]] = ()
    yields: ClassVar[tuple[type, ...]] = ()
    parameters: ClassVar[dict[str, Parameter]] = {}

    takes_image_space_readout: ClassVar[bool] = False
    """Whether it works on lines or k-space whose readout axis was Fourier transformed already."""

    takes_early_calibration: ClassVar[bool] = False
    """Whether it makes use of a k-space's calibration that is handed on while its other lines are still coming."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            origin = typing.get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Gadget):
                taken, given = typing.get_args(base)
                cls.accepts, cls.yields = _types(taken), _types(given)
        cls.parameters = declared(cls)

    def __init__(self, **values: Any) -> None:
        for name, value in resolve(type(self).__name__, self.parameters, values).items():
            setattr(self, name, value)

    def connect(self, following: Sequence[Gadget[Any, Any]], /) -> None:
        """See the gadgets that come after in the chain; before `start`, once for each way through its branches."""

    def start(self, header: Header, /) -> None:
        """See the scan's header; called once, before any item.

        Raises:
            HeaderError: where it lacks what the gadget needs.
        """

    def process(self, item: Taken, /) -> Iterable[Given | Text] | Given | None:
        """Take one item and give any number of items: yield them, or return one or a list of them."""
        raise NotImplementedError

    def finish(self) -> Iterable[Given | Text] | Given | None:
        """Give what is still held; called once, after the last item."""


def _types(hint: Any) -> tuple[type, ...]:
    """The classes in a type hint; a union gives several, a type variable (of a generic base) none."""
    if isinstance(hint, TypeVar):
        return ()
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(argument for argument in typing.get_args(hint) if argument is not type(None))
    return (hint,)
