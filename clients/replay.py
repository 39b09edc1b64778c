"""Plays a recording into a server as a scanner would, and writes the images that come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from echotrain.mrd import Acquisitions, Image, Item, Text
from echotrain.mrd.hdf5_images import ImageWriter
from echotrain.mrd.hdf5_read import read_header, read_items
from echotrain.server.wire import DEFAULT_ADDRESS

from .client import Scan, open_scan
from .connection import RECONNECT
from .pace import in_batches, play
from .progress import Progress


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What to play, where, and how fast."""

    source: Path
    config: str
    output: Path
    group: str = "dataset"
    parameters: Mapping[str, str] | None = None
    server: str = DEFAULT_ADDRESS
    speed: float = 0.0
    """0 as fast as the server takes it, 1 in real time by the time stamps, else a factor of that."""
    reconnect: float = RECONNECT
    """How long to wait for a server that was lost [s]."""
    keys: Path | str = ""
    """The file of this client's keys, where the server wants them."""
    lines_per_message: int = 0
    """1 sends line by line, 0 as the file is read."""

    def run(self, progress: Progress) -> int:
        """Play it, and give the number of images written.

        Raises:
            EchotrainError: what the server or the files report.
        """
        header = read_header(self.source, self.group)
        items = in_batches(read_items(self.source, self.group), self.lines_per_message)
        with (
            open_scan(
                self.config,
                header,
                parameters=self.parameters,
                server=self.server,
                label=self.source.name,
                reconnect=self.reconnect,
                keys=self.keys,
            ) as scan,
            ImageWriter(self.output, header_xml=header) as writer,
        ):
            n_images = 0
            for item in self._feed(scan, items, progress):
                if isinstance(item, Image):
                    writer.write(item)
                    n_images += 1
                    progress.image()
                elif isinstance(item, Text):
                    progress.text(item.text)
            return n_images

    def _feed(self, scan: Scan, items: Iterator[Item], progress: Progress) -> Iterator[Item]:
        """Send everything when it is due; what comes back meanwhile and after."""
        for item, late in play(items, self.speed, scan.wait):
            if item is not None:
                scan.send(item)
                if isinstance(item, Acquisitions):
                    progress.lines(len(item), item.data.nbytes, late)
            yield from scan.received()
        scan.end()
        yield from scan.items()
