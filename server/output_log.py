"""The worker's end of a session's output log: appends what the chain gives."""

from __future__ import annotations

from collections.abc import Callable

from echotrain.mrd import Header, HeaderText, Item, encode

from .disk import is_full
from .folder import SessionFolder, no_room


class OutputLog:
    """Opened anew, with the scan's header so that it is an MRD stream by itself."""

    def __init__(self, folder: SessionFolder, header: Header, wait_for_room: Callable[[], None]) -> None:
        """Open the log in place of one that is there; `wait_for_room` lets some time pass while the disk is full.

        Raises:
            StorageError: where it cannot be written.
        """
        self._folder = folder
        self._wait_for_room = wait_for_room
        self._file = folder.output.open("wb", buffering=0)
        self.size = 0
        """How much it holds [bytes]."""
        self.write(HeaderText(header.xml))

    def write(self, item: Item) -> None:
        """Append an item.

        Raises:
            StorageError: where it cannot be written.
        """
        data = memoryview(encode(item))
        while data:
            try:
                written = self._file.write(data) or 0
            except OSError as error:
                if not is_full(error):
                    raise no_room(error, self._folder.path) from error
                self._wait_for_room()
                continue
            self.size += written
            data = data[written:]
