"""Lines counted and dropped, to measure how fast they arrive."""

from __future__ import annotations

from collections.abc import Iterator

from echotrain.mrd import Acquisitions, Header, Image, Text, Waveforms

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


class Discard(Gadget[Acquisitions | Waveforms | Image, Text]):
    """Make nothing of anything: for clients that want their data kept, as every session's is."""

    def start(self, header: Header, /) -> None:
        self._counted = {"lines": 0, "waveforms": 0, "images": 0}

    def process(self, item: Acquisitions | Waveforms | Image, /) -> None:
        kind = "images" if isinstance(item, Image) else "lines" if isinstance(item, Acquisitions) else "waveforms"
        self._counted[kind] += 1 if isinstance(item, Image) else len(item)

    def finish(self) -> Iterator[Text]:
        yield Text(f"kept, and nothing made of them: {', '.join(f'{n} {kind}' for kind, n in self._counted.items())}")
