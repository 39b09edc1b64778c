"""A session on disk: a folder of append-only logs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echotrain.mrd.errors import BusyError, SessionError, StorageError

from .logs import log_event

REMOVED = ".removed"
"""How the hidden names end of sessions that are being removed."""

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")


def default_sessions_folder() -> Path:
    """Where sessions are kept unless a server is told otherwise."""
    given = os.environ.get("ECHOTRAIN_SESSIONS")
    return Path(given) if given else Path.home() / ".echotrain" / "sessions"


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The files of one session.

    `input.mrd` and `output.mrd` are MRD streams that open with the header; `session.json` is what the client asked
    for, `chain.xml` the chain with every parameter, `events.jsonl` what happened, `worker.log` what the worker printed.
    """

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def input(self) -> Path:
        return self.path / "input.mrd"

    @property
    def output(self) -> Path:
        return self.path / "output.mrd"

    @property
    def header(self) -> Path:
        return self.path / "header.xml"

    @property
    def chain(self) -> Path:
        return self.path / "chain.xml"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def running(self) -> Path:
        """Which gadgets run at this moment, as `RunningMarks` writes it."""
        return self.path / "running"

    @property
    def request(self) -> dict[str, Any]:
        """What the client asked for: config, parameters, label; of some, options and notes."""
        try:
            found = json.loads((self.path / "session.json").read_text())
            return {
                "options": {},
                "notes": [],
                **found,
                **{name: found[name] for name in ("config", "parameters", "label")},
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise SessionError(f"session {self.id} cannot be read: {error}") from error

    def write_event(self, event: str, **details: Any) -> None:
        """Append to `events.jsonl`; a full disk must not keep an error from the client, so failure is let go.

        The log of the server says it as well.
        """
        log_event(self.id, event, {**details, **self._duration(event)})
        line = json.dumps({"time": time.time(), "event": event, **details}).encode() + b"\n"
        try:
            with (self.path / "events.jsonl").open("a+b", buffering=0) as file:
                if os.pread(file.fileno(), 1, max(0, file.seek(0, os.SEEK_END) - 1)) not in (b"", b"\n"):
                    line = b"\n" + line  # after one that was cut off
                if (written := file.write(line)) < len(line):
                    file.truncate(file.tell() - written)
        except OSError:
            return

    def _duration(self, event: str) -> dict[str, float]:
        """How long a session has taken that is over [s]; of other events, nothing."""
        if event not in ("done", "error"):
            return {}
        with contextlib.suppress(OSError):
            for before in reversed(list(self.events())):
                if before["event"] == "opened":
                    return {"seconds": round(time.time() - before["time"], 3)}
        return {}

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened, first to last; a line that was cut off or damaged, as on a full disk, is left out."""
        path = self.path / "events.jsonl"
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError, RecursionError, OverflowError):
                match json.loads(line):
                    case {"event": str(), "time": float() | int() as when} as event if math.isfinite(when):
                        yield event

    def claim(self, file: int) -> None:
        """Keep other processes from running this session, by its open input log, until that is closed or let go of.

        Raises:
            BusyError: where another one runs it.
            SessionError: where it was removed.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"session {self.id} runs at this moment; wait until it is over") from error
        except OSError:
            return  # a file system that knows no locks keeps nobody
        if not self.path.is_dir():
            raise SessionError(f"session {self.id} was removed")

    def let_go(self, file: int) -> None:
        """Let other processes run this session, which is over."""
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from running this session meanwhile.

        Raises:
            SessionError: where another one runs it, or has removed it.
        """
        try:
            file = self.input.open("rb")
        except OSError as error:
            if not self.path.is_dir():
                raise SessionError(f"session {self.id} was removed") from error
            yield  # it never came to run
            return
        with file:
            self.claim(file.fileno())
            yield

    def delete(self) -> None:
        """Remove the session with all it holds; to others it is gone at once."""
        removed = self.path.with_name(f".{self.id}{REMOVED}")
        self.path.rename(removed)
        with contextlib.suppress(FileNotFoundError):  # a server that starts removes it as well
            shutil.rmtree(removed)


def create_session(root: Path, request: dict[str, Any], header: bytes) -> SessionFolder:
    """A new folder under `root`, readable by its owner alone.

    Raises:
        StorageError: where it cannot be written.
    """
    folder = SessionFolder(root / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}")
    try:
        folder.path.mkdir(parents=True, mode=0o700)
        folder.header.write_bytes(header)
        (folder.path / "session.json").write_text(json.dumps(request))
    except OSError as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise no_room(error, root) from error
    return folder


def find_session(root: Path, session_id: str) -> SessionFolder:
    """The session called `session_id`, which may come from a stranger.

    Raises:
        SessionError: where there is none.
    """
    folder = SessionFolder(root / session_id)
    if not _ID.fullmatch(session_id) or not folder.path.is_dir():
        raise SessionError(f"there is no session {session_id[:60]!r} in {root}")
    return folder


def all_sessions(root: Path) -> list[SessionFolder]:
    """Every session under `root`, oldest first."""
    if not root.is_dir():
        return []
    return [SessionFolder(path) for path in sorted(root.iterdir()) if _ID.fullmatch(path.name)]


def no_room(error: OSError, path: Path) -> StorageError:
    """The error for a write that failed under `path`."""
    try:
        free = f"{shutil.disk_usage(path).free / 1e6:.0f} MB free"
    except OSError:
        free = "not readable"
    return StorageError(
        f"cannot write to {path} ({error.strerror or error}; {free}); "
        "make room, for example with `echotrain sessions delete ID`, or start the server with another --sessions folder"
    )
