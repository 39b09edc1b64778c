"""One scan as its client sees it: the native protocol without a socket.

Messages come in through `receive` and go out through `outgoing`; the sync and async clients only carry them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from echotrain.mrd import Close, HeaderText, Item, Text, decode, encode
from echotrain.mrd.errors import EchotrainError, ProtocolError, error_from_code
from echotrain.server.wire import (
    Abort,
    Ack,
    Credit,
    Data,
    Done,
    End,
    Error,
    Message,
    Notice,
    Open,
    Opened,
    Output,
    pack,
    unpack,
)

Frames = list[Any]


class ScanProtocol:
    """The state of one session."""

    def __init__(
        self,
        config: str,
        header: bytes,
        parameters: Mapping[str, str] | None = None,
        label: str = "",
        session: str = "",
    ) -> None:
        self.session = session
        self.opened = False
        self.offset = 0
        """Where in the input log the next record goes [bytes]."""
        self.credit = -1
        self.done = False
        self.statistics: dict[str, Any] = {}
        self.error: EchotrainError | None = None
        self.items: deque[tuple[Item, int]] = deque()
        """What has come and was not yet taken, with where it ends in the output log, to acknowledge once it is."""
        self._received = 0
        self._rest = b""  # of a record that has not come whole
        values = {name: str(value) for name, value in (parameters or {}).items()}
        self.outgoing: deque[Frames] = deque()
        """Frames to send, first to last."""
        self._say(Open(config=config, header=header, parameters=values, label=label, session=session))

    @property
    def may_send(self) -> bool:
        """Whether the server has room for more."""
        return self.opened and self.offset < self.credit

    def send(self, item: Item | bytes | bytearray | memoryview) -> None:
        """Hand over lines (a batch of any length), waveforms, images, or records encoded already."""
        payload = item if isinstance(item, bytes | bytearray | memoryview) else encode(item)
        self._say(Data(self.session, self.offset, 0), payload)
        self.offset += len(payload)

    def end(self) -> None:
        """Say that the scan is over."""
        self._say(End(self.session, self.offset))

    def abort(self) -> None:
        """Say that nothing more is wanted."""
        self._say(Abort(self.session))

    def receive(self, frames: Frames) -> None:
        """Take a message of the server.

        Raises:
            EchotrainError: what the server reports.
        """
        message = unpack(frames[0])
        match message:
            case Opened():
                self.session, self.offset, self.opened = message.session, message.offset, True
                self.credit = message.credit
            case Credit():
                self.credit = max(self.credit, message.credit)
            case Output():
                self._take(message.offset, frames[1])
            case Done():
                self.done, self.statistics = True, message.statistics
            case Notice():
                self.items.append((Text(f"warning: {message.message}"), 0))
            case Error():
                self.error = error_from_code(
                    message.code, message.message, gadget=message.gadget, detail=message.detail
                )
                raise self.error
            case _:
                raise ProtocolError(f"a server does not send {type(message).__name__.lower()!r}")

    def take(self) -> Item:
        """The oldest item that has come; the server may then send more."""
        item, end = self.items.popleft()
        self._say(Ack(self.session, end))
        return item

    def _take(self, offset: int, payload: bytes) -> None:
        """Decode what is new in output that begins at `offset`; a server that went on may send some of it again."""
        new = memoryview(payload)[max(0, self._received - offset) :]
        self._received = max(self._received, offset + len(payload))
        data = memoryview(self._rest + new if self._rest else new)
        start = self._received - len(data)
        end = 0
        for item, end in decode(data, base=start):
            if not isinstance(item, HeaderText | Close):
                self.items.append((item, start + end))
            elif self.items:  # what needs no taking counts as taken with what came before it
                self.items[-1] = self.items[-1][0], start + end
        self._rest = bytes(data[end:])
        if not self.items:
            self._say(Ack(self.session, start + end))

    def _say(self, message: Message, payload: Any = None) -> None:
        self.outgoing.append([pack(message)] if payload is None else [pack(message), payload])
