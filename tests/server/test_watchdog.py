"""The front ends a worker whose gadget gets no further, or that takes too much memory; and no other."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from echotrain.server import memory, watchdog
from echotrain.server.folder import create_session
from echotrain.server.memory import default_bound, group_memory, is_memory_error
from echotrain.server.running import BUILDS, IMAGES, LINES, RunningMarks, read_marks
from echotrain.server.settings import Settings
from echotrain.server.watchdog import Watchdog

CHAIN = '<chain name="two"><gadget name="First"/><gadget name="Second"/></chain>'


class Watched:
    """A worker that is made up, and the watchdog that looks at it once a second."""

    def __init__(self, root, monkeypatch, **settings):
        self.folder = create_session(root, {}, b"")
        self.folder.chain.write_text(CHAIN)
        self.folder.log.write_text("where it is")
        self.dumps, self.runs, self.processor, self.now, self.taken = 0, False, 0.0, 100.0, 0
        monkeypatch.setattr(watchdog.os, "kill", lambda *_: setattr(self, "dumps", self.dumps + 1))
        monkeypatch.setattr(watchdog, "_thread", lambda *_: (self.runs, self.processor))
        monkeypatch.setattr(watchdog, "group_memory", lambda *_: self.taken)
        self.dog = Watchdog(self.folder, replace(Settings(memory=10**9, stuck=3.0), **settings), 1, self.now)
        self.marks = RunningMarks(self.folder)

    def looks(self, times, seconds=1.0, processor=0.0):
        """The first thing found, if any."""
        for _ in range(times):
            self.now += seconds
            self.processor += processor
            if found := self.dog.look(self.now):
                return found
        return None


@pytest.fixture
def watched(tmp_path, monkeypatch):
    return lambda **settings: Watched(tmp_path, monkeypatch, **settings)


@pytest.mark.parametrize(("stage", "gadget"), [(LINES, "First"), (IMAGES, "Second")])
def test_a_gadget_that_gets_no_further_is_named_once_its_time_is_over(watched, stage, gadget):
    worker = watched()
    worker.marks.note(stage, stage)
    assert worker.looks(4) is None
    assert worker.dumps == 1  # and the worker has a second to write where it is
    error = worker.looks(1)
    assert error.gadget == gadget
    assert "no further for 3 s (`serve --stuck`)" in error.message
    assert error.detail == "where it is"


def test_a_chain_that_is_never_made_is_ended_as_well(watched):
    worker = watched()
    worker.marks.note(LINES, BUILDS)
    assert worker.looks(4) is None
    error = worker.looks(1)
    assert (error.gadget, "while it made its gadgets" in error.message) == ("", True)


def test_a_gadget_that_is_left_or_entered_again_gets_on(watched):
    worker = watched()
    for index in (0, 0, -1, 1, 0, 0):
        worker.marks.note(LINES, index)
        assert worker.looks(3) is None
    assert worker.dumps == 0


def test_who_waits_never_hangs(watched):
    worker = watched()
    worker.marks.note(LINES, -1)
    worker.marks.note(IMAGES, -1)
    assert worker.looks(1000) is None


def test_without_a_bound_a_gadget_takes_as_long_as_it_likes(watched):
    worker = watched(stuck=0.0, memory=0)
    worker.marks.note(LINES, 0)
    worker.taken = 10**15
    assert worker.looks(1000) is None


def test_one_that_waits_for_a_processor_does_not_hang(watched):
    worker = watched()
    worker.runs = True
    worker.marks.note(LINES, 0)
    assert worker.looks(100, processor=0.02) is None
    assert worker.looks(60, processor=0.02) is not None  # but has run for 3 s by and by


def test_time_in_which_the_server_did_not_look_does_not_count(watched):
    worker = watched(stuck=5.0)
    worker.marks.note(LINES, 0)
    assert worker.looks(3, seconds=3600.0) is None
    assert worker.dumps == 0


def test_marks_of_a_worker_before_this_one_mean_nothing(watched):
    worker = watched()
    worker.marks.note(LINES, 0)
    dog = Watchdog(worker.folder, replace(Settings(stuck=1.0)), 1, 0.0)
    assert [dog.look(float(second)) for second in range(1, 9)] == [None] * 8


def test_too_much_memory_is_told_with_the_bound_and_what_ran(watched):
    worker = watched()
    worker.marks.note(LINES, 0)
    worker.marks.note(IMAGES, 1)
    assert worker.looks(1) is None
    worker.taken = 1_200_000_000
    error = worker.looks(1)
    assert error.gadget == "First or Second"
    assert "taken 1.20 GB, more than the 1.00 GB that a session may have (`serve --memory`)" in error.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-11, "was killed by SIGSEGV"),
        (-9, "SIGKILL (as a system does"),
        (-33, "signal 33"),
        (4, "status 4"),
        (None, "closed"),
    ],
)
def test_a_death_is_told_by_signal_or_status(watched, code, words):
    worker = watched()
    assert words in worker.dog.death(code).message
    assert "while it ran no gadget" in worker.dog.death(code).message


def test_marks_tell_what_runs_how_often_it_changed_and_in_which_thread(tmp_path):
    folder = create_session(tmp_path, {}, b"")
    assert read_marks(folder) == []
    marks = RunningMarks(folder)
    marks.begin(IMAGES)
    for index in (4, 300, -1):
        marks.note(IMAGES, index)
    marks.note(LINES, 7)
    thread = threading.get_native_id()
    assert read_marks(folder) == [(8, 1, 0), (0, 3, thread)]


def test_a_thread_that_works_is_told_from_one_that_waits():
    runs, used = watchdog._thread(os.getpid(), threading.get_native_id())
    assert runs
    assert used > 0
    assert watchdog._thread(0, 0) == (False, 0.0)


def test_the_memory_of_a_group_is_that_of_all_its_processes_without_what_they_share():
    """The child holds 60 MB of its own, and its own child shares another 40 MB with it."""
    code = """
import os, sys
os.setpgid(0, 0)
shared = bytearray(b"x") * 40_000_000
read, write = os.pipe()
if os.fork() == 0:
    own = bytearray(b"x") * 60_000_000
    os.write(write, b"x")
    os.read(0, 1)
    os._exit(0)
os.read(read, 1)
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"ready\n"
            memory._groups.cache_clear()
            exact = group_memory(child.pid, 0)
            rough = group_memory(child.pid, 10**12)
            assert 100e6 < exact < 135e6
            assert rough > exact + 35e6
        finally:
            child.kill()


def test_no_process_has_no_memory():
    assert group_memory(0x7FFFFFFF, 0) == 0


def test_a_session_may_have_three_quarters_of_the_machine_or_of_its_control_group(tmp_path, monkeypatch):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < default_bound() <= 3 * machine // 4
    monkeypatch.setattr(memory, "_bounds", lambda: iter([8000, 4000, 1 << 62]))
    assert default_bound() == 3000


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("odd"), False),
        (None, False),
    ],
)
def test_a_lack_of_memory_is_known_whatever_it_became(error, is_one):
    assert is_memory_error(error) == is_one
    outer = ValueError("wrapped")
    outer.__cause__ = error
    assert is_memory_error(outer) == is_one
