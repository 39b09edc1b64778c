"""A full disk holds scans back; once there is room they go on, and nothing was lost."""

import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from mrd_clients import GadgetronClient, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, Text, decode, encode
from echotrain.mrd.errors import StorageError
from echotrain.server.folder import SessionFolder, all_sessions
from echotrain.server.wire import Abort, Ack, Credit, Data, Done, End, Error, Notice, Open, Opened, Output, unpack

pytestmark = pytest.mark.usefixtures("bounded")

COUNT = '<chain><gadget name="Count"/></chain>'
LARGE = '<chain><gadget name="Enlarge" megabytes="1"/></chain>'
LITTLE = 300_000  # bytes left on the disk by `filled`


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
    empty(module_server, eventually)


def empty(server, eventually):
    (server.sessions / "ballast").unlink(missing_ok=True)
    for session in all_sessions(server.sessions):
        session.delete()
    eventually(lambda: free_bytes(server) > 3.9e6)  # once the server has let go of the files


def free_bytes(server):
    return shutil.disk_usage(server.sessions).free


def fill(server, left):
    """Use up the room on the disk but for some bytes; gives the file to remove."""
    ballast = server.sessions / "ballast"
    ballast.write_bytes(bytes(free_bytes(server) - left))
    return ballast


class Sender:
    """A native client that sends within its credit, a line a message, and again from where it is asked to."""

    def __init__(self, raw, config, scan):
        self.raw, self.session, self.done, self.place = raw, "", False, 0
        self.lines = [bytes(encode(line)) for batch in scan.batches for line in batch]
        self.ends, self.output, self.notices = [], bytearray(), []
        raw.say(Open(config=config, header=scan.header))
        self.listen(until=lambda: self.session)

    def listen(self, until):
        """Hear the server, and send what it lets through, until something is so."""
        while not until():
            assert self.raw.socket.poll(20_000), "the server says nothing"
            envelope, *payload = self.raw.socket.recv_multipart()
            match message := unpack(envelope):
                case Opened() | Credit():
                    self.credit = message.credit
                    if isinstance(message, Opened):
                        self.go_to(message)
                case Output():
                    self.output[message.offset :] = payload[0]
                    self.raw.say(Ack(self.session, len(self.output)))
                case Notice():
                    self.notices.append(message.message)
                case Done():
                    self.done = True
                case Error():
                    raise AssertionError(message)
            if self.started:
                self.send()

    started = False

    def go_to(self, opened):
        self.session = opened.session
        if not self.ends:
            self.ends = (opened.offset + np.cumsum([0, *map(len, self.lines)])).tolist()
        self.place = self.ends.index(opened.offset)

    def send(self):
        self.started = True
        while self.place < len(self.lines) and self.ends[self.place] < self.credit:
            self.raw.say(Data(self.session, self.ends[self.place]), self.lines[self.place])
            self.place += 1
        if self.place == len(self.lines):
            self.raw.say(End(self.session, self.ends[-1]))
            self.place += 1

    def images(self):
        return [item.data for item, _ in decode(bytes(self.output)) if isinstance(item, Image)]


@pytest.fixture
def scan(small_scan):
    """1.2 MB of lines, of which images of some 0.1 MB are made."""
    return small_scan(repetitions=20)


@pytest.fixture
def expected(server, scan, eventually):
    """The images of a disk with room."""
    with open_scan("rss", scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        images = [image.data for image in opened.images()]
    empty(server, eventually)
    assert len(images) == 40
    return images


def assert_same(images, expected):
    assert len(images) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(images, expected, strict=True))


def assert_says_what_to_do(words, server):
    for part in (f"the disk of {server.sessions} is full", "MB free", "in reserve", "sessions delete"):
        assert part in words, words


@pytest.fixture
def opened_sessions(eventually):
    """`opened_sessions(server, 2)`: these, once they have got so far that little more is written to start them."""

    def find(server, count):
        def ready():
            return [session for session in all_sessions(server.sessions) if session.chain.exists()]

        eventually(lambda: len(ready()) == count)
        return ready()

    return find


@contextmanager
def mrd_scan(server, scan, config="rss"):
    """A client of the MRD door whose lines a thread sends once `begin` is called."""
    with GadgetronClient(server.mrd) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        client.send(opening(client, scan, config))

        def send():
            with suppress(OSError):  # where the test has cut the connection
                client.send(*lines_of(client, scan), client.close())

        sending = threading.Thread(target=send)
        client.begin = sending.start
        yield client
        sending.join()


def one_text(client):
    """The next message, which is a text."""
    assert client._bytes(2) == b"\x05\0"
    return client.read_text(client._counted("<I"))


def test_a_scan_waits_for_room_and_loses_nothing(server, raw_client, scan, expected):
    sender = Sender(raw_client, "rss", scan)
    ballast = fill(server, LITTLE)
    sender.send()
    sender.listen(until=lambda: sender.notices)
    assert_says_what_to_do(sender.notices[0], server)
    assert free_bytes(server) > 30_000, "the reserve was used up"
    ballast.unlink()
    sender.listen(until=lambda: sender.done)
    assert_same(sender.images(), expected)
    assert len(sender.notices) == 1


