"""The sessions that run, with the workers that they run in; the same for every door."""

from __future__ import annotations

import functools
import logging
import traceback
from collections import deque
from typing import Any

from echotrain.mrd.errors import EchotrainError, SessionError

from .disk import Disk
from .folder import create_session, find_session
from .loop import Loop
from .pool import Worker, WorkerPool
from .session import Send, Session
from .settings import Settings
from .wire import Error

log = logging.getLogger(__name__)


class Sessions:
    """Starts sessions, finds them by id, gives each a worker, and lets go of those that are over."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self._settings = settings
        self._loop = loop
        self._disk = Disk(settings, loop)
        self._running: dict[str, Session] = {}
        self._waiting: deque[Session] = deque()  # for a worker

    def start(self) -> None:
        """Start the workers that stand ready, once all doors are open."""
        self._pool = WorkerPool(self._settings)
        self._loop.watch(self._pool.fileno(), self._take_workers)

    def wake(self) -> None:
        """Make the loop turn; a signal handler may call this."""
        self._pool.wake()

    def create(self, request: dict[str, Any], header: bytes, send: Send) -> Session:
        """A new session for a client that `send` reaches; `request` is what it asked for.

        Raises:
            StorageError: where its folder cannot be written.
        """
        self._disk.check_room()
        folder = create_session(self._settings.sessions, request, header)
        return self._run(Session(folder, self._settings, send, self._disk))

    def resume(self, session_id: str, send: Send) -> Session:
        """The session of this id, running or taken up from disk, with a client that came back.

        Raises:
            SessionError: where there is none.
        """
        running = self._running.get(session_id)
        if running is not None:
            if not running.settled:
                running.attach(send)
                return running
            self.leave(running)  # who has everything and asks again wants it made again
        return self._run(Session(find_session(self._settings.sessions, session_id), self._settings, send, self._disk))

    def ids(self) -> frozenset[str]:
        """Those of all sessions that a client or a worker may be busy with."""
        return frozenset(self._running)

    def find(self, session_id: str) -> Session:
        """The running session of this id.

        Raises:
            SessionError: where none is.
        """
        if session_id not in self._running:
            raise SessionError(f"no session {session_id[:60]!r} runs here; open it again to go on")
        return self._running[session_id]

    def leave(self, session: Session, reason: str = "") -> None:
        """Let go of a session and its worker; its folder stays."""
        if session in self._waiting:
            self._waiting.remove(session)
        session.leave(reason)
        del self._running[session.id]

    def look_around(self, now: float) -> None:
        """Let go of sessions that are over or whose client has gone, and notice workers and clients that have."""
        self._disk.look_again()
        for session in list(self._running.values()):
            at_work = session.input.ended and not session.over  # which ends by itself, whoever waits for it
            if session.settled:
                self.leave(session)
            elif session.send is None and not at_work and now - session.quiet_since > self._settings.patience:
                self.leave(session, "the client went away and did not come back")
            else:
                session.look_after()
                session.remind()

    def close(self) -> None:
        """Let go of everything; sessions that run are left on disk as they are."""
        for session in self._running.values():
            if not session.told:
                session.tell(Error(session.id, SessionError.code, "the server stops; the session is kept"))
            session.leave("the server stopped")
        self._pool.close()
        self._disk.close()

    def _run(self, session: Session) -> Session:
        session.folder.write_event("opened", held=session.input.held, **_asked(session))
        self._running[session.id] = session
        self._waiting.append(session)
        self._assign()
        return session

    def _take_workers(self, _events: int) -> None:
        self._pool.acknowledge()
        self._assign()

    def _assign(self) -> None:
        """Give sessions that wait for a worker those that stand ready."""
        while self._waiting:
            session = self._waiting[0]
            try:
                worker = self._pool.take()
            except EchotrainError as error:
                self._waiting.popleft().fail(error)
                continue
            if worker is None:
                return
            self._waiting.popleft()
            self._loop.watch(worker.fileno(), functools.partial(self._listen, session))
            session.start(worker, self._forget_worker)

    def _listen(self, session: Session, _events: int) -> None:
        worker = session.worker
        try:
            while worker is not None and worker is session.worker and worker.has_message():
                session.listen()
        except Exception as error:
            session.fail(our_fault(error))

    def _forget_worker(self, worker: Worker) -> None:
        self._loop.forget(worker.fileno())


def _asked(session: Session) -> dict[str, str]:
    """Who asked for a session, and for what, as far as it is known."""
    try:
        request = session.folder.request
    except SessionError:  # it is damaged, which the worker will say
        return {}
    config = str(request["config"]).lstrip()
    facts = {**request, "config": "(XML)" if config.startswith("<") else config}
    facts.setdefault("door", "mrd")
    return {name: str(facts[name])[:100] for name in ("config", "label", "door", "client") if facts.get(name)}


def our_fault(error: Exception) -> EchotrainError:
    """An error that should not be, as one that can be told; it ends one session and not the server."""
    log.error("the server made a mistake", exc_info=error)
    detail = "".join(traceback.format_exception(error))
    return EchotrainError(
        f"the server made a mistake, {type(error).__name__}: {error}; please report it", detail=detail
    )
