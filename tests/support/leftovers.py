"""What a run of tests left behind: processes, open ports, shared memory, temporary files.

Everything that the run starts inherits a mark in its environment, so that it is found whoever its parent is by now.
"""

import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import tempfile
import time
import uuid
from pathlib import Path

MARK = "ECHOTRAIN_TEST_RUN"
SECONDS = 60.0  # for processes that are on their way out
LISTENING = "0A"
OF_MULTIPROCESSING = "pymp-"  # folders of Python's own, which a process that is killed cannot remove
SHARED_MEMORY = Path("/dev/shm")
OF_PYTHON = ("psm_", "sem.", "torch_", "echotrain")  # beginnings of names there; others belong to other programs


class Leftovers:
    """Made when the tests begin; `found` at their end says what is still there, one line each."""

    def __init__(self, temporary):
        """Let this process and all that it starts put temporary files into the folder `temporary`."""
        self._temporary = temporary
        self._mark = f"{MARK}={uuid.uuid4()}"
        os.environ.update([self._mark.split("=")], TMPDIR=str(temporary))
        tempfile.tempdir = str(temporary)
        self._shared_before = names(SHARED_MEMORY)

    def found(self):
        """Waits for what is on its way out."""
        multiprocessing.forkserver._forkserver._stop()  # which would end with this process
        multiprocessing.resource_tracker._resource_tracker._stop()
        gc.collect()
        limit = time.monotonic() + SECONDS
        while (left := [*self._processes(), *self._ports(), *self._shared(), *self._files()]) and (
            time.monotonic() < limit
        ):
            time.sleep(0.05)
        return left

    def _processes(self):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                marked = self._mark.encode() in (process / "environ").read_bytes().split(b"\0")
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # another user's, or ended meanwhile
            if marked and int(process.name) != os.getpid():
                yield f"process {process.name}: {command[:200]}"

    def _ports(self):
        """Those of this process; any other's go with that."""
        listening = {}
        for table in ("tcp", "tcp6"):
            path = Path("/proc/self/net", table)
            for row in path.read_text().splitlines()[1:] if path.exists() else ():
                cells = row.split()
                if cells[3] == LISTENING:
                    listening[f"socket:[{cells[9]}]"] = int(cells[1].rpartition(":")[2], 16)
        yield from (f"open port {listening[target]}" for target in open_files() if target in listening)

    def _shared(self):
        """What is new and belongs to no living process; others of this machine may make theirs meanwhile."""
        new = names(SHARED_MEMORY) - self._shared_before
        if new:
            used = set()
            for maps in Path("/proc").glob("[0-9]*/maps"):
                try:
                    used |= {line.split()[-1] for line in maps.read_text().splitlines() if str(SHARED_MEMORY) in line}
                except OSError:
                    continue
            yield from (f"shared memory {name}" for name in new if str(SHARED_MEMORY / name) not in used)

    def _files(self):
        paths = self._temporary.iterdir()
        yield from (f"temporary {path}" for path in paths if not path.name.startswith(OF_MULTIPROCESSING))
        yield from (f"open file {target}" for target in open_files() if target.startswith(f"{self._temporary.parent}/"))


def names(folder):
    """Of shared memory that programs in Python make."""
    return {path.name for path in folder.glob("*") if path.name.startswith(OF_PYTHON)}


def open_files():
    """What the descriptors of this process are of."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue  # that of the folder itself
