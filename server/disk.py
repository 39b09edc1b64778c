"""The disk under the sessions: whether it has room, and what is on it as surely as the server promises."""

from __future__ import annotations

import errno
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from echotrain.mrd.errors import StorageError

from .folder import no_room
from .loop import Loop
from .settings import Settings

MOST_RESERVE = 256 << 20
CLOSING = 10.0  # [s] that a disk may take to sync when the server stops

Then = Callable[[OSError | None], None]


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room, which may return."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class Disk:
    """Counts what is written against the room there is, and syncs in a thread of its own so that no loop waits."""

    def __init__(self, settings: Settings, loop: Loop | None = None) -> None:
        """The disk of the sessions' folder; `loop` calls back what was synced, where that is asked for."""
        self._folder = settings.sessions
        self._reserve = settings.reserve
        self._allowed = 0  # bytes that may be written before the next look
        self._interval = settings.sync_interval
        self._wanted: dict[tuple[Path, ...], Then] = {}
        self._changed = threading.Condition()
        self._hurry = threading.Event()  # the interval need not pass
        self._closing = False
        self._synced: queue.SimpleQueue[tuple[Then, OSError | None]] = queue.SimpleQueue()
        if self._interval is not None:
            self._woken, self._wake = os.pipe()
            self._thread = threading.Thread(target=self._sync_all, args=(self._interval,), daemon=True)
            self._thread.start()
            if loop:
                loop.watch(self._woken, lambda _events: self.tell_synced())

    # -- room -----------------------------------------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more fit beside the reserve; they count as written then."""
        if size > self._allowed:
            free, reserve = self._room()
            self._allowed = max(0, min(free - reserve, max(size, reserve // 4)))  # as others write as well
        fits = size <= self._allowed
        if fits:
            self._allowed -= size
        return fits

    def look_again(self) -> None:
        """Have the room looked at before the next bytes, since others write as well."""
        self._allowed = 0

    def room_is_back(self, size: int) -> bool:
        """Whether there is room for `size` bytes that found none, and so much more that it does not end at once."""
        free, reserve = self._room()
        if free - reserve < max(size, reserve):
            return False
        try:  # a quota does not show in what is free
            with tempfile.TemporaryFile(dir=self._folder) as file:
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except OSError as error:
            return not is_full(error)
        return True

    def check_room(self, lacking: int) -> None:
        """Refuse what is new where the disk is full, or `lacking` bytes that wait for room would not find it.

        Raises:
            StorageError: where it is so.
        """
        free, reserve = self._room()
        if free - reserve < max(reserve, lacking):
            raise self.full_error(self._folder)

    def full_error(self, path: Path) -> StorageError:
        """The error for what finds no room under `path`."""
        return no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)

    def waiting_words(self, session: str) -> str:
        """What to tell a client whose scan waits for room."""
        free, reserve = self._room()
        return (
            f"the disk of {self._folder} is full ({free / 1e6:.1f} MB free, {reserve / 1e6:.1f} MB of it in reserve); "
            f"session {session} waits for room and loses nothing; make some, for example with `echotrain sessions "
            "delete ID`"
        )

    def _room(self) -> tuple[int, int]:
        """What is free, and what of that is kept in reserve [bytes]."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return 1 << 62, 0  # the write itself will say what is wrong
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        return free, min(MOST_RESERVE, total // 100) if self._reserve is None else self._reserve

    # -- syncing --------------------------------------------------------------------------------------------------

    def sync(self, paths: tuple[Path, ...], then: Then, *, hurry: bool = False) -> None:
        """Call `then` once what was written to files and folders is as safe as promised, with the error if it is not.

        At the promise of the page cache that is at once. Otherwise only the latest call for the same paths counts, and
        in a `hurry`, as where a sender would have to wait, the interval need not pass.
        """
        if self._interval is None:
            then(None)
            return
        with self._changed:
            self._wanted[paths] = then
            self._changed.notify()
        if hurry:
            self._hurry.set()

    def tell_synced(self) -> None:
        """Call back for all that was synced."""
        os.read(self._woken, 4096)
        while not self._synced.empty():
            then, error = self._synced.get()
            then(error)

    def close(self) -> None:
        """Sync what waits for it, unless that takes too long; nobody is called back."""
        if self._interval is not None:
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._hurry.set()
            self._thread.join(CLOSING)

    def _sync_all(self, interval: float) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closing)
                wanted, self._wanted = self._wanted, {}
            self._hurry.clear()
            if not wanted:
                return
            begun = time.monotonic()
            for paths, then in wanted.items():
                self._synced.put((then, _sync(paths)))
            os.write(self._wake, b"s")
            if not self._closing:
                self._hurry.wait(max(0.0, begun + interval - time.monotonic()))


def _sync(paths: tuple[Path, ...]) -> OSError | None:
    """Sync files and folders; gives the first error."""
    try:
        for path in paths:
            file = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)
    except OSError as error:
        return error
    return None
