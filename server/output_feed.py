"""A session's output log on its way to a client: what may be sent, what was, and what the client holds."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from pathlib import Path

RECORDS_UNDER_WAY = 4096  # to a client that has not acknowledged them
SENT_AT_ONCE = 8 << 20  # output is sent in messages of about this size at most, one record if it is larger


class OutputFeed:
    """Whole records of the log in messages, at most `window` bytes ahead of what the client acknowledged."""

    def __init__(self, path: Path, window: int) -> None:
        self.window = window
        """How much may be under way to the client [bytes]."""
        self._path = path
        self._file = -1
        self._end = self._safe = 0
        self._ends = array("Q")  # of all records
        self._n_sent = 0  # of these
        self._sent = 0
        self._acknowledged = 0

    @property
    def all_sent(self) -> bool:
        return self._n_sent == len(self._ends)

    @property
    def all_acknowledged(self) -> bool:
        return self._acknowledged >= self._end

    def grow(self, size: int) -> None:
        """Note that the log holds whole records up to `size`."""
        if size > self._end:
            self._end = size
            self._ends.append(size)
            self._n_sent += size <= self._sent  # as where a client that came back has it from a run before

    def release(self, size: int) -> None:
        """Note that the log is safe on disk up to `size`, and may be sent."""
        self._safe = max(self._safe, size)

    def acknowledge(self, offset: int) -> None:
        """Note that the client holds the log up to `offset`."""
        self._acknowledged = min(max(self._acknowledged, offset), self._sent)

    def rewind(self, received: int) -> None:
        """Send what begins at `received`, to a client that came back and holds what is before."""
        self._sent = self._acknowledged = received
        self._n_sent = bisect_right(self._ends, received)

    def drop(self) -> None:
        """Send nothing more."""
        self.rewind(self._end)

    def next(self) -> tuple[int, int, bytes] | None:
        """Offset, number of records and bytes of the next message, or None where nothing may be sent now.

        Raises:
            OSError: where the log cannot be read.
        """
        n_under_way = self._n_sent - bisect_right(self._ends, self._acknowledged)
        if self._sent - self._acknowledged >= self.window or n_under_way >= RECORDS_UNDER_WAY:
            return None
        count, end = 0, self._sent
        for index in range(self._n_sent, min(len(self._ends), self._n_sent + RECORDS_UNDER_WAY - n_under_way)):
            size = self._ends[index]
            if size > self._safe or (count and size - self._sent > SENT_AT_ONCE):
                break
            end = size
            count += 1
        if not count:
            return None
        return self._sent, count, self._read(end)

    def note_sent(self, offset: int, count: int, data: bytes) -> None:
        """Note that a message which `next` gave is under way."""
        self._n_sent += count
        self._sent = offset + len(data)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _read(self, end: int) -> bytes:
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDONLY)
        parts: list[bytes] = []
        start = self._sent
        while start < end:
            parts.append(os.pread(self._file, end - start, start))  # at most 2 GiB at a time
            if not parts[-1]:
                raise OSError(f"it ends at byte {start}")
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)
