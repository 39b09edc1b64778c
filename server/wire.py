"""Messages of the native protocol: a msgpack map, and for data and output a second frame of whole MRD records.

Offsets count bytes of the session's input or output log, so that a chunk sent twice changes nothing and a gap shows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import msgpack

from echotrain.mrd.errors import EchotrainError, ProtocolError

PROTOCOL_VERSION = 1
DEFAULT_ADDRESS = "tcp://127.0.0.1:9010"
MAX_LIST = 1000  # entries of a list in an envelope; room for so many is made before they are there


@dataclass(frozen=True, slots=True)
class Open:
    """Client: start a session, or go on with one."""

    config: str = ""
    """A configuration's name, or its XML."""
    header: bytes = b""
    """The scan's MRD header as XML."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Values by `Gadget.parameter`."""
    label: str = ""
    """Words for people, shown in lists of sessions."""
    session: str = ""
    """The session to go on with; empty for a new one."""
    received: int = 0
    """How much of the output a client that goes on holds already [bytes]."""
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Data:
    """Client: records of the scan, in the frame that follows."""

    session: str
    offset: int
    """Where in the input log the records begin."""
    count: int = 1
    """How many records there are, or 0 where the sender did not count."""


@dataclass(frozen=True, slots=True)
class End:
    """Client: the scan is over; `offset` is the size that the input log must have."""

    session: str
    offset: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Client: stop; nothing more is wanted."""

    session: str


@dataclass(frozen=True, slots=True)
class Ack:
    """Client: output up to `offset` is safely received."""

    session: str
    offset: int


@dataclass(frozen=True, slots=True)
class Opened:
    """Server: data may come from `offset` on; said again in a session, it asks for all from there once more."""

    session: str
    offset: int
    credit: int


@dataclass(frozen=True, slots=True)
class Credit:
    """Server: input up to `offset` is held; messages may begin anywhere before `credit`."""

    session: str
    offset: int
    credit: int


@dataclass(frozen=True, slots=True)
class Output:
    """Server: records of the output log from `offset` on, in the frame that follows."""

    session: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Done:
    """Server: everything was sent."""

    session: str
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """Server: words for people about a session that goes on, such as that it waits for room on a disk."""

    session: str
    message: str


@dataclass(frozen=True, slots=True)
class Error:
    """Server: what went wrong. A `protocol` error refuses one message and leaves the session as it was."""

    session: str
    code: str
    message: str
    gadget: str = ""
    detail: str = ""

    @classmethod
    def of(cls, error: EchotrainError, session: str) -> Error:
        """The message that carries `error`."""
        return cls(session, error.code, error.message, error.gadget, error.detail)


Message = Open | Data | End | Abort | Ack | Opened | Credit | Output | Done | Notice | Error

_CLASSES: dict[str, type[Message]] = {
    cls.__name__.lower(): cls for cls in (Open, Data, End, Abort, Ack, Opened, Credit, Output, Done, Notice, Error)
}
_NAMES = {cls: name for name, cls in _CLASSES.items()}
_FIELDS = {cls: {f.name: f for f in dataclasses.fields(cls)} for cls in _NAMES}
_TYPES: dict[str, type] = {"str": str, "bytes": bytes, "dict[str, Any]": dict}


def pack(message: Message) -> bytes:
    """The envelope of `message`."""
    cls = type(message)
    packed: bytes = msgpack.packb({"type": _NAMES[cls], **{name: getattr(message, name) for name in _FIELDS[cls]}})
    return packed


def unpack(envelope: bytes | memoryview) -> Message:
    """The message in `envelope`; fields that are not known are passed over.

    Raises:
        ProtocolError: where it is not a message of this protocol.
    """
    try:
        fields = msgpack.unpackb(envelope, max_array_len=MAX_LIST)
        cls = _CLASSES[fields.pop("type")]
    except Exception as error:
        raise ProtocolError("an envelope is no message of Echotrain's protocol, a msgpack map with a type") from error
    known = _FIELDS[cls]
    for name, spec in known.items():
        if name in fields:
            if not _fits(fields[name], str(spec.type)):
                raise ProtocolError(f"field {name!r} of message {_NAMES[cls]!r} is not a valid {spec.type}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ProtocolError(f"message {_NAMES[cls]!r} lacks the field {name!r}")
    return cls(**{name: value for name, value in fields.items() if name in known})


def _fits(value: Any, kind: str) -> bool:
    """Whether `value` is of the type that a message's field is annotated with; whole numbers are offsets or counts."""
    if kind == "dict[str, str]":
        return type(value) is dict and all(type(text) is str for pair in value.items() for text in pair)
    if kind == "int":
        return type(value) is int and value >= 0
    return type(value) is _TYPES[kind]
