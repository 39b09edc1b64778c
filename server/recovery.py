"""Sessions that a server before this one did not finish, as it was killed or stopped: which they are, and what follows.

The input of a session says how it goes on. Where it has ended, the chain finishes it. Where it has not, a native client
comes back and goes on with it from disk, and nothing is done before; a client of the MRD protocol cannot, so that its
input is cut off and what came is worked on.
"""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

from echotrain.mrd.errors import EchotrainError

from .folder import SessionFolder, all_sessions

STOPPED = "the server stopped"
"""Why a session was left that the next server takes up."""
KILLED = "the server was killed; the client may go on"
CUT_OFF = "the server stopped in the midst of the scan"
MOST_TAKEN_UP = 3  # times without any progress, as where the session brings the server down each time

_STATES = {"opened": True, "taken up": True, "done": False, "error": False, "retried": False}
_log = logging.getLogger(__name__)


class LeftBehind:
    """Finds such sessions in a thread of its own, so that a server with many of them starts no later."""

    def __init__(self) -> None:
        self._found: queue.SimpleQueue[SessionFolder] = queue.SimpleQueue()

    def find(self, root: Path) -> None:
        """Begin to look through what is under `root` at this moment."""
        folders = all_sessions(root)
        threading.Thread(target=self._look_through, args=(folders,), name="recovery", daemon=True).start()

    def next(self) -> SessionFolder | None:
        """One that was found, oldest first; None where none is known by now."""
        try:
            return self._found.get_nowait()
        except queue.Empty:
            return None

    def _look_through(self, folders: list[SessionFolder]) -> None:
        for folder in folders:
            try:
                if is_unfinished(folder):
                    self._found.put(folder)
            except OSError as error:
                _log.warning("session %s cannot be looked at, and is left as it is: %s", folder.id, error)


def is_unfinished(folder: SessionFolder) -> bool:
    """Whether a server was at work on a session, or waited for its client, when it ended.

    Raises:
        OSError: where the session cannot be read.
    """
    unfinished = False
    for event in folder.events():
        if event["event"] == "left":
            unfinished = event.get("reason") == STOPPED
        unfinished = _STATES.get(event["event"], unfinished)
    return unfinished


def waits_for_client(folder: SessionFolder) -> bool:
    """Whether a client may come back that has not sent all.

    Raises:
        SessionError: where the session cannot be read.
    """
    ended = any(event["event"] in ("ended", "input cut off") for event in folder.events())
    return not ended and folder.request.get("door") != "mrd"


def take_up(folder: SessionFolder) -> None:
    """Note that a session is taken up.

    Raises:
        EchotrainError: where that was so too often, without any progress since.
        OSError: where the session cannot be read.
    """
    progress = {"held": _size(folder.input), "made": _size(folder.output)}
    in_vain = 0
    for event in folder.events():
        if event["event"] == "taken up":
            in_vain = in_vain + 1 if {name: event.get(name) for name in progress} == progress else 0
        elif event["event"] == "left":  # as by a server that ended well
            in_vain = 0
    if in_vain >= MOST_TAKEN_UP:
        raise EchotrainError(
            f"the server ended {in_vain} times while it finished this session, which is not tried again by itself; "
            f"`echotrain sessions retry {folder.id}` runs it"
        )
    folder.write_event("taken up", **progress)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
