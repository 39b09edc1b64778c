"""Whether the disk has room, and what is on it for good."""

import errno
import os
import threading
from types import SimpleNamespace

import pytest

from echotrain.mrd.errors import StorageError
from echotrain.server import disk as disk_module
from echotrain.server.disk import Disk, is_full
from echotrain.server.loop import Loop
from echotrain.server.settings import Settings

MB = 1 << 20


class FakeDisk:
    """Of 1000 MB, with some free."""

    def __init__(self, monkeypatch, free):
        self.free, self.looks, self.quota = free, 0, 1 << 40
        monkeypatch.setattr(disk_module.os, "statvfs", self.look)
        monkeypatch.setattr(disk_module.os, "posix_fallocate", self.allocate)

    def look(self, _path):
        self.looks += 1
        return SimpleNamespace(f_blocks=1000 * MB // 4096, f_bfree=0, f_bavail=self.free // 4096, f_frsize=4096)

    def allocate(self, _file, _offset, size):
        if size > self.quota:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")


@pytest.fixture
def full_but_for(monkeypatch, tmp_path):
    """`full_but_for(30 * MB)`: what that says of a disk, and how to change it."""

    def make(free, reserve=20 * MB):
        fake = FakeDisk(monkeypatch, free)
        return fake, Disk(Settings(sessions=tmp_path, reserve=reserve))

    return make


def test_what_is_written_leaves_the_reserve(full_but_for):
    fake, disk = full_but_for(30 * MB)
    for _ in range(10):
        assert disk.has_room(MB)
        fake.free -= MB
    assert not disk.has_room(1)
    assert disk.has_room(0)


def test_what_others_write_is_noticed_before_the_reserve_is_used_up(full_but_for):
    fake, disk = full_but_for(500 * MB)
    assert disk.has_room(MB)
    fake.free = 19 * MB
    written = next(n for n in range(1000) if not disk.has_room(100_000))
    assert written * 100_000 < 5 * MB
    fake.free = 500 * MB
    disk.look_again()
    assert disk.has_room(MB)
    fake.free = 19 * MB
    disk.look_again()
    assert not disk.has_room(1)


def test_the_disk_is_not_looked_at_for_every_line(full_but_for):
    fake, disk = full_but_for(500 * MB)
    for _ in range(1000):
        assert disk.has_room(1000)
    assert fake.looks == 1


@pytest.mark.parametrize(("blocks", "expected"), [(1000, 10), (1_000_000, 256)])
def test_the_reserve_is_a_hundredth_of_the_disk_and_at_most_256_mb(monkeypatch, tmp_path, blocks, expected):
    found = SimpleNamespace(f_blocks=blocks, f_bavail=blocks, f_frsize=MB)
    monkeypatch.setattr(disk_module.os, "statvfs", lambda _: found)
    disk = Disk(Settings(sessions=tmp_path))
    assert disk.has_room((blocks - expected) * MB)
    disk.look_again()
    assert not disk.has_room((blocks - expected) * MB + 1)


def test_room_is_back_when_there_is_as_much_again_as_the_reserve_and_what_was_wanted(full_but_for):
    fake, disk = full_but_for(20 * MB)
    assert not disk.has_room(30 * MB)
    for free, back in ((39, False), (49, False), (50, True)):
        fake.free = free * MB
        assert disk.room_is_back(30 * MB) == back
    fake.free = 39 * MB
    assert not disk.room_is_back(1)
    fake.free = 40 * MB
    assert disk.room_is_back(1)


def test_a_quota_is_no_room_though_the_disk_has_some(full_but_for):
    fake, disk = full_but_for(900 * MB)
    fake.quota = 5 * MB
    assert disk.room_is_back(5 * MB)
    assert not disk.room_is_back(5 * MB + 1)


def test_who_is_new_comes_after_those_who_wait(full_but_for):
    fake, disk = full_but_for(41 * MB)
    disk.check_room(0)
    with pytest.raises(StorageError, match="No space left on device"):
        disk.check_room(22 * MB)
    fake.free = 42 * MB
    disk.check_room(22 * MB)


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_only_a_lack_of_room_is_waited_for(number, full):
    assert is_full(OSError(number, os.strerror(number))) == full


# -- syncing -----------------------------------------------------------------------------------------------------


class Syncs:
    """What is synced in the disk's own thread, each once the test lets it go."""

    def __init__(self, monkeypatch):
        self.names, self.go_on = [], threading.Semaphore(0)
        monkeypatch.setattr(disk_module.os, "fdatasync", self.sync)

    def sync(self, file):
        assert self.go_on.acquire(timeout=30)
        self.names.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))  # noqa: PTH115, PTH119


