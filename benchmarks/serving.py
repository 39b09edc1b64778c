"""A server of our own to measure, in a process of its own, and how to look at its memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: str
    mrd: tuple[str, int]
    pid: int
    sessions: Path

    def forget(self) -> None:
        """Remove all sessions, to make room for the next run."""
        for folder in self.sessions.iterdir():
            shutil.rmtree(folder)


@contextmanager
def running_server(*options: str, parent: Path | None = None) -> Iterator[Server]:
    """`echotrain serve` on a free port, ended with the block; its sessions go with it."""
    with tempfile.TemporaryDirectory(prefix="echotrain-", dir=parent) as folder:
        command = [sys.executable, "-m", "echotrain.clients.main", "serve"]
        command += ["--bind", "tcp://127.0.0.1:*", "--mrd", "127.0.0.1:0", "--log-level", "error"]
        process = subprocess.Popen([*command, "--sessions", folder, *options], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready.startswith("ready"):
                raise RuntimeError(f"the server did not start: {ready!r}")
            words = ready.replace(",", "").split()
            host, _, port = words[5].rpartition(":")
            yield Server(words[2], (host, int(port)), process.pid, Path(folder))
        finally:
            process.terminate()
            process.communicate(timeout=30)


def processes(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += processes(int(child))
    return found
