"""How a connection of the MRD protocol opens: configuration, header, and FIRE's parameters; no I/O."""

from __future__ import annotations

import codecs
import enum
import json
import struct
from typing import Any

from echotrain.mrd import (
    Close,
    ConfigName,
    ConfigText,
    HeaderText,
    Item,
    Query,
    Response,
    Text,
    decode,
)
from echotrain.mrd.decode import ID_BYTES
from echotrain.mrd.errors import ProtocolError
from echotrain.mrd.messages import MessageId

from .information import answer
from .noise_questions import answer_config
from .noise_store import noise_store
from .settings import Settings

NO_HEADER = b"<ismrmrdHeader/>"
MAX_TEXT = (
    1 << 20
)  # characters of all texts before data; those that are parameters are read by the one loop of the front
_XML = (b"<", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Awaits(enum.Enum):
    """What the client has to say next."""

    CONFIG = "before a configuration came"
    HEADER = "before a header came"
    DATA = "before any data came"


_ALLOWED = {
    _Awaits.CONFIG: {MessageId.CONFIG_NAME, MessageId.CONFIG_TEXT, MessageId.QUERY, MessageId.CLOSE},
    _Awaits.HEADER: {MessageId.HEADER, MessageId.TEXT, MessageId.QUERY, MessageId.CLOSE},
    _Awaits.DATA: {MessageId.TEXT},  # anything else is of the stream
}


class Opening:
    """What a client says before its data: bytes in, answers out, and at the end the session that it asks for.

    FIRE clients count the NUL that ends a text, and may send a text of JSON after the header, which names another
    configuration and sets parameters. So the session opens with the first message after the header.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._awaits = _Awaits.CONFIG
        self._config = ""
        self._options: dict[str, str] = {}
        self._notes: list[str] = []
        self._n_said = 0
        self.header = b""
        """The header, once it came."""
        self.fire = False
        """Whether the client speaks FIRE's dialect."""
        self.complete = False
        """Whether data begins; `rest` are its first bytes."""
        self.closed = False
        """Whether the client closed without sending a header, as one that only asks something does."""
        self.rest = bytearray()

    @property
    def untouched(self) -> bool:
        """Whether nothing came at all."""
        return self._awaits is _Awaits.CONFIG and not self.rest

    @property
    def awaiting(self) -> str:
        """The words for a connection that ends here."""
        return self._awaits.value

    @property
    def request(self) -> dict[str, Any]:
        """The session that the client asks for."""
        config = self._config
        if config == "openrecon" and self._settings.openrecon:
            config = self._settings.openrecon
        return {"config": config, "parameters": {}, "options": self._options, "notes": self._notes}

    def feed(self, data: bytes | memoryview) -> list[Item]:
        """Take bytes as they came; gives what is to be answered.

        Raises:
            StreamError: at bytes that are not MRD.
            ProtocolError: at a message out of order.
        """
        self.rest += data
        answers: list[Item] = []
        while not self.complete and not self.closed and (item := self._next()) is not None:
            answers += self._handle(item)
        return answers

    def _next(self) -> Item | None:
        """The next message, or None where it is not whole or of the stream."""
        if len(self.rest) < ID_BYTES:
            return None
        (number,) = struct.unpack_from("<H", self.rest)
        if self._awaits is _Awaits.DATA and number != MessageId.TEXT:
            self.complete = True
            return None
        if number in list(MessageId) and number not in _ALLOWED[self._awaits]:
            raise ProtocolError(self._out_of_order(MessageId(number)))
        item, end = next(decode(memoryview(self.rest)), (None, 0))
        if isinstance(item, ConfigText | HeaderText | Text):
            counted = end > ID_BYTES + 4 and self.rest[end - 1] == 0  # not where only the length is 0
            self.fire = self.fire or counted
        del self.rest[:end]
        return item

    def _out_of_order(self, number: MessageId) -> str:
        name = number.name.lower().replace("_", " ")
        if number in (MessageId.CONFIG_NAME, MessageId.CONFIG_TEXT):
            return f"a second configuration came (message {number}); one is sent, then the header"
        return (
            f"message {number} ({name}) came {self._awaits.value}; send configuration (1 or 2), header (3), then data"
        )

    def _handle(self, item: Item) -> list[Item]:
        match item:
            case Query(correlation_id=number, key=key):
                return [Response(number, answer(key))]
            case ConfigName(name=config) | ConfigText(text=config):
                self._config = config.strip("\ufeff \t\r\n")
                if not self._config:
                    raise ProtocolError("the configuration is empty; send a chain's name or its XML")
                self._awaits = _Awaits.HEADER
            case HeaderText(xml=xml):
                self.header = self._checked(xml)
                self._awaits = _Awaits.DATA
            case Text(text=text) if self._awaits is _Awaits.DATA:
                self._take_parameters(text)
                self.complete = True
            case Text(text=text):
                note = f"the client says: {text}"
                self._notes.append(note)
                self._n_said += len(note)
                if self._n_said > MAX_TEXT:
                    raise ProtocolError(f"the texts before the header are longer than {MAX_TEXT}; send less")
            case Close():
                self.closed = True
                answered = answer_config(noise_store(self._settings), self._config)
                return [answered] if answered else []
        return []

    def _checked(self, xml: bytes) -> bytes:
        """The header; clients that have only images send words in its place."""
        xml = xml.removeprefix(codecs.BOM_UTF8).lstrip()
        if xml.startswith(_XML):
            return xml
        self._notes.append("warning: the header is not XML, so gadgets know nothing of the scan")
        return NO_HEADER

    def _take_parameters(self, text: str) -> None:
        """Read FIRE's text of JSON: another configuration, and parameters for its gadgets."""
        if len(text) > MAX_TEXT:
            raise ProtocolError(f"the text after the header is of {len(text)} characters; at most {MAX_TEXT} are read")
        try:
            values = {_as_text(name): _as_text(value) for name, value in json.loads(text)["parameters"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._notes.append("warning: the text after the header is not JSON with `parameters`, so changes nothing")
            return
        config, custom = values.pop("config", ""), values.pop("customconfig", "")
        self._config = custom or config or self._config
        self._options = {name: value for name, value in values.items() if value}  # empty means the default


def _as_text(value: Any) -> str:
    """A JSON value as a parameter's text; empty for none."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(_as_text, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()  # JSON can name halves of characters
