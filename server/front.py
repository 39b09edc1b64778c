"""The front: one lean loop that accepts, appends, wakes workers and sends output on; no reconstruction in it."""

from __future__ import annotations

import time

from echotrain.mrd.errors import EchotrainError, StorageError

from .access import Access, check_doors
from .caretaker import Caretaker
from .loop import Loop
from .mrd_door import MrdDoor
from .native_door import NativeDoor
from .sessions import Sessions
from .settings import Settings

TICK = 1.0  # [s] between looks at who has gone
AT_ONCE = 2  # times that it is told to stop


class Front:
    """Serves at every door until `stop` is called."""

    def __init__(self, settings: Settings) -> None:
        """Open the doors.

        Raises:
            StorageError: where an address cannot be used, or the sessions' folder not be made.
            ConfigError: where a door would be open to other machines, or keys cannot be read.
        """
        check_doors(settings)
        try:
            settings.sessions.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(f"cannot keep sessions in {settings.sessions}: {error.strerror or error}") from error
        self._loop = Loop()
        self._grace = settings.grace
        self._looked = time.monotonic()
        self._told_to_stop = 0  # times
        self._sessions = Sessions(settings, self._loop)
        access = Access(settings, self._sessions)
        self.native = NativeDoor(settings, self._sessions, access, self._loop)
        try:
            self.mrd = MrdDoor(settings, self._sessions, access, self._loop) if settings.mrd else None
        except EchotrainError:
            self.native.close()
            raise
        self._sessions.start()
        self._caretaker = Caretaker(settings)

    def wait_until_warm(self) -> None:
        """Wait for the first worker to stand ready."""
        self._loop.wait()

    def stop(self) -> None:
        """End `serve`, and at once if called twice; a signal handler may call this."""
        if self._told_to_stop < AT_ONCE:  # after that, it may be closing the pool
            self._told_to_stop += 1
            self._sessions.wake()

    def serve(self) -> None:
        """Serve until `stop` is called, and then what is nearly finished, for a while."""
        while not self._told_to_stop:
            self._turn(TICK)
        self._sessions.stop()
        limit = time.monotonic() + self._grace
        while self._sessions.at_work and self._told_to_stop < AT_ONCE and (left := limit - time.monotonic()) > 0:
            self._turn(min(TICK, left))

    def _turn(self, seconds: float) -> None:
        self._loop.turn(seconds)
        now = time.monotonic()
        if now - self._looked > TICK:
            self._looked = now
            self._sessions.look_around(now)
            self.native.look_around()
            self._caretaker.look_around(now, self._sessions.ids())
            if self.mrd:
                self.mrd.look_around(now)

    def close(self) -> None:
        """Let go of everything; sessions that run are left on disk as they are."""
        self._told_to_stop = AT_ONCE
        self._caretaker.close()
        self._sessions.close()
        self.native.close()
        if self.mrd:
            self.mrd.close()
