"""The front's end of a session's input log: appends what belongs there, once, and knows whether it is all there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from echotrain.mrd import Close, HeaderText, encode
from echotrain.mrd.errors import EchotrainError, ProtocolError

from .disk import Disk, is_full
from .folder import SessionFolder, no_room


class InputLog:
    """Open for appending, and this process's alone; what is there already is kept."""

    def __init__(
        self, folder: SessionFolder, window: int, disk: Disk, synced: Callable[[OSError | None], None]
    ) -> None:
        """Open the log, with the header in it; a sender may be `window` [bytes] ahead of what is safe.

        `synced` is called when more of it is safe on `disk`, or cannot be made so for the error that it is given.

        Raises:
            StorageError: where it cannot be written.
            SessionError: where another process runs the session.
        """
        self._folder = folder
        self._path = folder.input
        self._window = window
        self._disk = disk
        self._tell_synced = synced
        self.safe = 0
        """How much is on disk as surely as the server promises [bytes]; senders may forget that."""
        self.lacking = 0
        """How many bytes found no room on the disk; 0 while there is room."""
        self._passing_over = False  # what comes beyond what is held, until the sender begins there again
        self.credit = 0
        """Up to where a sender was told that it may send."""
        self.ended = False
        """Whether the input is all there."""
        self.cut_off = ""
        """Why the input ends where it does, be it without a record that closes it."""
        for event in folder.events():
            if event["event"] in ("ended", "input cut off"):
                self.ended, self.cut_off = True, str(event.get("reason", ""))
        try:
            header = encode(HeaderText(folder.header.read_bytes()))
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise no_room(error, folder.path) from error
        self.held = os.fstat(self._file).st_size
        """How much it holds [bytes]."""
        try:
            folder.claim(self._file)
            if self.held == 0 and not self.append([header]):
                raise disk.full_error(folder.path)
        except EchotrainError:
            os.close(self._file)
            raise
        whole = self._path, folder.header, folder.path / "session.json", folder.path, folder.path.parent
        disk.sync(whole, partial(self._note_synced, self.held))

    def append(self, parts: Sequence[Any]) -> bool:
        """Append bytes that follow on what is held; False where the disk has no room, and none of them stays.

        Raises:
            StorageError: where they cannot be written for another reason; none of them stays.
        """
        size = sum(map(len, parts))
        if not size:  # which says nothing of the room there is
            return not self.lacking
        if not self._disk.has_room(size):
            self.lacking = size
            return False
        return self._write(parts, size)

    def _write(self, parts: Sequence[Any], size: int) -> bool:
        try:
            written = os.writev(self._file, parts)
            if written < size:  # as when a disk is nearly full; what is left says why
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, self.held)  # no half record stays
            if is_full(error):
                self.lacking = size
                return False
            raise no_room(error, self._folder.path) from error
        self.held += size
        self.lacking = 0
        hurry = self.held - self.safe > self._window // 2  # the sender would soon have to wait
        self._disk.sync((self._path,), partial(self._note_synced, self.held), hurry=hurry)
        return True

    def _note_synced(self, size: int, error: OSError | None) -> None:
        if self._file >= 0:
            self.safe = self.safe if error else max(self.safe, size)
            self._tell_synced(error)

    def append_at(self, offset: int, payloads: Sequence[Any]) -> bool:
        """Append records that belong at `offset`, one after the other; what is held already is not written again.

        False where the disk has no room: none is kept, and what follows on it is passed over until it comes again.

        Raises:
            ProtocolError: where the input has ended, bytes before `offset` are missing, or it is beyond the credit.
            StorageError: where they cannot be written.
        """
        if self.ended:
            why = f", which was cut off, since {self.cut_off}" if self.cut_off else ""
            raise ProtocolError(f"data came after the end of the scan{why}")
        if offset > self.held and self._passing_over:
            return False
        if offset > self.held:
            raise ProtocolError(f"bytes {self.held} to {offset} of the input are missing; send again from {self.held}")
        if offset > self.credit:
            raise ProtocolError(f"data at {offset} is beyond the credit of {self.credit}; wait for `credit`")
        new = []
        for payload in payloads:
            new.append(memoryview(payload)[max(0, self.held - offset) :])
            offset += len(payload)
        self._passing_over = not self.append(new)
        return not self._passing_over

    @property
    def credit_is_low(self) -> bool:
        """Whether the sender should be granted more."""
        return not self.lacking and self.credit - self.safe < self._window // 2

    def grant(self) -> int:
        """Let the sender go on for another window, unless it waits for room; gives the credit."""
        self.credit = self.safe + (0 if self.lacking else self._window)
        return self.credit

    def end(self, offset: int) -> bool:
        """Close the log, which must hold `offset` bytes; said twice, it means nothing more.

        False where there is no room, or was none for what came before: it must be said again.

        Raises:
            ProtocolError: where it holds more or less.
            StorageError: where the record that closes it cannot be written.
        """
        if self.ended:
            return True
        if offset > self.held and self._passing_over:
            return False
        if offset != self.held:
            raise ProtocolError(f"the scan ends at {offset}, but {self.held} bytes are held; send again from there")
        close = encode(Close())
        if not self._write([close], len(close)):  # be it in the reserve
            return False
        self.note_end()
        return True

    def note_end(self) -> None:
        """Note that the record that closes the log is there."""
        if not self.ended or self.cut_off:  # which it was only after its end had come
            self.ended, self.cut_off = True, ""
            self._folder.write_event("ended", bytes=self.held)

    def cut(self, reason: str) -> None:
        """Take what is held for all that comes, be it within a record."""
        if not self.ended:
            self.ended, self.cut_off = True, reason
            self._folder.write_event("input cut off", bytes=self.held, reason=reason)

    def let_go(self) -> None:
        """Let other processes run the session, which is over."""
        self._folder.let_go(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
