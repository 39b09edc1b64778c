"""The sessions that run, with the workers that they run in; the same for every door."""

from __future__ import annotations

import functools
import logging
import traceback
from collections import deque
from typing import Any

from echotrain.mrd.errors import BusyError, EchotrainError, SessionError

from .disk import Disk
from .folder import SessionFolder, create_session, find_session, no_room
from .loop import Loop
from .pool import Worker, WorkerPool
from .recovery import CUT_OFF, KILLED, STOPPED, LeftBehind, is_unfinished, take_up, waits_for_client
from .session import Send, Session
from .settings import Settings
from .wire import Error

log = logging.getLogger(__name__)

MESSAGES_PER_TURN = 64  # of one worker, before others are listened to


class Sessions:
    """Starts sessions, finds them by id, gives each a worker, and lets go of those that are over."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self._settings = settings
        self._loop = loop
        self._disk = Disk(settings, loop)
        self._running: dict[str, Session] = {}
        self._waiting: deque[Session] = deque()  # for a worker
        self._left_behind = LeftBehind()
        self._taken_up: set[str] = set()  # sessions of a server before, that run
        self._stopping = False

    def start(self) -> None:
        """Start the workers that stand ready, and look for unfinished sessions, once all doors are open."""
        self._left_behind.find(self._settings.sessions)
        self._pool = WorkerPool(self._settings)
        self._loop.watch(self._pool.fileno(), self._take_workers)

    def wake(self) -> None:
        """Make the loop turn; a signal handler may call this."""
        self._pool.wake()

    def create(self, request: dict[str, Any], header: bytes, send: Send) -> Session:
        """A new session for a client that `send` reaches; `request` is what it asked for.

        Raises:
            StorageError: where its folder cannot be written.
            BusyError: where the server is about to stop.
        """
        self._check_stays()
        self._disk.check_room(max((running.input.lacking for running in self._running.values()), default=0))
        folder = create_session(self._settings.sessions, request, header)
        return self._run(Session(folder, self._settings, send, self._disk))

    def resume(self, session_id: str, send: Send, received: int = 0) -> Session:
        """The session of this id, running or taken up from disk, with a client that has its output up to `received`.

        Raises:
            SessionError: where there is none.
            BusyError: where it does not run, and the server is about to stop.
        """
        running = self._running.get(session_id)
        self._taken_up.discard(session_id)
        if running is not None and not running.settled:
            running.attach(send, received)
            return running
        self._check_stays()
        if running is not None:
            self.leave(running)
        folder = find_session(self._settings.sessions, session_id)
        session = Session(folder, self._settings, send, self._disk)
        session.output.rewind(received)
        return self._run(session)

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
        self._taken_up.discard(session.id)
        del self._running[session.id]

    def look_around(self, now: float) -> None:
        """Let go of sessions that are over or whose client has gone, and notice workers and clients that have."""
        self._disk.look_again()
        for session in list(self._running.values()):
            at_work = session.input.ended and not session.over  # which ends by itself, whoever waits for it
            if session.settled or (session.over and session.id in self._taken_up):
                self.leave(session)
            elif session.send is None and not at_work and now - session.quiet_since > self._settings.patience:
                self.leave(session, "the client went away and did not come back")
            else:
                self._look_after(session)
        self._take_up()

    def _look_after(self, session: Session) -> None:
        try:
            session.look_after()
            session.remind()
        except Exception as error:  # others go on
            session.fail(our_fault(error))

    def stop(self) -> None:
        """Start nothing new, and part from clients that have more to send: they go on with the next server."""
        self._stopping = True
        for session in [session for session in self._running.values() if not session.input.ended]:
            self._part(session)

    @property
    def at_work(self) -> bool:
        """Whether a session is about to be finished, or its output on its way to a client."""
        return any(not session.over or (session.send and not session.settled) for session in self._running.values())

    def close(self) -> None:
        """Let go of everything; sessions that run are left on disk as they are."""
        for session in list(self._running.values()):
            self._part(session)
        self._pool.close()
        self._disk.close()

    def _check_stays(self) -> None:
        if self._stopping:
            raise BusyError("the server stops; come back when it runs again")

    def _part(self, session: Session) -> None:
        if not session.told:
            words = "the server stops; the session is kept; come back to go on with it"
            session.tell(Error(session.id, BusyError.code, words))
        self.leave(session, STOPPED)

    def _take_up(self) -> None:
        """Finish what a server before left, a few sessions at a time, and none while others wait for a worker."""
        while not (self._stopping or self._waiting) and len(self._taken_up) < self._settings.taken_up_at_once:
            folder = self._left_behind.next()
            if folder is None:
                return
            try:
                self._take_up_one(folder)
            except (EchotrainError, OSError) as error:
                log.warning("session %s is left as it is: %s", folder.id, error)
            except Exception as error:
                our_fault(error)

    def _take_up_one(self, folder: SessionFolder) -> None:
        if folder.id in self._running or not is_unfinished(folder):
            return
        if waits_for_client(folder):
            with folder.alone():
                folder.write_event("left", reason=KILLED)
            return
        session = Session(folder, self._settings, None, self._disk)
        try:
            take_up(folder)
            session.cut_off(CUT_OFF)
        except EchotrainError as error:
            session.fail(error)
            session.leave("")
            raise
        self._taken_up.add(folder.id)
        self._run(session)

    def _run(self, session: Session) -> Session:
        session.folder.write_event("opened", held=session.input.held, **_asked(session))
        self._running[session.id] = session
        self._ask_for_worker(session)
        return session

    def _ask_for_worker(self, session: Session) -> None:
        self._waiting.append(session)
        self._assign()

    def _take_workers(self, _events: int) -> None:
        self._pool.acknowledge()
        self._assign()
        self._take_up()

    def _assign(self) -> None:
        """Give sessions that wait for a worker those that stand ready."""
        while self._waiting:
            session = self._waiting[0]
            if session.over:  # as where its disk failed meanwhile
                self._waiting.popleft()
                continue
            try:
                worker = self._pool.take()
            except EchotrainError as error:
                self._waiting.popleft().fail(error)
                continue
            if worker is None:
                return
            self._waiting.popleft()
            self._loop.watch(worker.fileno(), functools.partial(self._listen, session))
            try:
                session.start(worker, self._forget_worker, self._ask_for_worker)
            except OSError as error:  # as where its disk became read-only
                session.fail(no_room(error, session.folder.path))

    def _listen(self, session: Session, _events: int) -> None:
        worker = session.worker
        try:
            for _ in range(MESSAGES_PER_TURN):
                if worker is None or worker is not session.worker or not worker.has_message():
                    break
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
