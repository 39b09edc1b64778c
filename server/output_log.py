"""The worker's end of a session's output log: appends what the chain gives, once, however often the chain runs."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator

from echotrain.mrd import Acquisitions, Close, Header, HeaderText, Image, Item, Text, Waveforms, encode
from echotrain.mrd.errors import StreamError

from .disk import is_full
from .folder import SessionFolder, no_room
from .log_reader import LogReader

_COMPARED_AT_ONCE = 1 << 20


class OutputLog:
    """An MRD stream that only ever grows, so that offsets into it stay valid.

    What an earlier run left there stays. The same chain on the same input gives the same items of each type in the same
    order, so as many records of a type as were held are left out of what comes now, and texts that were.
    """

    def __init__(
        self,
        folder: SessionFolder,
        header: Header,
        wait_for_room: Callable[[], None],
        grown: Callable[[int], None] = lambda size: None,
        after: Text | None = None,
    ) -> None:
        """Open the log; `grown` is told its size at the end of each item, of those that it holds as well.

        `wait_for_room` is called each time that the disk is found to be full, before the next try.

        Where `after` is given, only what follows that text counts as made before: what came first was another chain's.

        Raises:
            StorageError: where it cannot be written.
        """
        self._folder = folder
        self._wait_for_room = wait_for_room
        self._grown = grown
        self.size = 0
        """How much it holds [bytes]."""
        self.closed = False
        """Whether it is complete; nothing more is appended then."""
        self.n_images = 0
        """How many images it held when it was opened."""
        self._differs = False
        self._begin = 0
        self._texts: Counter[int] = Counter()  # by hash, of those that are held
        self._again: dict[type, Iterator[tuple[int, int]]] = {}
        try:
            self._file = os.open(folder.output, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._walk(after)
            os.ftruncate(self._file, self.size)  # a record that was cut off
        except OSError as error:
            raise no_room(error, folder.path) from error
        self._held = self.size
        if after and not self._begin:
            self._begin = self._held
            self._texts.clear()
        if not self.size:
            self._append(encode(HeaderText(header.xml)))

    def write(self, item: Item) -> None:
        """Append an item, or what of it is not held.

        Raises:
            StorageError: where it cannot be written.
        """
        if self.closed:
            return
        if isinstance(item, Text):
            if not self._texts[hash(item.text)]:
                self._append(encode(item))
            else:
                self._texts[hash(item.text)] -= 1
            return
        data = memoryview(encode(item))
        size = len(data) // (len(item) if isinstance(item, Acquisitions | Waveforms) else 1)
        held = self._again.setdefault(type(item), self._records(type(item)))
        while data and (found := next(held, None)) is not None:
            if not self._equal(found, data[:size]):
                self._differ(type(item).__name__)
            data = data[size:]
        if data:
            self._append(data)
        self.closed = isinstance(item, Close)

    def _walk(self, after: Text | None) -> None:
        """Find what is held, up to a record that is not whole."""
        with contextlib.closing(LogReader(self._folder.output)) as reader:
            try:
                for item in reader.read(reader.size()):
                    self._grown(reader.position)
                    if after and not self._begin and item == after:
                        self._begin = reader.position
                        self._texts.clear()
                    self.n_images += isinstance(item, Image)
                    if isinstance(item, Text):
                        self._texts[hash(item.text)] += 1
            except StreamError as error:
                self._folder.write_event("output damaged", reason=error.message, kept=reader.position)
            self.size, self.closed = reader.position, reader.closed

    def _records(self, kind: type) -> Iterator[tuple[int, int]]:
        """Where the records of one type that were held begin and end."""
        with contextlib.closing(LogReader(self._folder.output)) as reader:
            start = reader.position = self._begin
            for item in reader.read(self._held):
                if type(item) is kind:
                    count = len(item) if isinstance(item, Acquisitions | Waveforms) else 1
                    size = (reader.position - start) // count
                    yield from ((at, at + size) for at in range(start, reader.position, size))
                start = reader.position

    def _equal(self, place: tuple[int, int], data: memoryview) -> bool:
        """Whether the log holds `data` at `place`."""
        start, end = place
        return end - start == len(data) and all(
            os.pread(self._file, _COMPARED_AT_ONCE, start + at)[: len(data) - at] == data[at : at + _COMPARED_AT_ONCE]
            for at in range(0, len(data), _COMPARED_AT_ONCE)
        )

    def _differ(self, kind: str) -> None:
        """Tell it once."""
        if not self._differs:
            self._differs = True
            words = f"{kind} came out otherwise when the scan was run again; what was given first stays as it is"
            self.write(Text(f"warning: {words}"))

    def _append(self, record: bytes | memoryview) -> None:
        data = memoryview(record)
        while data:
            try:
                written = os.write(self._file, data)
            except OSError as error:
                if not is_full(error):
                    raise no_room(error, self._folder.path) from error
                self._wait_for_room()
            else:
                self.size += written
                data = data[written:]
        self._grown(self.size)
