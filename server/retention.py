"""What is kept of sessions and noise, for how long, and what becomes of the rest."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from echotrain.mrd.errors import SessionError

from .archive import archive_session
from .folder import REMOVED, SessionFolder, all_sessions
from .noise_store import noise_store
from .outcome import Outcome, outcome, size_of
from .settings import Settings

TRY_AGAIN = 3600.0  # [s] from one attempt to archive a session to the next
DAY = 24 * 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """A session as it was when it was looked at."""

    folder: SessionFolder
    outcome: Outcome
    size: int
    events_size: int
    """Of `events.jsonl`, which grows whenever anything happens in a session [bytes]."""


def look(settings: Settings, busy: Collection[str], now: float) -> list[Held]:
    """The sessions that were not in the server's hands (`busy`, by id) at `now`, and to which no client may come back.

    Whether a client received all is not on disk: a server may have been killed before that.
    """
    found = []
    for folder in all_sessions(settings.sessions):
        with contextlib.suppress(OSError):  # removed meanwhile
            held = Held(folder, outcome(folder), size_of(folder), _events_size(folder))
            if folder.id not in busy and held.outcome.time <= now - settings.patience:
                found.append(held)
    return found


def to_remove(sessions: list[Held], total: int, settings: Settings, now: float) -> Iterator[tuple[Held, str]]:
    """Which of `sessions` go, the oldest first, and why; `total` is the size of all that there are [bytes].

    What never came to its end is kept until it is too old, since its client may go on with it.
    """
    for held in sorted(sessions, key=lambda held: held.outcome.time):
        found = held.outcome
        reason = ""
        if found.time < now - settings.keep_days * DAY:
            reason = f"nothing happened in it for {settings.keep_days:g} days"
        elif found.finished and settings.keep == "none":
            reason = "it is over"
        elif found.finished and settings.keep == "failed" and not found.failed:
            reason = "it went well"
        elif found.finished and total > settings.keep_bytes:
            reason = f"all sessions together are larger than {settings.keep_bytes / 1e9:g} GB"
        if reason and now - found.tried > TRY_AGAIN:
            total -= held.size
            yield held, reason


def remove(held: Held, reason: str, archive: Path | None) -> bool:
    """Archive and remove a session, unless it runs or something happened in it; whether it is gone.

    One that cannot be archived is kept, and its events say why.
    """
    folder, failure = held.folder, "not removed"
    try:
        with folder.alone():
            if _events_size(folder) != held.events_size:
                return False
            if archive and folder.input.exists():
                file = archive / f"{folder.id}.h5"
                if held.outcome.archived != str(file) or not file.exists():
                    failure = "not archived"
                    folder.write_event("archiving")
                    folder.write_event("archived", file=str(file), **archive_session(folder, file))
                    failure = "not removed"
            _log.info("session %s is removed, as %s", folder.id, reason)
            folder.delete()
    except SessionError:
        return False  # it runs, or someone else removed it
    except Exception as error:  # bytes that changed can fail in any way, and other sessions wait for their turn
        folder.write_event(failure, reason=str(error) or type(error).__name__)
        return False
    return True


def look_after(settings: Settings, busy: Collection[str], now: float) -> None:
    """Remove what is to be kept no longer; `busy` were the sessions in the server's hands at `now`.

    Raises:
        OSError: where the folder of archives cannot be made.
    """
    total = sum(map(size_of, all_sessions(settings.sessions)))
    if settings.archive:
        settings.archive.mkdir(parents=True, exist_ok=True, mode=0o700)
    for held, reason in to_remove(look(settings, busy, now), total, settings, now):
        remove(held, reason, settings.archive)
    for path in noise_store(settings).forget(now - settings.keep_days * DAY):
        _log.info("noise %s was removed, as it was not used for %g days", path.name, settings.keep_days)


def left_half_done(settings: Settings) -> list[Path]:
    """What a server that was killed, or a loss of power, left in the midst of removing or writing."""
    folders = [(settings.sessions, f".*{REMOVED}"), (noise_store(settings).folder, "*.partial")]
    if settings.archive:
        folders.append((settings.archive, ".*.h5.*.partial"))
    return [path for folder, pattern in folders for path in folder.glob(pattern)]


def tidy(paths: Iterable[Path]) -> None:
    """Remove what was left half done."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time(sessions: Path) -> Iterator[bool]:
    """Whether no other process looks after this folder of sessions at this moment, as that of a server of before."""
    file = os.open(sessions / ".retention", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    except OSError:
        yield True  # a file system that knows no locks keeps nobody
    else:
        yield True
    finally:
        os.close(file)


def _events_size(folder: SessionFolder) -> int:
    path = folder.path / "events.jsonl"
    return path.stat().st_size if path.exists() else 0
