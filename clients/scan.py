"""One scan as its client sees it: the native protocol without a socket.

Messages come in through `receive` and go out through `outgoing`; the sync and async clients only carry them. What the
server does not hold yet is kept, so that it can be said again: no more than the server gave credit for, and a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from echotrain.mrd import Close, HeaderText, Item, Text, decode, encode
from echotrain.mrd.errors import BusyError, EchotrainError, ProtocolError, SessionError, error_from_code
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
Payload = bytes | memoryview
LARGEST_PIECE = 16 << 20  # [bytes]; what is larger goes in several messages, be it in the midst of a record
MOST_REFUSALS = 10  # after which to open again will not help either


class ScanProtocol:
    """The state of one session."""

    def __init__(
        self,
        config: str,
        header: bytes,
        parameters: Mapping[str, str] | None = None,
        label: str = "",
        session: str = "",
        *,
        goes_on: bool = False,
    ) -> None:
        """Open a session, or go on with `session`; `goes_on` where one that the server let go of is opened again."""
        self.session = session
        self.opened = False
        """Whether the server takes data at this moment."""
        self.lost = False
        """Whether the server does not run the session at this moment, and `reopen` is to be called."""
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
        self._goes_on, self._begun = goes_on, False
        self._to_say: deque[tuple[int, Payload]] = deque()  # offsets and payloads, which wait for credit
        self._said: deque[tuple[int, Payload]] = deque()  # those that were sent and which the server does not hold yet
        self._ended = self._end_said = False
        self._refusals = 0  # of messages, since the server took data last
        values = {name: str(value) for name, value in (parameters or {}).items()}
        self.outgoing: deque[Frames] = deque()
        """Frames to send, first to last."""
        self._say(Open(config=config, header=header, parameters=values, label=label, session=session))

    @property
    def may_send(self) -> bool:
        """Whether the server has room for more."""
        return self.opened and self.offset < self.credit

    @property
    def waits(self) -> bool:
        """Whether the server has something to say still, which it shows each second."""
        return self.opened and not (self.done or self.error)

    def send(self, item: Item | bytes | bytearray | memoryview) -> None:
        """Hand over lines (a batch of any length), waveforms, images, or records encoded already."""
        if isinstance(item, bytearray):
            item = bytes(item)  # which may change before it is said again
        payload = item if isinstance(item, bytes | memoryview) else encode(item)
        if len(payload) <= LARGEST_PIECE:  # as nearly always
            self._to_say.append((self.offset, payload))
        else:
            view = memoryview(payload)
            for start in range(0, len(view), LARGEST_PIECE):
                self._to_say.append((self.offset + start, view[start : start + LARGEST_PIECE]))
        self.offset += len(payload)
        self._say_data()

    def end(self) -> None:
        """Say that the scan is over."""
        self._ended = True
        self._say_data()

    def abort(self) -> None:
        """Say that nothing more is wanted."""
        self._say(Abort(self.session))

    def reopen(self) -> None:
        """Ask to go on with the session, on a new connection: nothing that was on its way before arrives."""
        self.opened = self.lost = False
        self.outgoing.clear()
        self._say(Open(session=self.session, received=self._received))

    def note_gap(self, seconds: float) -> None:
        """Tell whoever takes the items that the session went on after so long."""
        self.items.append((Text(f"warning: the connection to the server was lost; went on after {seconds:.1f} s"), 0))

    def receive(self, frames: Frames) -> None:
        """Take a message of the server.

        Raises:
            EchotrainError: what the server reports.
        """
        if self.done or self.lost:  # what an old connection still brings means nothing
            return
        message = unpack(frames[0])
        match message:
            case Opened():
                self._open(message)
            case Credit():
                self.credit = max(self.credit, message.credit)
                self._forget(message.offset)
                self._say_data()
            case Output():
                self._take(message.offset, frames[1])
            case Done():
                self.done, self.statistics = True, message.statistics
            case Notice():
                self.items.append((Text(f"warning: {message.message}"), 0))
            case Error():
                error = error_from_code(message.code, message.message, gadget=message.gadget, detail=message.detail)
                self._take_error(error)
            case _:
                raise ProtocolError(f"a server does not send {type(message).__name__.lower()!r}")

    def take(self) -> Item:
        """The oldest item that has come; the server may then send more."""
        item, end = self.items.popleft()
        self._say(Ack(self.session, end))
        return item

    def _open(self, message: Opened) -> None:
        """Begin, or begin again, where the server says; what it holds already is not sent."""
        self.session, self.credit, self.opened = message.session, message.credit, True
        if not self._begun:
            self.offset, self._begun = message.offset, True
        self._to_say.extendleft(reversed(self._said))
        self._said.clear()
        first = self._to_say[0][0] if self._to_say else self.offset
        if message.offset < first:
            self._fail(ProtocolError(f"the server lost bytes {message.offset} to {first} of the scan, which it had"))
        self._end_said = message.offset > self.offset  # its log holds the record that ends it
        if self._end_said and not self._ended:
            self._fail(ProtocolError(f"another client went on with session {self.session}, to byte {message.offset}"))
        while self._to_say and self._to_say[0][0] < message.offset:
            start, payload = self._to_say.popleft()
            if rest := memoryview(payload)[message.offset - start :]:
                self._to_say.appendleft((message.offset, rest))
        self._say_data()

    def _take_error(self, error: EchotrainError) -> None:
        """Raise an error of the server, but for those after which the session can be opened again.

        Data is refused where what came before it was lost with a connection that ZeroMQ has renewed by itself.
        """
        passing = (SessionError, ProtocolError) if self.opened else BusyError
        self._refusals += isinstance(error, ProtocolError)
        if self._goes_on and self._begun and isinstance(error, passing) and self._refusals <= MOST_REFUSALS:
            self.opened, self.lost = False, True
        else:
            self._fail(error)

    def _fail(self, error: EchotrainError) -> None:
        self.error = error
        raise error

    def _say_data(self) -> None:
        """Say what the server has room for, once it listens."""
        if not self.opened:
            return
        while self._to_say and self._to_say[0][0] < self.credit:
            offset, payload = piece = self._to_say.popleft()
            self._said.append(piece)
            self._say(Data(self.session, offset, 0), payload)
        if self._ended and not (self._to_say or self._end_said):
            self._end_said = True
            self._say(End(self.session, self.offset))

    def _forget(self, held: int) -> None:
        """Let go of what the server holds."""
        while self._said and self._said[0][0] + len(self._said[0][1]) <= held:
            self._said.popleft()
            self._refusals = 0

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
