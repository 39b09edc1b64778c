"""A disk that is full is said in words, and the server goes on once there is room."""

import subprocess

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Acquisitions, acquisition_headers
from echotrain.mrd.errors import StorageError

pytestmark = pytest.mark.usefixtures("bounded")

COUNT = '<chain><gadget name="Count"/></chain>'
LARGE = '<chain><gadget name="Enlarge" megabytes="2"/></chain>'


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def server(running_server, small_disk):
    with running_server(small_disk) as running:
        yield running
        assert running.process.poll() is None


def megabytes(n):
    head = acquisition_headers(10 * n, 5, 2500)
    return Acquisitions(head, np.ones((10 * n, 5, 2500), np.complex64))


def play(opened, batches):
    for batch in batches:
        opened.send(batch)
    opened.end()
    return list(opened.items())


def assert_says_what_to_do(error, folder):
    for words in (f"cannot write to {folder}", "No space left on device", "MB free", "sessions delete", "--sessions"):
        assert words in error.message, error.message


def test_input_that_finds_no_room_is_a_clear_error_and_room_helps(server, small_scan, capsys):
    scan = small_scan()
    with open_scan(COUNT, scan.header, server=server.address) as full:
        with pytest.raises(StorageError) as caught:
            play(full, [megabytes(1)] * 6)
        assert_says_what_to_do(caught.value, server.sessions / full.session)
    with pytest.raises(StorageError):
        fill(server, scan)
    assert main(["sessions", "delete", full.session, "--sessions", str(server.sessions)]) == 0
    with open_scan(COUNT, scan.header, server=server.address) as opened:
        assert play(opened, scan.batches)


def fill(server, scan):
    """Open sessions until there is no room for one."""
    (server.sessions / "ballast").write_bytes(b"")
    with (server.sessions / "ballast").open("ab", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        open_scan(COUNT, scan.header, server=server.address).close()
    finally:
        (server.sessions / "ballast").unlink()


def test_output_that_finds_no_room_is_a_clear_error(server, small_scan):
    scan = small_scan()
    with open_scan(LARGE, scan.header, server=server.address) as opened:
        with pytest.raises(StorageError) as caught:
            play(opened, [scan.batches[0][:5]])
        assert_says_what_to_do(caught.value, server.sessions / opened.session)


@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_a_session_for_which_there_is_no_room_is_refused(server, small_scan, room):
    """However little there is: pages for some of the session's files."""
    scan = small_scan()
    ballast = server.sessions / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(file.tell() - room * 4096)
    with pytest.raises(StorageError) as caught:
        open_scan(COUNT, scan.header, server=server.address).close()
    assert "No space left on device" in caught.value.message
    ballast.unlink()
    with open_scan(COUNT, scan.header, server=server.address) as opened:
        assert play(opened, scan.batches)
