"""Lines counted and dropped, to measure how fast they arrive."""

from __future__ import annotations

from collections.abc import Iterator

from echotrain.mrd import Acquisitions, Header, Text

from .gadget import Gadget


class Count(Gadget[Acquisitions, Text]):
    """Count lines and their bytes, and say how many at the end; the lines go no further."""

    def start(self, header: Header, /) -> None:
        self._n_lines = self._n_bytes = 0

    def process(self, lines: Acquisitions, /) -> None:
        # nbytes is arithmetic on shapes: the samples of a mapped file are never read.
        self._n_lines += len(lines)
        self._n_bytes += lines.head.nbytes + lines.data.nbytes
        self._n_bytes += 0 if lines.trajectory is None else lines.trajectory.nbytes

    def finish(self) -> Iterator[Text]:
        yield Text(f"{self._n_lines} lines, {self._n_bytes} bytes")
