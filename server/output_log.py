"""The worker's end of a session's output log: appends what the chain gives."""

from __future__ import annotations

from echotrain.mrd import Header, HeaderText, Item, encode

from .folder import SessionFolder, no_room


class OutputLog:
    """Opened anew, with the scan's header so that it is an MRD stream by itself."""

    def __init__(self, folder: SessionFolder, header: Header) -> None:
        """Open the log in place of one that is there.

        Raises:
            StorageError: where it cannot be written.
        """
        self._folder = folder
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
        try:
            while data:
                written = self._file.write(data) or 0
                self.size += written
                data = data[written:]
        except OSError as error:
            raise no_room(error, self._folder.path) from error
