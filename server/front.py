"""The front door: one lean loop that accepts, appends, wakes workers and sends output on; no reconstruction in it."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from echotrain.mrd.errors import EchotrainError, ProtocolError, SessionError, StorageError

from .folder import create_session, find_session
from .pool import Worker, WorkerPool
from .session import Session
from .settings import Settings
from .wire import PROTOCOL_VERSION, Abort, Ack, Data, End, Error, Message, Open, pack, unpack

MESSAGES_PER_TURN = 64  # of clients, before workers are listened to again
TICK = 1.0  # [s] between looks at who has gone


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


class Front:
    """Serves the native protocol on a ROUTER socket until `stop` is called."""

    def __init__(self, settings: Settings) -> None:
        """Bind.

        Raises:
            StorageError: where the address cannot be used, or the sessions' folder not be made.
        """
        self.settings = settings
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a client that has gone shows
        self._router.setsockopt(zmq.SNDHWM, 0)  # what may be under way is bounded by credit and window
        self._router.setsockopt(zmq.LINGER, 1000)
        self._router.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        try:
            settings.sessions.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._router.bind(settings.bind)
        except (OSError, zmq.ZMQError) as error:
            self._context.destroy(linger=0)
            raise StorageError(
                f"cannot serve at {settings.bind} with sessions in {settings.sessions}: {error.strerror or error}"
            ) from error
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stopping = False
        self._pool = WorkerPool(settings)
        self._sessions: dict[str, Session] = {}
        self._pending: deque[Session] = deque()
        self._by_worker: dict[int, Session] = {}
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._pool.fileno(), zmq.POLLIN)
        self._handlers: dict[type, Callable[[bytes, Any], None]] = {
            Open: self._open,
            End: self._end,
            Ack: self._ack,
            Abort: self._abort,
        }

    def wait_until_warm(self) -> None:
        """Wait for the first worker to stand ready."""
        self._poller.poll()

    def stop(self) -> None:
        """End `serve`; a signal handler may call this."""
        if not self._stopping:  # told again, it may be closing the pool
            self._stopping = True
            self._pool.wake()

    def serve(self) -> None:
        """Serve until `stop` is called."""
        looked = time.monotonic()
        while not self._stopping:
            for source, _ in self._poller.poll(int(1000 * TICK)):
                if source is self._router:
                    self._listen_to_clients()
                elif source == self._pool.fileno():
                    self._pool.acknowledge()
                    self._assign()
                elif source in self._by_worker:
                    self._listen_to_worker(source)
            if time.monotonic() - looked > TICK:
                looked = time.monotonic()
                self._look_around(looked)

    def close(self) -> None:
        """Let go of everything; sessions that run are left on disk as they are."""
        for session in self._sessions.values():
            session.leave("the server stopped")
            if not session.told:
                session.tell(Error(session.id, SessionError.code, "the server stops; the session is kept"))
        self._pool.close()
        self._router.close()
        self._context.term()

    # -- clients --------------------------------------------------------------------------------------------------

    def _listen_to_clients(self) -> None:
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
            session = self._find(run.session)
            try:
                session.receive(run.offset, run.payloads)
            except StorageError as error:
                session.fail(error)
        except Exception as error:
            self._refuse(run.identity, error, run.session)

    def _refuse(self, identity: bytes, error: Exception, session_id: str) -> None:
        """Tell a client what is wrong with its message; whatever that is, the others go on."""
        told = error if isinstance(error, EchotrainError) else _our_fault(error)
        self._send(identity, Error.of(told, session_id), b"")

    def _send(self, identity: bytes, message: Message, payload: bytes) -> bool:
        frames = [identity, pack(message), payload] if payload else [identity, pack(message)]
        try:
            self._router.send_multipart(frames, zmq.NOBLOCK, copy=len(payload) < 65536)
        except zmq.ZMQError:
            return False
        return True

    def _sender(self, identity: bytes) -> Callable[[Message, bytes], bool]:
        return lambda message, payload: self._send(identity, message, payload)

    def _find(self, session_id: str) -> Session:
        if session_id not in self._sessions:
            raise SessionError(f"no session {session_id[:60]!r} runs here; open it again to go on")
        return self._sessions[session_id]

    def _open(self, identity: bytes, message: Open) -> None:
        if message.protocol != PROTOCOL_VERSION:
            raise ProtocolError(f"this server speaks protocol version {PROTOCOL_VERSION}, not {message.protocol}")
        send = self._sender(identity)
        if message.session in self._sessions:
            session = self._sessions[message.session]
            if not session.settled:
                session.attach(send)
                return
            self._leave(session, "")  # who has everything and asks again wants it made again
        if message.session:
            folder = find_session(self.settings.sessions, message.session)
        else:
            if not message.config:
                raise ProtocolError("open names no configuration")
            request = {"config": message.config, "parameters": message.parameters, "label": message.label}
            folder = create_session(self.settings.sessions, request, message.header)
        session = Session(folder, self.settings, send)
        folder.write_event("opened", held=session.held)
        self._sessions[session.id] = session
        self._pending.append(session)
        self._assign()

    def _end(self, _identity: bytes, message: End) -> None:
        session = self._find(message.session)
        try:
            session.end(message.offset)
        except StorageError as error:
            session.fail(error)

    def _ack(self, _identity: bytes, message: Ack) -> None:
        if message.session in self._sessions:  # one for a session that is over comes late, and means nothing
            self._sessions[message.session].acknowledge(message.offset)

    def _abort(self, _identity: bytes, message: Abort) -> None:
        self._leave(self._find(message.session), "the client aborted")

    # -- workers --------------------------------------------------------------------------------------------------

    def _assign(self) -> None:
        """Give sessions that wait for a worker those that stand ready."""
        while self._pending:
            session = self._pending[0]
            try:
                worker = self._pool.take()
            except EchotrainError as error:
                self._pending.popleft().fail(error)
                continue
            if worker is None:
                return
            self._pending.popleft()
            self._by_worker[worker.fileno()] = session
            self._poller.register(worker.fileno(), zmq.POLLIN)
            session.start(worker, self._forget_worker)

    def _listen_to_worker(self, source: int) -> None:
        session = self._by_worker[source]
        worker = session.worker
        try:
            while worker is not None and worker is session.worker and worker.has_message():
                session.listen()
        except Exception as error:
            session.fail(_our_fault(error))

    def _forget_worker(self, worker: Worker) -> None:
        del self._by_worker[worker.fileno()]
        self._poller.unregister(worker.fileno())

    # -- who has gone ---------------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        for session in list(self._sessions.values()):
            if session.settled:
                self._leave(session, "")
            elif session.send is None and now - session.quiet_since > self.settings.patience:
                self._leave(session, "the client went away and did not come back")
            else:
                session.look_after()
                session.remind()

    def _leave(self, session: Session, reason: str) -> None:
        if session in self._pending:
            self._pending.remove(session)
        session.leave(reason)
        del self._sessions[session.id]


def _our_fault(error: Exception) -> EchotrainError:
    """An error that should not be, as one that can be told; it ends one session and not the server."""
    traceback.print_exception(error)
    detail = "".join(traceback.format_exception(error))
    return EchotrainError(
        f"the server made a mistake, {type(error).__name__}: {error}; please report it", detail=detail
    )
