"""A live line on the terminal while a recording is played: lines, MB/s, images, lag."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console


class Progress:
    """Shown on standard error; where that is no terminal, only texts are printed."""

    def __init__(self, title: str, total_lines: int | None = None) -> None:
        self._console = Console(stderr=True)
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TextColumn(
                "{task.completed:.0f} lines  {task.fields[rate]:.1f} MB/s  "
                "{task.fields[images]} images  lag {task.fields[lag]:.0f} ms"
            ),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total_lines, rate=0.0, images=0, lag=0.0)
        self._start = time.monotonic()
        self._bytes = 0
        self._images = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def lines(self, count: int, n_bytes: int, late: float) -> None:
        """Note lines that were sent, their samples' bytes, and how late they were [s]."""
        self._bytes += n_bytes
        rate = self._bytes / 1e6 / max(time.monotonic() - self._start, 1e-3)
        self._bar.update(self._task, advance=count, rate=rate, lag=1000 * late)

    def image(self) -> None:
        """Note an image that came."""
        self._images += 1
        self._bar.update(self._task, images=self._images)

    def text(self, text: str) -> None:
        """Show what a gadget says."""
        self._console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
