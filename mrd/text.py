"""Small items of a stream that are not data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ConfigName:
    """The name of a configuration (message 1)."""

    name: str


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A configuration as XML text (message 2)."""

    text: str


@dataclass(frozen=True, slots=True)
class HeaderText:
    """The MRD header as XML (message 3)."""

    xml: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a stream (message 4)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line for a person to read (message 5); gadgets give it to tell the client something."""

    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question about the server (message 6)."""

    correlation_id: int
    key: str


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to the query of the same id (message 7)."""

    correlation_id: int
    text: str


@dataclass(frozen=True, slots=True)
class ErrorText:
    """An error in words (message 8)."""

    text: str


@dataclass(frozen=True, slots=True)
class Dicom:
    """A DICOM file with its name and meta XML (message 1018)."""

    content: bytes
    name: str
    meta: str


@dataclass(frozen=True, slots=True)
class DependencyQuery:
    """A question whether a noise dependency is known, as meta XML (message 1019)."""

    meta: str


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """An n-dimensional array without a header (message 1030)."""

    data: NDArray[Any]
