"""What strangers may do: where doors may open without keys, and how much one client may ask for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from echotrain.mrd.errors import BusyError, ConfigError, SessionError, StorageError

from .callers import plain_address
from .folder import find_session
from .session import Send, Session
from .sessions import Sessions
from .settings import Settings

MINUTE = 60.0  # [s]
_REMEMBERED = 1000  # clients that opened sessions, before those that did not of late are forgotten


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody at a door: by key where the server has keys, else by address."""

    address: str
    name: str = ""
    """That of its key; empty without keys."""
    public_key: str = ""

    @property
    def who(self) -> str:
        """What limits go by, and errors call it."""
        return f"client {self.name!r}" if self.name else f"the client at {self.address or 'this machine'}"


class Access:
    """Counts what each client does, and knows whose each session is."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._settings = settings
        self._sessions = sessions
        self._opened: dict[str, deque[float]] = {}
        """When each client opened a session in the last minute [s]."""
        self._clients: WeakKeyDictionary[Session, Client] = WeakKeyDictionary()

    def create(self, client: Client, request: dict[str, Any], header: bytes, send: Send) -> Session:
        """A new session for a client.

        Raises:
            SessionError: where the client has or asks too much.
            StorageError: where its folder cannot be written.
        """
        if client.name:
            request = {**request, "client": client.name}
        return self.open(client, lambda: self._sessions.create(request, header, send))

    def open(self, client: Client, start: Callable[[], Session], session_id: str = "") -> Session:
        """Start a session for a client by `start`, or go on with the one of `session_id`.

        Raises:
            SessionError: where the client has or asks too much, or the session is that of another client.
        """
        self._check_rate(client)
        limit = self._settings.sessions_per_client
        running = sum(
            other.who == client.who and session.id != session_id and self._runs(session)
            for session, other in self._clients.items()
        )
        if session_id and self._settings.keys is not None:
            owner = find_session(self._settings.sessions, session_id).request.get("client", "")
            _check_owner(session_id, owner, client)
        if limit and running >= limit:
            raise SessionError(
                f"{client.who} has {running} sessions that run, and --sessions-per-client is {limit}; end one first"
            )
        session = start()
        self._clients[session] = client
        return session

    def check(self, session: Session, client: Client) -> None:
        """Make sure that a running session is that of a client.

        Raises:
            SessionError: where it is another's.
        """
        if session not in self._clients:  # taken up again at the server's start
            self._clients[session] = Client("", session.folder.request.get("client", ""))
        _check_owner(session.id, self._clients[session].name, client)

    def check_size(self, session: Session, more: int) -> None:
        """Make sure that a session may hold `more` input [bytes]; what comes after its end is not held.

        Raises:
            StorageError: where that is too much.
        """
        limit = self._settings.session_bytes
        if limit and not session.input.ended and session.input.held + more > limit:
            raise StorageError(
                f"the scan is longer than the {limit} bytes of --session-bytes; send less, or have the limit raised"
            )

    def _check_rate(self, client: Client) -> None:
        limit = self._settings.opens_per_minute
        if not limit:
            return
        now = time.monotonic()
        if len(self._opened) > _REMEMBERED:
            self._opened = {who: times for who, times in self._opened.items() if now - times[-1] < MINUTE}
        times = self._opened.setdefault(client.who, deque(maxlen=limit))
        if len(times) == limit and now - times[0] < MINUTE:
            wait = MINUTE - (now - times[0])
            raise BusyError(
                f"{client.who} opened {limit} sessions in a minute, and --opens-per-minute is {limit}; "
                f"wait {wait:.0f} s"
            )
        times.append(now)

    def _runs(self, session: Session) -> bool:
        """Whether it may still cost something, be it since a client that is there does not take its output."""
        over = session.over and (session.send is None or session.settled)
        try:
            return not over and self._sessions.find(session.id) is session
        except SessionError:
            return False


def _check_owner(session_id: str, owner: str, client: Client) -> None:
    if owner != client.name:
        raise SessionError(
            f"session {session_id} is not one of {client.who}; only the key that opened it goes on with it"
        )


def check_doors(settings: Settings) -> None:
    """Refuse to open doors to other machines without what keeps strangers out.

    Raises:
        ConfigError: where a door would be open; says what to do.
    """
    if settings.insecure:
        return
    if settings.keys is None and not is_local(settings.bind):
        raise ConfigError(
            f"--bind {settings.bind} can be reached from other machines; make keys with `echotrain keys new` and give "
            "--keys DIR, or say --insecure to let in anybody"
        )
    if settings.mrd and not settings.mrd_allow and not is_local(f"tcp://{settings.mrd}"):
        raise ConfigError(
            f"--mrd {settings.mrd} can be reached from other machines, and its protocol knows no keys; list who may "
            "come in with --mrd-allow ADDRESS, or say --insecure to let in anybody"
        )


def is_local(endpoint: str) -> bool:
    """Whether only this machine reaches what is bound to `endpoint`; what is not surely so is not."""
    transport, _, place = endpoint.partition("://")
    if transport in ("ipc", "inproc"):
        return True
    if transport != "tcp" and place:
        return False
    if ":" not in place:  # no address at all, as binding will say
        return True
    host = place.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return plain_address(host).is_loopback
    except ValueError:  # a name, such as that of an interface
        return host == "localhost"
