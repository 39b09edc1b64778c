"""What arrives counted and dropped, to measure how fast it does, or to keep it only."""

from __future__ import annotations

from collections.abc import Iterator

from echotrain.mrd import Acquisitions, Header, Image, Text, Waveforms

from .gadget import Gadget


class Count(Gadget[Acquisitions | Waveforms | Image, Text]):
    """Count lines, waveforms and images, and say how many at the end; they go no further."""

    def start(self, header: Header, /) -> None:
        self._n_lines = self._n_waveforms = self._n_images = self._n_bytes = 0

    def process(self, item: Acquisitions | Waveforms | Image, /) -> None:
        # nbytes is arithmetic on shapes: the samples of a mapped file are never read.
        self._n_bytes += item.head.nbytes + item.data.nbytes
        match item:
            case Acquisitions(trajectory=trajectory):
                self._n_lines += len(item)
                self._n_bytes += 0 if trajectory is None else trajectory.nbytes
            case Waveforms():
                self._n_waveforms += len(item)
            case Image():
                self._n_images += 1

    def finish(self) -> Iterator[Text]:
        others = {"waveforms": self._n_waveforms, "images": self._n_images}
        counted = [f"{self._n_lines} lines", *(f"{n} {kind}" for kind, n in others.items() if n)]
        yield Text(f"{', '.join(counted)}, {self._n_bytes} bytes")
