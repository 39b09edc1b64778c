"""The front's side of retention: a process of low priority for each look at what is kept, one at a time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Collection
from multiprocessing.process import BaseProcess

from .retention import left_half_done, look_after, one_at_a_time, tidy
from .settings import Settings

PERIOD = 60.0  # [s] from one look to the next
LAST_MOMENTS = 3.0  # [s] for a look that is told to end

_log = logging.getLogger(__name__)


class Caretaker:
    """Removes what the settings say is to be kept no longer, and at first what was left half done."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bounded = (settings.keep != "all") or min(settings.keep_days, settings.keep_bytes) < float("inf")
        self._first = True
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._process: BaseProcess | None = None
        self._closing = threading.Event()

    def look_around(self, now: float, busy: Collection[str]) -> None:
        """Start another look if it is time; `busy` are the sessions that are in the server's hands."""
        if now < self._due or (self._thread and self._thread.is_alive()):
            return
        self._due = now + (self._settings.patience if self._first else PERIOD)  # clients of a server before may return
        if left_half_done(self._settings) if self._first else self._bounded:
            job = (self._settings, frozenset(busy), time.time(), self._first)
            self._thread = threading.Thread(target=self._run, args=job, daemon=True)  # so that a fork delays no line
            self._thread.start()
        self._first = False

    def close(self) -> None:
        """End a look that is under way; what it was about to do is left for the next server."""
        self._closing.set()
        limit = time.monotonic() + LAST_MOMENTS
        while self._thread and self._thread.is_alive():
            if self._process is not None:
                end = self._process.terminate if time.monotonic() < limit else self._process.kill
                end()
            self._thread.join(0.05)

    def _run(self, *job: object) -> None:
        process = multiprocessing.get_context("forkserver").Process(target=_look, args=job, daemon=True)
        process.start()
        self._process = process
        process.join()
        if process.exitcode and not self._closing.is_set():
            _log.error("what is kept of sessions was not looked after: its process ended with %d", process.exitcode)


def _look(settings: Settings, busy: Collection[str], now: float, first: bool) -> None:
    """One look, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to stop
    signal.signal(signal.SIGTERM, _stop)
    os.nice(19)
    if settings.log:
        settings.log.set_up()
    try:
        with one_at_a_time(settings.sessions) as alone:
            if alone and first:
                tidy(left_half_done(settings))
            elif alone:
                look_after(settings, busy, now)
    except OSError as error:
        _log.error("what is kept of sessions cannot be looked after: %s", error)
    finally:
        logging.shutdown()  # which a process of multiprocessing does not do


def _stop(number: int, _frame: object) -> None:
    """Leave what is under way; half a file of an archive is cleared away."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)