@pytest.fixture
def syncing(monkeypatch, tmp_path):
    """A disk whose syncs are let go one by one, and its loop."""
    syncs, loop = Syncs(monkeypatch), Loop()
    disk = Disk(Settings(sessions=tmp_path, sync_interval=0.0), loop)
    yield SimpleNamespace(disk=disk, loop=loop, syncs=syncs, folder=tmp_path)
    syncs.go_on.release(100)
    disk.close()


def turn_until(loop, condition):
    for _ in range(60):
        if condition():
            return
        loop.turn(0.5)
    raise AssertionError("it was not said")


def test_who_asks_is_called_back_once_it_is_synced_and_not_before(syncing):
    (syncing.folder / "log").write_bytes(b"lines")
    said = []
    syncing.disk.sync((syncing.folder / "log", syncing.folder), said.append)
    syncing.loop.turn(0.01)
    assert not said
    syncing.syncs.go_on.release(2)
    turn_until(syncing.loop, lambda: said)
    assert said == [None]
    assert syncing.syncs.names == ["log", syncing.folder.name]


def test_what_comes_while_the_disk_syncs_is_synced_once_for_the_latest(syncing):
    path = syncing.folder / "log"
    path.write_bytes(b"lines")
    (syncing.folder / "other").write_bytes(b"others")
    said = []
    syncing.disk.sync((syncing.folder / "other",), lambda error: said.append("other"))
    while syncing.disk._wanted:  # until the thread has taken it
        syncing.loop.turn(0.001)
    for name in ("first", "second", "last"):
        syncing.disk.sync((path,), lambda error, name=name: said.append(name))
    syncing.syncs.go_on.release(2)
    turn_until(syncing.loop, lambda: len(said) == 2)
    assert said == ["other", "last"]


def test_a_sync_that_fails_is_told(syncing):
    said = []
    syncing.disk.sync((syncing.folder / "gone",), said.append)
    turn_until(syncing.loop, lambda: said)
    assert isinstance(said[0], FileNotFoundError)


def test_what_waits_is_synced_when_the_server_stops(monkeypatch, tmp_path):
    syncs = Syncs(monkeypatch)
    syncs.go_on.release()
    (tmp_path / "log").write_bytes(b"lines")
    disk = Disk(Settings(sessions=tmp_path, sync_interval=1000.0))
    disk.sync((tmp_path / "log",), print)
    disk.close()
    assert syncs.names == ["log"]


def test_who_is_in_a_hurry_does_not_wait_for_the_interval(monkeypatch, tmp_path):
    loop, said = Loop(), []
    disk = Disk(Settings(sessions=tmp_path, sync_interval=1000.0), loop)
    disk.sync((tmp_path,), lambda error: said.append("first"))
    turn_until(loop, lambda: said)
    disk.sync((tmp_path,), lambda error: said.append("second"), hurry=True)
    turn_until(loop, lambda: len(said) == 2)
    disk.close()


def test_the_page_cache_is_safe_at_once(tmp_path):
    said = []
    Disk(Settings(sessions=tmp_path)).sync((tmp_path / "log",), said.append)
    assert said == [None]
