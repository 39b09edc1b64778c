"""The server's log: what happens in sessions, a line each, and what is wrong with the server itself.

A client's words are escaped; nothing of the header but what an event says gets here, so no patient data. A thread of
its own writes the lines, so that a pipe that nobody reads, or a slow disk, stops no scan.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any

from echotrain.mrd.errors import StorageError

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
QUEUED_LINES = 10_000  # that wait to be written; those beyond are left out, and counted
LAST_WORDS = 2.0  # [s] for the lines that wait at the end

_WARNINGS = frozenset(
    {"error", "attempt", "fallback", "output damaged", "input cut off", "client away", "noise not kept"}
    | {"not archived", "not removed"}
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Log:
    """Where the log goes, and how."""

    file: str = "-"
    """A file's path, or - for standard error."""

    format: str = "text"
    level: str = "info"

    def set_up(self) -> None:
        """Write the log of this process from now on; `echotrain` says what `level` wants, libraries their warnings.

        Raises:
            StorageError: where the file cannot be written.
        """
        try:
            file = _StandardError() if self.file == "-" else WatchedFileHandler(self.file, "a", "utf-8")
        except OSError as error:
            raise StorageError(f"cannot write the log {self.file}: {error.strerror or error}") from error
        file.setFormatter(_Json() if self.format == "json" else _Text())
        logging.getLogger().addHandler(_Relay(file))
        logging.getLogger("echotrain").setLevel(self.level.upper())


def log_event(session: str, event: str, details: dict[str, Any]) -> None:
    """Note in the log what happened in a session."""
    level = logging.WARNING if event in _WARNINGS else logging.INFO
    _log.log(level, "session %s: %s", session, event, extra={"session": session, "event": event, "details": details})


class _Relay(logging.Handler):
    """Hands records to a thread that writes them."""

    def __init__(self, file: logging.Handler) -> None:
        super().__init__()
        self._file = file
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUED_LINES)
        self._n_lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._n_lost += 1

    def flush(self) -> None:
        """Wait for the lines that wait, for a while."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, LAST_WORDS)

    def close(self) -> None:
        """Close the file once all is written; where that cannot be, it ends with the process."""
        super().close()
        if self._thread.is_alive() and not self._waiting.unfinished_tasks:
            self._waiting.put(None)
            self._thread.join(LAST_WORDS)

    def _write(self) -> None:
        n_told = 0  # of the lines that were left out
        while record := self._waiting.get():
            self._file.emit(record)  # not `handle`, whose lock would keep an end of the process waiting
            n_lost = self._n_lost - n_told
            if n_lost:  # past the queue, which may be full still
                n_told += n_lost
                words = "%d lines of the log were left out, since it could not be written as fast"
                self._file.emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, (n_lost,), None))
            self._waiting.task_done()
        self._file.close()


class _StandardError(logging.Handler):
    """Past `sys.stderr`, whose lock would keep an end of the process waiting for a pipe that nobody reads."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = memoryview((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            while line:
                line = line[os.write(2, line) :]
        except OSError:
            return  # nowhere is left to say it
        except Exception:
            self.handleError(record)


class _Text(logging.Formatter):
    """`time LEVEL message  key=value`, one line; a trace follows in lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        details = "".join(f"  {key}={value}" for key, value in _details(record).items() if value not in ("", None))
        line = f"{_time(record)} {record.levelname:<7} {printable(record.getMessage() + details)}"
        return "\n    ".join([line, *map(printable, _trace(record).splitlines())])


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        own = {"time": _time(record), "level": record.levelname.lower()}
        named = {name: getattr(record, name) for name in ("session", "event") if hasattr(record, name)}
        trace = {"trace": _trace(record)} if record.exc_info else {}
        return json.dumps({"message": record.getMessage(), **_details(record), **own, **named, **trace}, default=str)


def printable(text: str) -> str:
    """A stranger's words without what a terminal would obey, or a reader take for another line."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _details(record: logging.LogRecord) -> dict[str, Any]:
    details: dict[str, Any] = getattr(record, "details", {})
    return details


def _trace(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
