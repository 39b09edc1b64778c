"""A gadget of a site: tells whoever sends a scan how far it has come."""

from collections.abc import Iterator

from echotrain.gadgets import Gadget, parameter
from echotrain.mrd import Acquisitions, Header, Text


class TellProgress(Gadget[Acquisitions, Acquisitions | Text]):
    """Tell how many lines have come, every so often; the lines go on as they are."""

    every: int = parameter(100, "Lines from one message to the next.", low=1)

    def start(self, header: Header, /) -> None:
        self._n_lines = 0

    def process(self, lines: Acquisitions, /) -> Iterator[Acquisitions | Text]:
        before, self._n_lines = self._n_lines, self._n_lines + len(lines)
        if self._n_lines // self.every > before // self.every:
            yield Text(f"{self._n_lines} lines have come")
        yield lines
