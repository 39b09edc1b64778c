"""What the tests of several floors share: real data, small simulated scans, and a server in a process of its own."""

import faulthandler
import gc
import os
import select
import signal
import subprocess
import sys
import weakref
from collections import namedtuple
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
import zmq
import zmq.utils.garbage
from hypothesis import settings
from leftovers import Leftovers

from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import HeaderText, encode

# The same examples in every run, and no limit on their time, which says more of the machine.
settings.register_profile("echotrain", deadline=None, derandomize=True)
settings.load_profile("echotrain")

# More threads of torch wait for one another by spinning, for very long where other programs take the cores.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
TEST_GADGETS = ROOT / "tests" / "integration" / "gadgets_for_tests"
START_SECONDS = 300  # for a server on a busy machine
HUNG_SECONDS = 300  # after which a test that knows no end is taken to hang; most take one

SmallScan = namedtuple("SmallScan", "header batches")
Server = namedtuple("Server", "address process sessions mrd")


@pytest.fixture(scope="session")
def data_folder():
    """Real scanner data, where it is at hand."""
    folder = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no scanner data: {folder} does not exist; set ECHOTRAIN_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory):
    """When all tests are over, no process, open port, shared memory or temporary file of theirs is there any more."""
    leftovers = Leftovers(tmp_path_factory.mktemp("temporary"))
    yield
    if left := leftovers.found():
        pytest.fail("\n".join(["the tests left behind:", *left]), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note failures; what is collected while a trace is put together may fail in CPython 3.11, and hide it."""
    item.failed = getattr(item, "failed", False) or call.excinfo is not None
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


_contexts = []
_init = zmq.Context.__init__


def _noted(context, *arguments, **options):
    _init(context, *arguments, **options)
    _contexts.append(weakref.ref(context))


zmq.Context.__init__ = _noted


@pytest.fixture(autouse=True)
def no_context_left_open(request):
    """What a failed test left open of ZeroMQ is closed at once, as it would wait for ever later; others leave none."""
    _contexts.clear()  # of fixtures that serve several tests
    yield
    open_ones = (context for found in _contexts if (context := found()) is not None and not context.closed)
    left = [context for context in open_ones if context is not zmq.utils.garbage.gc._context]  # pyzmq's own
    for context in list(left):
        try:
            context.destroy(linger=0)
        except zmq.ZMQError:  # it was ended already, by another name
            left.remove(context)
    if left and not request.node.failed:
        pytest.fail("the test left a ZeroMQ context open", pytrace=False)


@pytest.fixture
def bounded():
    """A test that hangs fails instead, and shows where each thread is; one that does not even fail ends all."""

    def too_long(*_):
        faulthandler.dump_traceback(sys.__stderr__)
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(HUNG_SECONDS)
    faulthandler.dump_traceback_later(2 * HUNG_SECONDS, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
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
                process.communicate(timeout=START_SECONDS)
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
