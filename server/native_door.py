"""The door of the native protocol: a ROUTER socket, one message after the other into the sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from echotrain.mrd.errors import EchotrainError, ProtocolError, SessionError, StorageError

from .loop import Loop
from .session import Send
from .sessions import Sessions, our_fault
from .wire import PROTOCOL_VERSION, Abort, Ack, Data, End, Error, Message, Open, pack, unpack

MESSAGES_PER_TURN = 64  # of clients, before workers are listened to again


class _Run:
    """Data messages of one session whose records follow on one another."""

    def __init__(self, identity: bytes, session: str, offset: int) -> None:
        self.identity = identity
        self.session = session
        self.offset = self.end = offset
        self.payloads: list[Any] = []

    def add(self, payload: Any) -> None:
        self.payloads.append(payload)
        self.end += len(payload)


class NativeDoor:
    """Serves the native protocol at an address."""

    def __init__(self, bind: str, sessions: Sessions, loop: Loop) -> None:
        """Bind.

        Raises:
            StorageError: where the address cannot be used.
        """
        self._sessions = sessions
        self._loop = loop
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a client that has gone shows
        self._router.setsockopt(zmq.SNDHWM, 0)  # what may be under way is bounded by credit and window
        self._router.setsockopt(zmq.LINGER, 1000)
        self._router.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        self._router.setsockopt(zmq.IPV6, "[" in bind)
        try:
            self._router.bind(bind)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise StorageError(
                f"cannot serve at {bind}: {error.strerror or error}; give --bind another address"
            ) from error
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._handlers: dict[type, Callable[[bytes, Any], None]] = {
            Open: self._open,
            End: self._end,
            Ack: self._ack,
            Abort: self._abort,
        }
        loop.watch(self._router, self._listen)

    def close(self) -> None:
        """Close, once what was said has been sent."""
        self._loop.forget(self._router)
        self._router.close()
        self._context.term()

    def _listen(self, _events: int) -> None:
        """Handle what has come; data that follows on one another is appended in one go."""
        run = _Run(b"", "", 0)
        for _ in range(MESSAGES_PER_TURN):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            identity, session_id = frames[0].bytes, ""
            try:
                if len(frames) < 2:
                    raise ProtocolError("a message has an envelope, and for data a payload")
                message = unpack(frames[1].buffer)
                session_id = getattr(message, "session", "")
                payload = frames[2].buffer if len(frames) > 2 else b""
                if isinstance(message, Data):
                    if (identity, message.session, message.offset) != (run.identity, run.session, run.end):
                        self._append(run)
                        run = _Run(identity, message.session, message.offset)
                    run.add(payload)
                    continue
                self._append(run)
                run = _Run(b"", "", 0)
                handler = self._handlers.get(type(message))
                if handler is None:
                    raise ProtocolError(f"a client does not send {type(message).__name__.lower()!r}")
                handler(identity, message)
            except Exception as error:
                self._refuse(identity, error, session_id)
        self._append(run)

    def _append(self, run: _Run) -> None:
        if not run.payloads:
            return
        try:
            session = self._sessions.find(run.session)
            try:
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
            self._router.send_multipart(frames, zmq.NOBLOCK, copy=len(payload) < 65536)
        except zmq.ZMQError:
            return False
        return True

    def _sender(self, identity: bytes) -> Send:
        return lambda message, payload: self._send(identity, message, payload)

    def _open(self, identity: bytes, message: Open) -> None:
        if message.protocol != PROTOCOL_VERSION:
            raise ProtocolError(f"this server speaks protocol version {PROTOCOL_VERSION}, not {message.protocol}")
        if message.session:
            self._sessions.resume(message.session, self._sender(identity))
            return
        if not message.config:
            raise ProtocolError("open names no configuration")
        request = {"config": message.config, "parameters": message.parameters, "label": message.label, "door": "native"}
        self._sessions.create(request, message.header, self._sender(identity))

    def _end(self, _identity: bytes, message: End) -> None:
        session = self._sessions.find(message.session)
        try:
            session.end(message.offset)
        except StorageError as error:
            session.fail(error)

    def _ack(self, _identity: bytes, message: Ack) -> None:
        try:
            self._sessions.find(message.session).acknowledge(message.offset)
        except SessionError:
            return  # one for a session that is over comes late, and means nothing

    def _abort(self, _identity: bytes, message: Abort) -> None:
        self._sessions.leave(self._sessions.find(message.session), "the client aborted")
