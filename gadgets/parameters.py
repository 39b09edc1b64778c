"""Typed parameters of gadgets: declared in one line, checked once, with names and values in every error."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from echotrain.mrd.errors import ParameterError, nearest

T = TypeVar("T")

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclass(slots=True)
class Parameter:
    """What a gadget says of one of its parameters; the annotation beside it gives the type."""

    default: Any
    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    type: Any = str


def parameter(default: T, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> T:
    """Declare a parameter as a class attribute: `width: int = parameter(5, "Width of the box.", unit="pixels")`.

    Types: bool, int, float, str, Literal[...] of strings, and tuple[X, ...] of those. `low` and `high` are bounds, both
    allowed values.
    """
    return typing.cast(T, Parameter(default, doc, unit, low, high))


def declared(cls: type) -> dict[str, Parameter]:
    """The parameters of a gadget class by name, its bases' first."""
    found: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__):
        names = [name for name, value in vars(base).items() if isinstance(value, Parameter)]
        if names:
            hints = typing.get_type_hints(base)
            for name in names:
                if name not in hints:
                    raise TypeError(f"{base.__name__}.{name} is a parameter and needs a type annotation")
                found[name] = vars(base)[name]
                found[name].type = hints[name]
    return found


def resolve(owner: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for all `parameters`: those given, as Python values or as text, and defaults for the rest.

    Raises:
        ParameterError: for an unknown name, or a value that does not fit; all such at once.
    """
    problems = [
        f"there is no parameter {name!r} ({nearest(name, parameters) or owner + ' has none'})"
        for name in given
        if name not in parameters
    ]
    values: dict[str, Any] = {}
    for name, spec in parameters.items():
        try:
            values[name] = _check(spec, given[name]) if name in given else spec.default
        except ValueError as wrong:
            problems.append(f"{name}={_shown(given[name])!r}: {wrong}")
    if problems:
        raise ParameterError("; ".join(problems), gadget=owner)
    return values


def as_text(value: Any) -> str:
    """A parameter's value as it stands in XML."""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(as_text, value)) if isinstance(value, tuple) else str(value)


def type_name(kind: Any) -> str:
    """The words for a parameter's type in help and errors."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    return {int: "integer", float: "number", str: "text", bool: "true | false"}.get(kind, str(kind))


def _shown(value: Any) -> str:
    return as_text(value)[:80]


def _check(spec: Parameter, value: Any) -> Any:
    converted = _convert(spec.type, value)
    for single in converted if isinstance(converted, tuple) else (converted,):
        if spec.low is not None and single < spec.low:
            raise ValueError(f"must be at least {spec.low:g}")
        if spec.high is not None and single > spec.high:
            raise ValueError(f"must be at most {spec.high:g}")
    return converted


def _convert(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        raise TypeError("a parameter cannot be of several types")
    if origin is tuple:
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        parts = value if isinstance(value, Iterable) else (value,)
        return tuple(_convert(arguments[0], part) for part in parts)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"must be one of {', '.join(map(str, arguments))}")
        return value
    if kind is bool:
        return _bool(value)
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError("must be an integer")
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be {'an' if kind is int else 'a'} {type_name(kind)}") from None
    if kind is float and converted != converted:
        raise ValueError("must be a number")
    return converted


def _bool(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return text in _TRUE
