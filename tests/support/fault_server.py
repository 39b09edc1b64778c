"""A server that may be killed and started again, behind a proxy whose address stays, with a clock that can be set."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from fault_proxy import Proxy

START_SECONDS = 300
PAGE = 4096
GROWTH_BYTES = 8 << 20  # of memory that an allocator may keep, far below what a session takes
CLOCK = """
import os, time
_real = time.time
_place = os.environ["ECHOTRAIN_TEST_CLOCK"]
def _jumping():
    with open(_place) as file:
        return _real() + float(file.read() or 0)
time.time = _jumping
"""


class FaultServer:
    """`echotrain serve` in a process of its own; `address` leads to it through `proxy`, whichever process it is."""

    def __init__(self, folder, *options, sessions=None):
        self.sessions = sessions or folder / "sessions"
        self._folder, self._options = folder, options
        self._process = None
        self.errors = folder / "stderr"
        (folder / "sitecustomize.py").write_text(CLOCK)
        self._clock = folder / "clock"
        self.set_clock(0)

    def __enter__(self):
        self.proxy = Proxy()
        self.address = self.proxy.address
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self.proxy.__exit__()

    @property
    def pid(self):
        return self._process.pid

    @property
    def told(self):
        """What it printed as errors, over all its lives."""
        return self.errors.read_text()

    def start(self):
        command = [sys.executable, "-m", "echotrain.clients.main", "serve", "--bind", "tcp://127.0.0.1:*"]
        command += ["--mrd", "off", "--sessions", str(self.sessions), *self._options]
        python_path = os.pathsep.join([str(self._folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        places = {"PYTHONPATH": python_path, "ECHOTRAIN_TEST_CLOCK": str(self._clock)}
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **places}
            )
        select.select([self._process.stdout], [], [], START_SECONDS)
        ready = self._process.stdout.readline()
        assert ready.startswith("ready"), self.told
        host, _, port = ready.replace(",", "").split()[2].removeprefix("tcp://").rpartition(":")
        self.proxy.target = host, int(port)

    def stop(self, number=signal.SIGTERM):
        """End it, tidily unless told otherwise, and wait until it and its workers are gone."""
        if self._process is None:
            return
        self.proxy.target = None
        with self._process as process:
            process.send_signal(number)
            try:
                process.communicate(timeout=START_SECONDS)
            finally:
                process.kill()
        self._process = None
        wait_until(lambda: not self.workers())

    def restart(self, number=signal.SIGKILL):
        self.stop(number)
        self.start()

    @property
    def lives(self):
        return self._process is not None and self._process.poll() is None

    def set_clock(self, seconds):
        """Let wall clocks be ahead of what they were by so much, at once."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._clock)

    def fill_disk(self):
        """Leave no room where sessions are kept."""
        with (self.sessions / "ballast").open("ab") as ballast:
            while (free := shutil.disk_usage(self.sessions).free) >= PAGE:
                with contextlib.suppress(OSError):  # the server wrote meanwhile
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, free)

    def free_disk(self):
        (self.sessions / "ballast").unlink(missing_ok=True)

    def workers(self, session=""):
        """The workers of a session, or of any."""
        return workers_of(self.sessions / session)


def workers_of(folder):
    """Processes that print into a file under `folder`: the workers of its sessions, and what their gadgets started."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if output.readlink().is_relative_to(folder):
                found.append(int(output.parts[2]))
    return found


@contextlib.contextmanager
def small_disk(folder, megabytes=64):
    """A folder that is a file system of its own, which a test may fill; None where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def sizes_of(server):
    """Descriptors and memory [bytes] of a server at rest."""
    wait_until(lambda: not server.workers())
    rows = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    resident = next(1024 * int(row.split()[1]) for row in rows if row.startswith("VmRSS"))
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir())), resident


def wait_until(condition, seconds=120.0):
    """Wait for a state, with a deadline for the worst machine; gives what came true."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not become so"
        time.sleep(0.01)
    return found
