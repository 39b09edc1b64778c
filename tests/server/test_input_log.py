"""What an input log takes, and what it tells of it, when the disk is full or slow."""

import errno
import os
from contextlib import closing
from dataclasses import replace

import pytest
from made_up_sessions import BEGINNING, HEADER, START, FakeClient, FakeWorker, WithWorker

from echotrain.mrd import Close, Text, encode
from echotrain.mrd.errors import ProtocolError, StorageError
from echotrain.server import input_log as module
from echotrain.server.folder import create_session, no_room
from echotrain.server.input_log import InputLog
from echotrain.server.session import Session
from echotrain.server.settings import Settings
from echotrain.server.wire import Credit, Done, Error, Notice, Opened, Output

CLOSE = bytes(encode(Close()))


class FakeDisk:
    """With as much room as a test gives it, on which nothing is synced before the test says so."""

    def __init__(self):
        self.room = 1000
        self.asked = []

    def has_room(self, size):
        fits = size <= self.room
        self.room -= size if fits else 0
        return fits

    def room_is_back(self, size):
        return self.room >= size

    def full_error(self, path):
        return no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)

    def waiting_words(self, session):
        return f"{session} waits"

    def sync(self, paths, then, *, hurry=False):
        self.asked.append((paths, then))
        self.in_a_hurry = hurry

    def sync_all(self, error=None):
        """All that was asked for until now; gives the files."""
        asked, self.asked = self.asked, []
        for _, then in asked:
            then(error)
        return {path.name for paths, _ in asked for path in paths}


@pytest.fixture
def disk():
    return FakeDisk()


@pytest.fixture
def folder(tmp_path):
    return create_session(tmp_path, {"config": "count", "parameters": {}, "label": ""}, HEADER)


@pytest.fixture
def log(folder, disk):
    with closing(InputLog(folder, 100, disk, lambda error: None)) as opened:
        opened.grant()
        yield opened


def fail_to_write(monkeypatch, number):
    """Whatever is written next stops with an error of the system, half done."""

    def write(file, parts):
        real(file, [parts[0][:1]])
        raise OSError(number, os.strerror(number))

    real = os.writev
    monkeypatch.setattr(module.os, "writev", write)


def test_what_finds_no_room_is_not_held_and_comes_again(folder, log, disk):
    disk.sync_all()
    log.grant()
    disk.room = 7
    assert log.append_at(START, [b"four", b"two"])
    assert not log.append_at(START + 7, [b"more"])
    assert (log.held, log.lacking) == (START + 7, 4)
    assert not log.append_at(START + 11, [b"what follows"])
    assert not log.append_at(START, [b"four"])  # of which nothing is new
    assert (log.held, log.lacking) == (START + 7, 4)
    assert not log.append_at(START + 11, [b"what follows"])
    assert not log.end(START + 23)
    disk.room = 1000
    assert not log.append_at(START + 11, [b"sent before the client knew that there is room"])
    assert log.append_at(START + 7, [b"more"])
    assert log.append_at(START + 11, [b"what follows"])
    assert log.lacking == 0
    assert log.end(START + 23)
    assert folder.input.read_bytes() == BEGINNING + b"fourtwomorewhat follows" + CLOSE


