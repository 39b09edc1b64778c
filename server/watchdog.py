"""Watches one worker for the front: whether it lives, its gadgets get on, and its memory stays within bounds."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from echotrain.mrd.errors import EchotrainError, GadgetError
from echotrain.mrd.xml import parse_xml

from .folder import SessionFolder
from .memory import group_memory
from .running import STAGES, Mark, read_marks
from .settings import Settings

LONGEST_LOOK = 2.0  # [s] counted from one look to the next, should the front itself have been kept from looking
DUMP = signal.SIGUSR1
"""Makes a worker write where its threads are into its log."""


@dataclass
class _Stage:
    mark: Mark | None = None
    since: float = 0.0
    """How long it has been at this mark [s]."""
    processor: float = 0.0
    """How much processor time its thread had used at the last look [s]."""
    asked: bool = False
    """Whether the worker was asked where it is."""


class Watchdog:
    """Looks at a worker once a second or so."""

    def __init__(self, folder: SessionFolder, settings: Settings, process: int, now: float) -> None:
        """Watch the session's worker, which has not begun and leads the group of `process`."""
        self._folder = folder
        self._settings = settings
        self._process = process
        self._looked = now
        self._stages = [_Stage() for _ in STAGES]
        folder.running.unlink(missing_ok=True)  # of a worker before it

    def look(self, now: float) -> GadgetError | None:
        """Why the worker has to be ended, if it has."""
        elapsed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        marks = read_marks(self._folder)
        bound = self._settings.memory
        if bound and (taken := group_memory(self._process, bound)) > bound:
            most = f"the {bound / 1e9:.2f} GB that a session may have (`serve --memory`)"
            return self._error(f"was ended, as it had taken {taken / 1e9:.2f} GB, more than {most},", marks)
        for stage, mark in zip(self._stages, marks, strict=False):
            if self._is_stuck(stage, mark, elapsed):
                how = f"was ended, as it had got no further for {self._settings.stuck:g} s (`serve --stuck`),"
                return self._error(how, [mark])
        return None

    def death(self, code: int | None) -> GadgetError:
        """The error for a worker that ended without a word: with status `code`, minus a signal, or None if it lives."""
        if code is None:
            how = "closed its connection to the server, and was ended,"
        elif code >= 0:
            how = f"ended with status {code}"
        else:
            known = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            how = f"was killed by {known}"
            how += " (as a system does that is out of memory)" if -code == signal.SIGKILL else ""
        return self._error(how, read_marks(self._folder))

    def _is_stuck(self, stage: _Stage, mark: Mark, elapsed: float) -> bool:
        """Whether a gadget runs too long; time in which it could run, but had no processor, does not count."""
        runs, processor = _thread(self._process, mark.thread)
        used, stage.processor = processor - stage.processor, processor
        if mark != stage.mark or not mark.gadget:
            stage.mark, stage.since, stage.asked = mark, 0.0, False
            return False
        stage.since += min(used, elapsed) if runs else elapsed
        if not 0 < self._settings.stuck <= stage.since:
            return False
        if stage.asked:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, DUMP)  # and by the next look it is written
        stage.asked = True
        return False

    def _error(self, how: str, marks: list[Mark]) -> GadgetError:
        names = self._names(marks)
        doing = "made its gadgets" if any(mark.gadget < 0 for mark in marks) else f"ran {names or 'no gadget'}"
        return GadgetError(f"the worker process {how} while it {doing}", gadget=names, detail=self._tail())

    def _names(self, marks: list[Mark]) -> str:
        try:
            gadgets = list(parse_xml(self._folder.chain.read_bytes(), "the chain", EchotrainError).iter("gadget"))
        except (OSError, EchotrainError):
            return ""
        return " or ".join(
            gadgets[mark.gadget - 1].get("name", "") for mark in marks if 0 < mark.gadget <= len(gadgets)
        )

    def _tail(self) -> str:
        """The end of what the worker printed, where a crash leaves its trace."""
        try:
            return self._folder.log.read_text(errors="replace")[-4000:]
        except OSError:
            return ""


def _thread(process: int, thread: int) -> tuple[bool, float]:
    """Whether a thread runs or waits for a processor, and not for anything else; and what it has used [s]."""
    try:
        stat = Path(f"/proc/{process}/task/{thread}/stat").read_text()
    except OSError:
        return False, 0.0
    fields = stat.rpartition(")")[2].split()
    return fields[0] == "R", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
