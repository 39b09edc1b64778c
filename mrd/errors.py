"""Every error that a user can meet, in one tree; each names the part, the value and what was wanted.

EchotrainError
├── PeerError            the other side broke the protocol
│   ├── StreamError      bytes that are not an MRD stream
│   └── ProtocolError    a message out of order, a gap in offsets
├── HeaderError          an MRD header that is not XML, or lacks what the chain needs
├── ConfigError          a chain that cannot be built
│   └── ParameterError   a parameter that does not exist or has a wrong value
├── DataError            lines or images that do not fit the chain or one another
├── GadgetError          a gadget that raised, hung or took its process with it
├── StorageError         no room, or no right, to write
└── SessionError         a session that does not exist, or is not in the right state
    └── BusyError        a session that cannot be gone on with at this moment, but later
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EchotrainError(Exception):
    """Base of all; `code` travels over the wire, `gadget` names the part of the chain where there is one."""

    code = "internal"

    def __init__(self, message: str, *, gadget: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.gadget = gadget
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.gadget}: {self.message}" if self.gadget else self.message


class PeerError(EchotrainError):
    """The other side broke the protocol."""

    code = "peer"


class StreamError(PeerError):
    """Bytes that are not an MRD stream."""

    code = "stream"


class ProtocolError(PeerError):
    """A message out of order, of the wrong form, or with a gap before it."""

    code = "protocol"


class HeaderError(EchotrainError):
    """An MRD header that is not XML, or lacks what the chain needs."""

    code = "header"


class ConfigError(EchotrainError):
    """A chain that cannot be built."""

    code = "config"


class ParameterError(ConfigError):
    """A parameter that does not exist or has a wrong value."""

    code = "parameter"


class DataError(EchotrainError):
    """Lines or images that do not fit the chain or one another."""

    code = "data"


class GadgetError(EchotrainError):
    """A gadget that raised, hung or took its process with it."""

    code = "gadget"


class StorageError(EchotrainError):
    """No room, or no right, to write."""

    code = "storage"


class SessionError(EchotrainError):
    """A session that does not exist, or is not in the right state."""

    code = "session"


class BusyError(SessionError):
    """A session that cannot be gone on with at this moment, but later."""

    code = "busy"


def _subclasses(cls: type[EchotrainError]) -> Iterable[type[EchotrainError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _subclasses(sub)


def error_from_code(code: str, message: str, *, gadget: str = "", detail: str = "") -> EchotrainError:
    """The error that `code` stands for, as it was raised on the other side of a wire."""
    for cls in _subclasses(EchotrainError):
        if cls.code == code:
            return cls(message, gadget=gadget, detail=detail)
    return EchotrainError(message, gadget=gadget, detail=detail)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known names, or all of them where none is near; empty where none is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not close:
        lowered = {known_name.lower(): known_name for known_name in names}
        close = [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names)}" if names else ""