def test_the_client_library_waits_and_sends_again_by_itself(server, scan, expected):
    with open_scan("rss", scan.header, server=server.address) as opened:
        ballast = fill(server, LITTLE)
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        images = []
        for item in opened.items():
            if isinstance(item, Text):
                assert_says_what_to_do(item.text, server)
                ballast.unlink()
            elif isinstance(item, Image):
                images.append(item.data)
    assert_same(images, expected)


def test_a_scan_at_the_mrd_door_waits_for_room_and_loses_nothing(server, scan, expected, opened_sessions):
    with mrd_scan(server, scan) as client:
        (session,) = opened_sessions(server, 1)
        ballast = fill(server, LITTLE)
        client.begin()
        assert_says_what_to_do(one_text(client), server)
        assert session.input.stat().st_size < LITTLE
        ballast.unlink()
        heard = client.hear()
    assert_same([pixels for _, pixels, _ in heard.images], expected)


def test_all_wait_for_one_disk_and_none_fails(server, raw_client, scan, expected, opened_sessions):
    sender = Sender(raw_client, "rss", scan)
    with mrd_scan(server, scan) as client:
        opened_sessions(server, 2)
        ballast = fill(server, LITTLE)
        client.begin()
        one_text(client)
        sender.send()
        sender.listen(until=lambda: sender.notices)
        with pytest.raises(StorageError, match="No space left on device"):
            open_scan(COUNT, scan.header, server=server.address)
        ballast.unlink()
        heard = client.hear()
        sender.listen(until=lambda: sender.done)
    assert_same([pixels for _, pixels, _ in heard.images], expected)
    assert_same(sender.images(), expected)


def test_output_waits_for_room_and_loses_nothing(server, raw_client, small_scan):
    scan = small_scan()
    sender = Sender(raw_client, LARGE, scan._replace(batches=[scan.batches[0][:2]]))
    ballast = fill(server, LITTLE)
    sender.send()
    sender.listen(until=lambda: sender.notices)
    assert_says_what_to_do(sender.notices[0], server)
    ballast.unlink()
    sender.listen(until=lambda: sender.done)
    assert len(sender.images()) == 2
    assert sender.output == SessionFolder(server.sessions / sender.session).output.read_bytes()


def test_sessions_deleted_make_room(server, raw_client, scan, expected):
    with open_scan(COUNT, scan.header, server=server.address) as old:
        for batch in scan.batches:
            old.send(batch)
        old.end()
        list(old.items())
    sender = Sender(raw_client, "rss", scan)
    fill(server, LITTLE)
    sender.send()
    sender.listen(until=lambda: sender.notices)
    assert main(["sessions", "delete", old.session, "--sessions", str(server.sessions)]) == 0
    sender.listen(until=lambda: sender.done)
    assert_same(sender.images(), expected)


def test_an_abort_ends_the_wait(server, raw_client, scan, eventually):
    sender = Sender(raw_client, "rss", scan)
    fill(server, LITTLE)
    sender.send()
    sender.listen(until=lambda: sender.notices)
    raw_client.say(Abort(sender.session))
    folder = SessionFolder(server.sessions / sender.session)
    eventually(lambda: [event["event"] for event in folder.events()][-1] == "left")


def cut_off(session):
    return any(event["event"] == "input cut off" for event in session.events())


def test_a_client_of_the_mrd_door_may_wait_longer_than_it_may_idle_but_not_when_it_has_gone(
    running_server, small_disk, small_scan, opened_sessions, eventually
):
    scan = small_scan(repetitions=20)
    with running_server(small_disk, "--idle", "1", "--patience", "1") as server:
        with mrd_scan(server, scan, "count") as client:
            (session,) = opened_sessions(server, 1)
            fill(server, LITTLE)
            client.begin()
            one_text(client)
            client.socket.settimeout(3)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            assert not cut_off(session)
            client.socket.shutdown(socket.SHUT_RDWR)  # the thread lets go of it, or it would not be closed
            client.vanish()
        eventually(lambda: cut_off(session))
        empty(server, eventually)


@pytest.mark.parametrize("pages_left", [0, 1, 2, 3, 9])
def test_a_session_for_which_there_is_no_room_is_refused(server, small_scan, pages_left):
    """However little there is: pages for some of the session's files, or all but the reserve."""
    scan = small_scan()
    ballast = fill(server, 4096 * pages_left)
    with pytest.raises(StorageError, match="No space left on device"):
        open_scan(COUNT, scan.header, server=server.address)
    assert not all_sessions(server.sessions)
    ballast.unlink()
    with open_scan(COUNT, scan.header, server=server.address) as opened:
        opened.end()
        assert list(opened.items())
