"""A disk that is full is said in words, and the server goes on once there is room."""

import shutil
import subprocess

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Acquisitions, acquisition_headers
from echotrain.mrd.errors import StorageError
from echotrain.server.folder import all_sessions

pytestmark = pytest.mark.usefixtures("bounded")

COUNT = '<chain><gadget name="Count"/></chain>'
LARGE = '<chain><gadget name="Enlarge" megabytes="2"/></chain>'


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of 4 MB."""
    place = tmp_path_factory.mktemp("disk")
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def module_server(running_server, small_disk):
    with running_server(small_disk) as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture
def server(module_server, eventually):
    """A server whose disk is empty."""
    yield module_server
    for session in all_sessions(module_server.sessions):
        session.delete()
    eventually(lambda: free_bytes(module_server) > 3.9e6)  # once the server has let go of the files


def free_bytes(server):
    return shutil.disk_usage(server.sessions).free


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


def fill(server, pages_left=0):
    """Use up what room there is, but for some pages."""
    ballast = server.sessions / "ballast"
    ballast.write_bytes(bytes(free_bytes(server) - 4096 * pages_left))
    return ballast


def test_input_that_finds_no_room_is_a_clear_error_and_room_helps(server, small_scan, eventually):
    scan = small_scan()
    with open_scan(COUNT, scan.header, server=server.address) as full:
        with pytest.raises(StorageError) as caught:
            play(full, [megabytes(1)] * 6)
        assert_says_what_to_do(caught.value, server.sessions / full.session)
    fill(server)
    with pytest.raises(StorageError):
        open_scan(COUNT, scan.header, server=server.address)
    assert main(["sessions", "delete", full.session, "--sessions", str(server.sessions)]) == 0
    eventually(lambda: free_bytes(server) > 1e6)
    with open_scan(COUNT, scan.header, server=server.address) as opened:
        assert play(opened, scan.batches)
    (server.sessions / "ballast").unlink()


def test_output_that_finds_no_room_is_a_clear_error(server, small_scan):
    scan = small_scan()
    with open_scan(LARGE, scan.header, server=server.address) as opened:
        with pytest.raises(StorageError) as caught:
            play(opened, [scan.batches[0][:5]])
        assert_says_what_to_do(caught.value, server.sessions / opened.session)


@pytest.mark.parametrize("pages_left", [0, 1, 2, 3])
def test_a_session_for_which_there_is_no_room_is_refused(server, small_scan, pages_left):
    """However little there is: pages for some of the session's files."""
    scan = small_scan()
    ballast = fill(server, pages_left)
    with pytest.raises(StorageError, match="No space left on device"):
        open_scan(COUNT, scan.header, server=server.address)
    ballast.unlink()
    with open_scan(COUNT, scan.header, server=server.address) as opened:
        assert play(opened, scan.batches)
