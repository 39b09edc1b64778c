"""What the tests of several floors share: real data, small simulated scans, and a server in a process of its own."""

import os
import select
import signal
import subprocess
import sys
from collections import namedtuple
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import HeaderText, encode

# The same examples in every run, and no limit on their time, which says more of the machine.
settings.register_profile("echotrain", deadline=None, derandomize=True)
settings.load_profile("echotrain")

ROOT = Path(__file__).parents[1]
TEST_GADGETS = ROOT / "tests" / "integration" / "gadgets_for_tests"
START_SECONDS = 60  # for a server on a busy machine

SmallScan = namedtuple("SmallScan", "header batches")
Server = namedtuple("Server", "address process sessions mrd")


@pytest.fixture(scope="session")
def data_folder():
    """Real scanner data, where it is at hand."""
    folder = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no scanner data: {folder} does not exist; set ECHOTRAIN_DATA")
    return folder


@pytest.fixture
def bounded():
    """A test that hangs fails instead."""

    def too_long(*_):
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@cache
def _simulated(**parameters):
    header, batches = simulate(Scan(**parameters))
    return SmallScan(header, list(batches))


@pytest.fixture(scope="session")
def small_scan():
    """`small_scan(repetitions=2)`: header and batches of a simulated scan, every axis of another size."""

    def make(**parameters):
        return _simulated(**{"matrix": (24, 20), "coils": 3, "slices": 2, **parameters})

    return make


@pytest.fixture(scope="session")
def as_stream():
    """`as_stream(scan)`: the bytes of a scan as they stand in an input log, without the record that closes it."""

    def make(scan):
        return b"".join(bytes(encode(item)) for item in (HeaderText(scan.header), *scan.batches))

    return make


@contextmanager
def _running_server(sessions, *options):
    command = [sys.executable, "-m", "echotrain.clients.main", "serve"]
    command += ["--bind", "tcp://127.0.0.1:*", "--mrd", "127.0.0.1:0"]
    command += ["--sessions", str(sessions), "--gadgets", str(TEST_GADGETS), "--log-level", "error"]
    command += options
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            select.select([process.stdout], [], [], START_SECONDS)
            ready = process.stdout.readline()
            assert ready.startswith("ready"), process.stderr.read()
            words = ready.replace(",", "").split()
            yield Server(words[2], process, Path(sessions), words[5] if "MRD" in words else "")
        finally:
            process.terminate()
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture(scope="session")
def running_server():
    """`with running_server(sessions_folder, *options) as server`: `echotrain serve` on a free port."""
    return _running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it as they found it."""
    with _running_server(tmp_path_factory.mktemp("sessions")) as running:
        yield running
        assert running.process.poll() is None, "a test brought the server down"
