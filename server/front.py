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
        self._stopping = False
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
        """End `serve`; a signal handler may call this."""
        if not self._stopping:  # told again, it may be closing the pool
            self._stopping = True
            self._sessions.wake()

    def serve(self) -> None:
        """Serve until `stop` is called."""
        looked = time.monotonic()
        while not self._stopping:
            self._loop.turn(TICK)
            if time.monotonic() - looked > TICK:
                looked = time.monotonic()
                self._sessions.look_around(looked)
                self.native.look_around()
                self._caretaker.look_around(looked, self._sessions.ids())
                if self.mrd:
                    self.mrd.look_around(looked)

    def close(self) -> None:
        """Let go of everything; sessions that run are left on disk as they are."""
        self._caretaker.close()
        self._sessions.close()
        self.native.close()
        if self.mrd:
            self.mrd.close()
