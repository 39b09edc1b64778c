"""Reads a session's input log while it grows: items as views of the mapped file, nothing copied."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from echotrain.mrd import Close, Item, decode
from echotrain.mrd.decode import truncated
from echotrain.mrd.errors import StreamError

WINDOW_BYTES = 32 << 20  # mapped at once; bounds resident memory, and grows for a record that is larger


class LogReader:
    """The items of a log from its beginning; `position` is the end of the last one given."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.position = 0
        self.closed = False
        """Whether the record that closes a stream was read."""

    def size(self) -> int:
        """How large the log is by now [bytes]."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, size: int) -> Iterator[Item]:
        """The whole records before `size`, in batches; none after the one that closes the stream.

        Raises:
            StreamError: where the log holds what is not an MRD stream.
        """
        window = WINDOW_BYTES
        while self.position < size and not self.closed:
            start = self.position - self.position % mmap.ALLOCATIONGRANULARITY
            length = min(size, self.position + window) - start
            mapped = memoryview(mmap.mmap(self._file.fileno(), length, prot=mmap.PROT_READ, offset=start))
            before = self.position
            for item, end in decode(mapped, before - start, base=start):
                self.position = start + end
                if isinstance(item, Close):
                    self.closed = True
                    return
                yield item
            if self.position == before:
                if start + length == size:
                    return
                window *= 2

    def check_whole(self, size: int) -> None:
        """Say that the log ends at `size`.

        Raises:
            StreamError: where the last record is not whole.
        """
        if self.position < size:
            raise StreamError(truncated(self.position, size - self.position))

    def close(self) -> None:
        """Let go of the file; views given before stay good."""
        self._file.close()
