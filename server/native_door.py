"""The door of the native protocol: a ROUTER socket, one message after the other into the sessions."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from echotrain.mrd.errors import EchotrainError, PeerError, ProtocolError, SessionError, StorageError

from .access import Access, Client
from .curve import Doorkeeper
from .keys import KeyFolder
from .loop import Loop
from .session import Send, Session
from .sessions import Sessions, our_fault
from .settings import Settings
from .wire import PROTOCOL_VERSION, Abort, Ack, Data, End, Error, Message, Open, pack, unpack

MOST_MESSAGES = 10_000  # that a client may leave untaken; with more it counts as gone. Its output is fewer
MOST_UNDER_WAY = 256 << 20  # [bytes] of output that it may leave untaken, as by asking for it over and over
TRACKED_FROM = 4096  # [bytes]; smaller payloads are bounded by their number
MESSAGES_PER_TURN = 64  # of clients, before workers are listened to again
LARGEST_MESSAGE = 256 << 20  # [bytes]; who sends a larger one is cut off before it fills the memory
LARGEST_ENVELOPE = 16 << 20  # [bytes]; all of it is decoded here, and a header is on disk before its session is refused
NOBODY = Client("")


class _Run:
    """Data messages of one session whose records follow on one another."""

    def __init__(self, identity: bytes, client: Client, session: str, offset: int) -> None:
        self.identity = identity
        self.client = client
        self.session = session
        self.offset = self.end = offset
        self.payloads: list[Any] = []

    def add(self, payload: Any) -> None:
        self.payloads.append(payload)
        self.end += len(payload)


class NativeDoor:
    """Serves the native protocol at an address."""

    def __init__(self, settings: Settings, sessions: Sessions, access: Access, loop: Loop) -> None:
        """Bind.

        Raises:
            StorageError: where the address cannot be used.
            ConfigError: where keys are wanted and the server's own cannot be read.
        """
        bind = settings.bind
        self._sessions = sessions
        self._access = access
        self._loop = loop
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a client that has gone shows
        self._router.setsockopt(zmq.SNDHWM, MOST_MESSAGES)
        self._under_way: defaultdict[bytes, deque[tuple[zmq.MessageTracker, int]]] = defaultdict(deque)
        self._router.setsockopt(zmq.LINGER, 1000)
        self._router.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        self._router.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        self._router.setsockopt(zmq.IPV6, "[" in bind)
        self._doorkeeper: Doorkeeper | None = None
        try:
            if settings.keys is not None:
                self._doorkeeper = Doorkeeper(KeyFolder(settings.keys), self._context, loop)
                self._doorkeeper.guard(self._router)
            self._router.bind(bind)
        except EchotrainError:
            self._context.destroy(linger=0)
            raise
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise StorageError(
                f"cannot serve at {bind}: {error.strerror or error}; give --bind another address"
            ) from error
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._bound = True
        self._handlers: dict[type, Callable[[bytes, Client, Any], None]] = {
            Open: self._open,
            End: self._end,
            Ack: self._ack,
            Abort: self._abort,
        }
        loop.watch(self._router, self._listen)

    def look_around(self) -> None:
        """Notice keys that were made, revoked or replaced, and forget who took all."""
        for identity in [identity for identity in self._under_way if not self._size_under_way(identity)]:
            del self._under_way[identity]
        if self._doorkeeper and self._doorkeeper.look_around():
            self._doorkeeper.guard(self._router)
            if self._bound:
                self._router.unbind(self.address)  # with all connections, since ZeroMQ keeps none under another key
            self._bound = False
        if not self._bound:
            with contextlib.suppress(zmq.ZMQError):  # the port may be free a little later only
                self._router.bind(self.address)
                self._bound = True

    def close(self) -> None:
        """Close, once what was said has been sent."""
        self._loop.forget(self._router)
        self._router.close()
        if self._doorkeeper:
            self._doorkeeper.close()
        self._context.term()

    def _listen(self, _events: int) -> None:
        """Handle what has come; data that follows on one another is appended in one go."""
        run = _Run(b"", NOBODY, "", 0)
        for _ in range(MESSAGES_PER_TURN):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            identity, session_id = frames[0].bytes, ""
            try:
                if len(frames) < 2:
                    raise ProtocolError("a message has an envelope, and for data a payload")
                if len(frames[1]) > LARGEST_ENVELOPE:
                    raise ProtocolError(
                        f"an envelope has {LARGEST_ENVELOPE} bytes at most, not {len(frames[1])}; make the header, the "
                        "configuration, or the parameters shorter"
                    )
                client = self._client(frames[1])
                message = unpack(frames[1].buffer)
                session_id = getattr(message, "session", "")
                payload = frames[2].buffer if len(frames) > 2 else b""
                if isinstance(message, Data):
                    here = (identity, client, message.session, message.offset)
                    if here != (run.identity, run.client, run.session, run.end):
                        self._append(run)
                        run = _Run(*here)
                    run.add(payload)
                    continue
                self._append(run)
                run = _Run(b"", NOBODY, "", 0)
                handler = self._handlers.get(type(message))
                if handler is None:
                    raise ProtocolError(f"a client does not send {type(message).__name__.lower()!r}")
                handler(identity, client, message)
            except Exception as error:
                self._refuse(identity, error, session_id)
        self._append(run)

    def _append(self, run: _Run) -> None:
        if not run.payloads:
            return
        try:
            session = self._find(run.session, run.client)
            try:
                self._access.check_size(session, run.end - session.input.held)
                session.receive(run.offset, run.payloads)
            except StorageError as error:
                session.fail(error)
        except Exception as error:
            self._refuse(run.identity, error, run.session)

    def _refuse(self, identity: bytes, error: Exception, session_id: str) -> None:
        """Tell a client what is wrong with its message; whatever that is, the others go on."""
        told = error if isinstance(error, EchotrainError) else our_fault(error)
        self._send(identity, Error.of(told, session_id), b"")

    def _send(self, identity: bytes, message: Message, payload: bytes) -> bool:
        frames = [identity, pack(message), payload] if payload else [identity, pack(message)]
        try:
            if len(payload) < TRACKED_FROM:
                self._router.send_multipart(frames, zmq.NOBLOCK)
                return True
            if self._size_under_way(identity) > MOST_UNDER_WAY:
                return False
            tracker = self._router.send_multipart(frames, zmq.NOBLOCK, copy=False, track=True)
        except zmq.ZMQError:
            return False
        if tracker is not None:
            self._under_way[identity].append((tracker, len(payload)))
        return True

    def _size_under_way(self, identity: bytes) -> int:
        """How much output a client was sent that has not left this process [bytes]."""
        under_way = self._under_way[identity]
        while under_way and under_way[0][0].done:
            under_way.popleft()
        return sum(size for _, size in under_way)

    def _sender(self, identity: bytes, client: Client) -> Send:
        return lambda message, payload: self._lets_in(client) and self._send(identity, message, payload)

    def _lets_in(self, client: Client) -> bool:
        return self._doorkeeper is None or self._doorkeeper.name(client.public_key) is not None

    def _client(self, frame: zmq.Frame) -> Client:
        """Who sent a message, as ZeroMQ vouches for.

        Raises:
            PeerError: where the client's key was revoked after it came in.
        """
        client = Client(_property(frame, "Peer-Address"))
        if self._doorkeeper is None:
            return client
        public_key = _property(frame, "User-Id")
        name = self._doorkeeper.name(public_key)
        if name is None:
            raise PeerError("the key of this client was revoked; ask who runs the server for another")
        return Client(client.address, name, public_key)

    def _find(self, session_id: str, client: Client) -> Session:
        """The running session of this id.

        Raises:
            SessionError: where none is, or it is another client's.
        """
        session = self._sessions.find(session_id)
        self._access.check(session, client)
        return session

    def _open(self, identity: bytes, client: Client, message: Open) -> None:
        if message.protocol != PROTOCOL_VERSION:
            raise ProtocolError(f"this server speaks protocol version {PROTOCOL_VERSION}, not {message.protocol}")
        send = self._sender(identity, client)
        if message.session:
            resume = partial(self._sessions.resume, message.session, send, message.received)
            self._access.open(client, resume, message.session)
            return
        if not message.config:
            raise ProtocolError("open names no configuration")
        request = {"config": message.config, "parameters": message.parameters, "label": message.label, "door": "native"}
        self._access.create(client, request, message.header, send)

    def _end(self, _identity: bytes, client: Client, message: End) -> None:
        session = self._find(message.session, client)
        try:
            session.end(message.offset)
        except StorageError as error:
            session.fail(error)

    def _ack(self, _identity: bytes, client: Client, message: Ack) -> None:
        try:
            session = self._sessions.find(message.session)
        except SessionError:
            return  # one for a session that is over comes late, and means nothing
        self._access.check(session, client)
        session.acknowledge(message.offset)

    def _abort(self, _identity: bytes, client: Client, message: Abort) -> None:
        self._sessions.leave(self._find(message.session, client), "the client aborted")


def _property(frame: zmq.Frame, name: str) -> str:
    """What ZeroMQ knows of the connection that a frame came by; empty where it knows nothing, as of local sockets."""
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""
