"""How far a session has come, as its events tell."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from echotrain.mrd.errors import SessionError

from .folder import SessionFolder

# The state that an event leaves a session in; those that are not here leave it as it was.
_STATES = {
    "opened": "running",
    "taken up": "running",
    "client away": "waiting",
    "client back": "running",
    "left": "parked",
    "done": "done",
    "retried": "done",
    "error": "failed",
}
_FROM = {"client away": "running", "client back": "waiting"}  # which mean nothing in another state
_OF_KEEPING = frozenset({"archiving", "archived", "not archived", "not removed"})  # which make a session no younger


@dataclass(frozen=True)
class Outcome:
    """What a session has come to."""

    state: str
    """`empty`, `running`, `waiting` (for a client), `parked` (left before its end), `done` or `failed`."""

    cut_off: bool
    """Whether the input ends before its end."""

    time: float
    """When something happened last [s since the epoch]."""

    archived: str
    """The file that it was archived to since, if any."""

    tried: float
    """When it was tried in vain to archive or remove it since [s since the epoch]; 0 where it was not."""

    @property
    def finished(self) -> bool:
        """Whether the chain has given all that it will."""
        return self.state in ("done", "failed")

    @property
    def failed(self) -> bool:
        """Whether a person may want to look at it: an error, or a scan that broke off."""
        return self.state == "failed" or (self.finished and self.cut_off)


def outcome(folder: SessionFolder) -> Outcome:
    """What a session has come to; one without events is as old as its folder.

    Raises:
        OSError: where it is there no more, or cannot be read.
    """
    state, cut_off, archived, tried = "empty", False, "", 0.0
    time = folder.path.stat().st_mtime
    for event in folder.events():
        name = event["event"]
        if name == "archived":
            archived, tried = str(event.get("file", "")), 0.0
            continue
        if name in _OF_KEEPING:
            tried = float(event["time"])  # `archiving` with nothing after it took its process with it
            continue
        time, archived, tried = float(event["time"]), "", 0.0
        if name in ("ended", "input cut off"):
            cut_off = name == "input cut off"
        elif _FROM.get(name, state) == state:
            state = _STATES.get(name, state)
    return Outcome(state, cut_off, time, archived, tried)


def shown_state(folder: SessionFolder) -> str:
    """The state in a word for a person, who is told whether a server has it at this moment.

    Raises:
        OSError: where it is there no more, or cannot be read.
    """
    found = outcome(folder)
    if found.archived:
        return "archived"
    if found.state in ("running", "waiting"):
        with contextlib.suppress(SessionError), folder.alone():
            return "parked"  # its server was killed
    return "failed" if found.failed else found.state


def size_of(folder: SessionFolder) -> int:
    """How large a session is on disk [bytes]; 0 where it is there no more."""
    size = 0
    with contextlib.suppress(OSError), os.scandir(folder.path) as files:
        for file in files:
            with contextlib.suppress(OSError):
                size += file.stat(follow_symlinks=False).st_size
    return size