def test_a_gap_is_refused_once_all_was_sent_again(log, disk):
    disk.sync_all()
    log.grant()
    disk.room = 0
    assert not log.append_at(START, [b"more"])
    disk.room = 1000
    assert log.append_at(START, [b"more"])
    with pytest.raises(ProtocolError, match="missing"):
        log.append_at(START + 5, [b"too far"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_all_the_same_is_waited_for(folder, log, monkeypatch, number):
    fail_to_write(monkeypatch, number)
    assert not log.append([b"data"])
    assert (log.held, log.lacking) == (START, 4)
    assert not log.end(START)
    monkeypatch.undo()
    assert log.append([b"data"])
    assert log.end(START + 4)
    assert folder.input.read_bytes() == BEGINNING + b"data" + CLOSE


def test_a_disk_that_is_broken_is_an_error(folder, log, monkeypatch):
    fail_to_write(monkeypatch, errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        log.append([b"data"])
    assert folder.input.read_bytes() == BEGINNING


def test_the_record_that_closes_it_may_use_the_reserve(log, disk):
    disk.room = 0
    assert log.end(START)
    assert log.ended


def test_a_session_for_which_there_is_no_room_is_refused(folder, disk):
    disk.room = 0
    with pytest.raises(StorageError, match="No space left on device"):
        InputLog(folder, 100, disk, lambda error: None)


def test_credit_is_for_what_is_safe(log, disk):
    assert (log.safe, log.grant()) == (0, 100)
    assert log.append([bytes(60)])
    assert disk.sync_all() >= {"input.mrd", "header.xml", "session.json", log._folder.id}
    assert (log.safe, log.grant()) == (START + 60, START + 160)
    assert log.append([bytes(51)])
    assert not log.credit_is_low
    assert disk.sync_all() == {"input.mrd"}
    assert log.credit_is_low


def test_a_sync_is_in_a_hurry_when_half_the_window_waits_for_it(log, disk):
    disk.sync_all()
    log.append([bytes(50)])
    assert not disk.in_a_hurry
    log.append([bytes(1)])
    assert disk.in_a_hurry
    disk.sync_all()
    log.append([bytes(1)])
    assert not disk.in_a_hurry


def test_who_waits_for_room_has_no_credit(log, disk):
    disk.sync_all()
    disk.room = 0
    assert not log.append([b"data"])
    assert log.grant() == log.safe
    assert not log.credit_is_low


# -- with its session --------------------------------------------------------------------------------------------


class RunningSession(WithWorker):
    """A session on a disk that is made up, with a worker that says what it is told to."""

    def __init__(self, folder, disk):
        self.worker, self.client, self.folder = FakeWorker(), FakeClient(), folder
        self.heard, self.of = self.client.messages, self.client.of
        settings = replace(Settings(sessions=folder.path.parent), input_window=100)
        self.session = Session(folder, settings, self.client, disk)
        self.session.start(self.worker, lambda worker: None, lambda session: None)


@pytest.fixture
def opened(folder, disk):
    made = RunningSession(folder, disk)
    yield made
    made.session.leave("the test is over")


def test_a_session_opens_when_its_worker_is_ready_and_its_folder_safe(opened, disk):
    opened.worker_says("ready")
    assert not opened.heard
    disk.sync_all()
    assert opened.heard == [Opened(opened.session.id, START, START + 100)]


def test_input_is_acknowledged_once_it_is_safe(opened, disk):
    opened.worker_says("ready")
    disk.sync_all()
    opened.session.receive(START, [bytes(60)])
    opened.session.remind()
    assert opened.of(Credit)[-1] == Credit(opened.session.id, START, START + 100)
    disk.sync_all()
    assert opened.of(Credit)[-1] == Credit(opened.session.id, START + 60, START + 160)


def test_output_is_sent_once_it_is_safe(opened, disk):
    opened.worker_says("ready")
    disk.sync_all()
    first, second = (bytes(encode(Text(text))) for text in ("first", "second one"))
    opened.make_output(first)
    opened.make_output(second)
    assert not opened.of(Output)
    assert "output.mrd" in disk.sync_all()
    assert [message.offset for message in opened.of(Output)] == [0, len(first)]


def test_all_is_said_to_be_done_once_all_is_safe(opened, disk):
    opened.worker_says("ready")
    disk.sync_all()
    opened.session.end(START)
    opened.worker_says("done", 0, {})
    assert not opened.of(Done)
    disk.sync_all()
    assert len(opened.of(Done)) == 1


def test_a_client_that_comes_back_before_its_input_is_safe_waits_as_well(opened, disk):
    opened.worker_says("ready")
    opened.session.attach(opened.client)
    assert not opened.of(Opened)
    disk.sync_all()
    assert [message.offset for message in opened.of(Opened)] == [START]


def test_a_sync_that_fails_ends_the_session(opened, disk):
    opened.worker_says("ready")
    disk.sync_all(OSError(errno.EIO, "Input/output error"))
    assert [message.code for message in opened.of(Error)] == ["storage"]


def test_a_client_is_told_once_that_its_scan_waits_and_asked_again_once_there_is_room(opened, disk):
    opened.worker_says("ready")
    disk.sync_all()
    disk.room = 0
    opened.session.receive(START, [bytes(5)])
    opened.session.receive(START + 5, [bytes(5)])
    opened.worker_says("full")
    assert [message.message for message in opened.of(Notice)] == [f"{opened.session.id} waits"]
    opened.session.look_after()
    assert len(opened.of(Opened)) == 1
    disk.room = 1000
    opened.session.look_after()
    assert opened.of(Opened)[1:] == [Opened(opened.session.id, START, START + 100)]


def test_a_client_that_comes_back_to_a_scan_that_waits_is_told(opened, disk):
    opened.worker_says("ready")
    disk.sync_all()
    disk.room = 0
    opened.session.receive(START, [bytes(5)])
    opened.session.attach(opened.client)
    assert opened.heard[-2:] == [
        Opened(opened.session.id, START, START),
        Notice(opened.session.id, f"{opened.session.id} waits"),
    ]
