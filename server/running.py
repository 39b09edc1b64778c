"""Which gadget runs at this moment, as a worker notes it where the front can see it whatever becomes of the worker."""

from __future__ import annotations

import mmap
import struct
import threading
from typing import NamedTuple

from .folder import SessionFolder

STAGES = LINES, IMAGES = 0, 1
"""The stages of a chain: gadgets on lines with only such before them, and all others."""

BUILDS = -2
"""In the place of a gadget's index, while their modules are imported and they are made."""
_MARKS = struct.Struct("=qqq")


class Mark(NamedTuple):
    """What one stage of a worker is at."""

    gadget: int
    """Which gadget's code runs, counted from 1; 0 for none, as while the stage waits, and less while they are made."""
    turns: int
    """How often a gadget was entered or left."""
    thread: int
    """The system's number of the thread."""


class RunningMarks:
    """The worker's end."""

    def __init__(self, folder: SessionFolder) -> None:
        size = _MARKS.size * len(STAGES)
        folder.running.write_bytes(bytes(size))
        with folder.running.open("r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), size)).cast("q")

    def begin(self, stage: int) -> None:
        """Note that this thread runs `stage`, which takes longer to find out than all else."""
        self._numbers[3 * stage + 2] = threading.get_native_id()

    def note(self, stage: int, index: int) -> None:
        """Note that gadget `index` is entered in `stage`, -1 for none, or BUILDS; takes 0.3 microseconds."""
        self._numbers[3 * stage] = index + 1
        self._numbers[3 * stage + 1] += 1


def read_marks(folder: SessionFolder) -> list[Mark]:
    """What each stage was at last; nothing where no worker has run yet, or the file is gone."""
    try:
        return [Mark(*numbers) for numbers in _MARKS.iter_unpack(folder.running.read_bytes())]
    except (OSError, struct.error):
        return []
