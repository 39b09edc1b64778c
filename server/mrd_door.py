"""The MRD door: Gadgetron's protocol over TCP, and FIRE's dialect of it; decodes the opening, then only appends."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections import deque

from echotrain.mrd import Acquisitions, Array, Close, Dicom, HeaderText, Image, Item, Text, Waveforms, decode, encode
from echotrain.mrd.errors import EchotrainError, ProtocolError, SessionError, StorageError

from .access import Access, Client
from .callers import Callers
from .fire import directed, levelled
from .loop import READ, WRITE, Loop
from .mrd_opening import Opening
from .session import Session
from .sessions import Sessions, log, our_fault
from .settings import Settings
from .wire import Done, Error, Message, Notice, Opened, Output

RECEIVED_AT_ONCE = 1 << 20
OPENING_AT_ONCE = 1 << 16  # of a client in its opening, which is decoded here
TURNS = 4  # of receiving from one client before the others are listened to
OUTPUT_WINDOW = 1 << 20  # read from the output log ahead of what the client took
PAUSE = 1.0  # [s] after the header until a session opens though no data came
_PIECES = 64  # sent with one system call


class MrdDoor:
    """Serves the MRD protocol at an address, `host:port`."""

    def __init__(self, settings: Settings, sessions: Sessions, access: Access, loop: Loop) -> None:
        """Bind.

        Raises:
            StorageError: where the address cannot be used.
            ConfigError: where the list of addresses that may come in holds what is none.
        """
        self.settings, self.sessions, self.access, self.loop = settings, sessions, access, loop
        self._callers = Callers(settings)
        self.buffer = memoryview(bytearray(RECEIVED_AT_ONCE))  # of all clients, since it is emptied at once
        self.clients: set[MrdClient] = set()
        host, _, port = settings.mrd.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            if not port.isdecimal() or int(port) > 65535:
                raise OSError("it is not HOST:PORT")
            self._listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
        except OSError as error:
            raise StorageError(
                f"cannot serve MRD at {settings.mrd!r}: {error.strerror or error}; give --mrd another HOST:PORT, or off"
            ) from error
        self._listener.setblocking(False)
        host, port = self._listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        loop.watch(self._listener.fileno(), self._accept)

    def look_around(self, now: float) -> None:
        """Notice clients that have stopped to send, or to read."""
        self.loop.watch(self._listener.fileno(), self._accept)
        for client in list(self.clients):
            client.look_after(now)

    def close(self) -> None:
        """Close every connection, with the words that wait to be sent."""
        self.loop.forget(self._listener.fileno())
        self._listener.close()
        for client in list(self.clients):
            client.stop()

    def _accept(self, _events: int) -> None:
        try:
            connection, (host, *_) = self._listener.accept()
        except OSError as error:  # the client is gone again; or there are no more descriptors, and some time must pass
            log.warning("a connection cannot be accepted: %s", error)
            self.loop.forget(self._listener.fileno())
            return
        if self._callers.lets_in(connection, host, [client.host for client in self.clients]):
            self.clients.add(MrdClient(self, connection, host))


class MrdClient:
    """One connection: an opening, then a session to whose log everything is appended."""

    def __init__(self, door: MrdDoor, connection: socket.socket, host: str) -> None:
        self._door, self._loop, self._settings = door, door.loop, door.settings
        self._socket, self.host = connection, host
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # shows when the client's machine is gone
        self._opening: Opening | None = Opening(door.settings)
        self._session: Session | None = None
        self._fire = False
        self._to_send: deque[tuple[memoryview, int]] = deque()  # pieces, and up to where they are the output log
        self._heard = self._sent = time.monotonic()
        self._deaf = False  # the client sends no more
        self._farewell = False  # all is said, though it may not be sent
        self._shut = False  # all is sent
        self._n_late = self._n_left_out = 0
        self._held_back = b""  # received, and without room on the disk; nothing more is received meanwhile
        self._watch()

    # -- from the client ------------------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self.flush()
            if events & ~WRITE and self._socket.fileno() >= 0:
                self._receive()
        except Exception as error:
            self._fail(error)

    def _receive(self) -> None:
        buffer = self._door.buffer[: OPENING_AT_ONCE if self._opening is not None else None]
        for _ in range(TURNS):
            try:
                size = self._socket.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lose("the client's connection broke")
                return
            if not size:
                self._hear_the_end()
                return
            self._heard = time.monotonic()
            self._take(buffer[:size])
            if self._held_back:
                self._watch()
                return
            if size < RECEIVED_AT_ONCE // 2:  # most likely nothing more is there
                return

    def _take(self, data: memoryview) -> None:
        if self._session is not None and (not self._farewell or self._keeps_input):
            self._append(data)
        elif self._opening is not None:
            for answer in self._opening.feed(data):
                self.say(answer)
            self._fire = self._opening.fire
            if self._opening.closed:
                self._part()
            elif self._opening.complete:
                self._open(self._opening)

    def _open(self, opening: Opening) -> None:
        """Start the session, with what came after the opening."""
        self._opening = None
        self._watch()
        label = f"{'FIRE' if self._fire else 'MRD'} client at {self.host}"
        request = {**opening.request, "door": "mrd", "label": label}
        self._session = self._door.access.create(Client(self.host), request, opening.header, self._from_session)
        self._session.output.window = OUTPUT_WINDOW
        if opening.rest:
            self._append(memoryview(opening.rest))
            self._watch()

    def _append(self, data: memoryview) -> None:
        assert self._session is not None
        self._check_attached()
        self._door.access.check_size(self._session, len(data))
        if self._session.input.ended:
            self._n_late += len(data)
        elif not self._session.append([data]):
            self._held_back = bytes(data)

    def _go_on(self) -> None:
        """Append what found no room, since there may be some now."""
        data, self._held_back = self._held_back, b""
        try:
            self._append(memoryview(data))
        except Exception as error:
            self._fail(error)
        self._watch()

    def _hear_the_end(self) -> None:
        """The client sends no more; it may still read."""
        self._deaf = True
        if self._shut or (self._opening is not None and self._opening.untouched):
            self.drop()
            return
        self._watch()
        if self._opening is not None:
            raise ProtocolError(f"the connection ended {self._opening.awaiting}")
        self._end_input("the client ended its side of the connection without CLOSE")

    def _end_input(self, reason: str) -> None:
        """Close the input where the client did not, so that the chain gives what it can of what came."""
        session = self._session
        if session is None or session.over or session.input.ended:
            return
        session.cut_off(reason)

    # -- to the client --------------------------------------------------------------------------------------------

    def _from_session(self, message: Message, payload: bytes) -> bool:
        """Take what the session says; False once the connection is gone."""
        if self._socket.fileno() < 0:
            return False
        match message:
            case Output(offset=offset):
                self._send_output(offset, payload)
            case Opened() if self._held_back:
                self._go_on()
            case Notice(message=words):
                self.say(Text(f"warning: {words}"))
            case Error(session=session, message=words, gadget=gadget):
                self._tell_rest()
                self.say(Text(f"error: {gadget + ': ' if gadget else ''}{words} (session {session})"))
                self._part()
            case Done():
                self._farewell = True  # the log's own CLOSE went before
                self._watch()
        return True

    def _send_output(self, offset: int, payload: bytes) -> None:
        """Queue records of the output log, but for those that clients of this protocol cannot take."""
        view, start = memoryview(payload), 0
        for item, end in decode(view, base=offset):
            if isinstance(item, Image) and self._fire and "ImageRowDir" not in item.meta:
                self.say(directed(item))
            elif isinstance(item, (Image, Acquisitions)):
                self._queue(view[start:end])
            elif isinstance(item, Text):
                self.say(item)
            elif isinstance(item, Close):
                self._tell_rest()
                self.say(item)
            elif isinstance(item, Waveforms) or (self._fire and isinstance(item, (Array, Dicom))):
                self._n_left_out += 1
            elif not isinstance(item, HeaderText):
                self._queue(view[start:end])
            start = end
        self._queue(view[:0], offset + len(payload))

    def say(self, item: Item) -> None:
        """Queue an item, a text in the form of the client's dialect."""
        if isinstance(item, Text):
            item = Text(levelled(item.text) if self._fire else f"{item.text}\n")
        self._queue(memoryview(encode(item)))

    def _tell_rest(self) -> None:
        """Say what was received or made and went no further."""
        if self._n_late:
            self.say(Text(f"warning: {self._n_late} bytes came after the end of the input, and mean nothing"))
        if self._n_left_out:
            self.say(Text(f"{self._n_left_out} batches of waveforms and other items stay in the log"))
        self._n_late = self._n_left_out = 0

    def _queue(self, piece: memoryview, end: int = 0) -> None:
        if not self._to_send:
            self._sent = time.monotonic()
        self._to_send.append((piece, end))
        self._watch()

    def flush(self) -> None:
        """Send what the connection takes."""
        while self._to_send:
            pieces = [piece for piece, _ in itertools.islice(self._to_send, _PIECES)]
            try:
                size = self._socket.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lose("the client's connection broke")
                return
            self._sent = time.monotonic()
            acknowledged = 0
            while self._to_send and size >= len(self._to_send[0][0]):
                piece, end = self._to_send.popleft()
                size -= len(piece)
                acknowledged = max(acknowledged, end)
            if size:
                self._to_send[0] = (self._to_send[0][0][size:], self._to_send[0][1])
            if acknowledged and self._session is not None and self._attached:
                self._session.acknowledge(acknowledged)  # which may queue more
        if self._farewell and not self._shut:
            self._shut = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            if self._deaf:
                self.drop()
                return
        self._watch()

    # -- the end --------------------------------------------------------------------------------------------------

    def look_after(self, now: float) -> None:
        """Notice that the client has stopped to send, or to read."""
        idle = self._settings.idle
        try:
            self._check_attached()
            if self._held_back:
                if not self._gone():
                    self._heard = now
                elif now - self._heard > self._settings.patience:
                    self._lose("the client's connection broke while the disk was full")
            elif self._shut:
                if now - max(self._sent, self._heard) > (idle if self._keeps_input else self._settings.patience):
                    self.drop()
            elif self._to_send:
                if now - self._sent > idle:
                    self._lose(f"the client took nothing for {idle:g} s")
            elif self._opening is not None:
                if self._opening.header and not self._opening.fire and now - self._heard > PAUSE:
                    self._open(self._opening)
                elif now - self._heard > idle:
                    raise ProtocolError(f"nothing came for {idle:g} s {self._opening.awaiting}")
            elif now - self._heard > idle:
                self._end_input(f"nothing came for {idle:g} s")
        except Exception as error:
            self._fail(error)

    def _gone(self) -> bool:
        """Whether the connection is broken, which does not show while nothing is received."""
        state = select.poll()
        state.register(self._socket, 0)
        return bool(state.poll(0))

    def stop(self) -> None:
        """Close the connection now, with the words that wait to be sent."""
        if not self._farewell:
            self._fail(SessionError("the server stops"))
        self.flush()
        self.drop()

    @property
    def _attached(self) -> bool:
        """Whether this is the client of its session still."""
        return self._session is not None and self._session.send == self._from_session

    @property
    def _keeps_input(self) -> bool:
        """Whether what the client sends is kept, though its chain may have failed."""
        return self._session is not None and self._attached and self._session.keeps_input

    def _check_attached(self) -> None:
        """Let go of a session that goes on without this client.

        Raises:
            SessionError: where it does, to be told.
        """
        if self._session is not None and not self._farewell and not self._attached:
            left, self._session = self._session, None
            raise SessionError(f"session {left.id} was ended, or taken up, by another client")

    def _fail(self, error: Exception) -> None:
        """Tell the client of an error and end its session."""
        told = error if isinstance(error, EchotrainError) else our_fault(error)
        if self._session is None:
            self.say(Text(f"error: {told}"))
            self._part()
        elif self._session.over:
            self.drop()
        else:
            self._session.fail(told)

    def _part(self) -> None:
        """Close once all is sent; what the client still sends is received, so that it is not cut off."""
        self._opening = None
        if not self._keeps_input:
            self._held_back = b""
        self._farewell = True
        self.say(Close())

    def _lose(self, reason: str) -> None:
        """Go on without the client, whose connection is of no use any more."""
        self._end_input(reason)
        self.drop()

    def drop(self) -> None:
        """Let go of the connection."""
        self._door.clients.discard(self)
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _watch(self) -> None:
        if self._socket.fileno() >= 0:
            asking = self._opening is not None and self._to_send  # who asks takes the answers before asking more
            reads = 0 if self._deaf or asking or self._held_back else READ
            writes = WRITE if self._to_send or (self._farewell and not self._shut) else 0
            self._loop.watch(self._socket.fileno(), self._ready, reads | writes)
