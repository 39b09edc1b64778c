"""The front's end of a session's input log: appends what belongs there, once, and knows whether it is all there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from echotrain.mrd import Close, HeaderText, encode
from echotrain.mrd.errors import EchotrainError, ProtocolError

from .folder import SessionFolder, no_room


class InputLog:
    """Open for appending, and this process's alone; what is there already is kept."""

    def __init__(self, folder: SessionFolder, window: int) -> None:
        """Open the log, with the header in it; a sender may be `window` [bytes] ahead of what is held.

        Raises:
            StorageError: where it cannot be written.
            SessionError: where another process runs the session.
        """
        self._folder = folder
        self._window = window
        self.credit = 0
        """Up to where a sender was told that it may send."""
        self.ended = any(event["event"] == "ended" for event in folder.events())
        """Whether the input is all there."""
        self.cut_off = next((event["reason"] for event in folder.events() if event["event"] == "input cut off"), "")
        """Why the input ends where it does, be it without a record that closes it."""
        try:
            header = encode(HeaderText(folder.header.read_bytes()))
            self._file = os.open(folder.input, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise no_room(error, folder.path) from error
        self.held = os.fstat(self._file).st_size
        """How much it holds [bytes]."""
        try:
            folder.claim(self._file)
            if self.held == 0:
                self.append([header])
        except EchotrainError:
            os.close(self._file)
            raise

    def append(self, parts: Sequence[Any]) -> None:
        """Append bytes that follow on what is held.

        Raises:
            StorageError: where they cannot be written; none of them stays.
        """
        size = sum(map(len, parts))
        try:
            written = os.writev(self._file, parts)
            if written < size:  # as when a disk is nearly full; what is left says why
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, self.held)  # no half record stays
            raise no_room(error, self._folder.path) from error
        self.held += size

    def append_at(self, offset: int, payloads: Sequence[Any]) -> None:
        """Append records that belong at `offset`, one after the other; what is held already is not written again.

        Raises:
            ProtocolError: where the input has ended, bytes before `offset` are missing, or it is beyond the credit.
            StorageError: where they cannot be written.
        """
        if self.ended:
            raise ProtocolError("data came after the end of the scan")
        if offset > self.held:
            raise ProtocolError(f"bytes {self.held} to {offset} of the input are missing; send again from {self.held}")
        if offset > self.credit:
            raise ProtocolError(f"data at {offset} is beyond the credit of {self.credit}; wait for `credit`")
        new = []
        for payload in payloads:
            new.append(memoryview(payload)[max(0, self.held - offset) :])
            offset += len(payload)
        self.append(new)

    @property
    def credit_is_low(self) -> bool:
        """Whether the sender should be granted more."""
        return self.credit - self.held < self._window // 2

    def grant(self) -> int:
        """Let the sender go on for another window; gives the credit."""
        self.credit = self.held + self._window
        return self.credit

    def end(self, offset: int) -> None:
        """Close the log, which must hold `offset` bytes; said twice, it means nothing more.

        Raises:
            ProtocolError: where it holds more or less.
            StorageError: where the record that closes it cannot be written.
        """
        if self.ended:
            return
        if offset != self.held:
            raise ProtocolError(f"the scan ends at {offset}, but {self.held} bytes are held; send again from there")
        self.append([encode(Close())])
        self.note_end()

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
