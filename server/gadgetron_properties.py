"""What is known of the properties of Gadgetron's classes, and of the classes that are served."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .chain_xml import Step

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a class: its default there, which values are served, and what is said of others."""

    default: str
    served: Callable[[str], bool] = lambda value: True
    """Whether a value is; ValueError stands for no."""

    otherwise: str = ""
    """What is done, or can be, in place of a value that is not served."""

    soft: bool = False
    """Whether such a value is told of and passed over; else the configuration is refused."""


@dataclass(frozen=True, slots=True)
class Served:
    """Classes that follow on one another, and the gadgets that serve them together."""

    classes: tuple[str, ...]
    steps: Callable[[Values], Sequence[Step]]
    """The steps for the values of all properties; raises ValueError, with words, where there are none."""

    properties: Mapping[str, Property] = field(default_factory=dict)
    """Those of all the classes."""

    note: str = ""
    """What the client is told of work that is done otherwise, or not at all."""


NO_EFFECT = frozenset({"debug_folder", "perform_timing", "verbose", "time_tick"})
"""Properties of any class that change what Gadgetron logs or keeps for its developers, and no image."""


def is_on(value: str) -> bool:
    """Whether a boolean property is true.

    Raises:
        ValueError: where it is no boolean.
    """
    if value.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{value!r} is neither true nor false")
    return value.lower() in ("true", "1")


def is_off(value: str) -> bool:
    """Whether a boolean property is false; raises as `is_on`."""
    return not is_on(value)


def boolean(default: str) -> Property:
    """A property that is true or false."""
    return Property(default, lambda value: is_on(value) or is_off(value), "it must be true or false")


def integer(default: str) -> Property:
    """A property that is a whole number."""
    return Property(default, lambda value: math.isfinite(int(value)), "it must be a whole number")


def number(default: str) -> Property:
    """A property that is a number."""
    return Property(default, lambda value: math.isfinite(float(value)), "it must be a number")


def is_empty(value: str) -> bool:
    """Whether a property is left empty."""
    return not value


def is_negative(value: str) -> bool:
    """Whether an index is one that stands for none."""
    return int(value) < 0


def one_of(*values: float) -> Callable[[str], bool]:
    """Whether a property is one of these numbers."""
    return lambda value: float(value) in values


def always(*steps: Step) -> Callable[[Values], Sequence[Step]]:
    """The same steps whatever the properties are."""
    return lambda values: steps


def passed(gadget: str, **parameters: str) -> Callable[[Values], Sequence[Step]]:
    """One step whose parameters are properties, by their names, or values of their own where they begin with =."""

    def step(values: Values) -> Sequence[Step]:
        given = {name: source[1:] if source.startswith("=") else values[source] for name, source in parameters.items()}
        return [Step(gadget, given)]

    return step
