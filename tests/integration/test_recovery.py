"""Servers that are killed or stopped in the midst of scans: the next one goes on, and clients get everything once."""

import random
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from mrd_clients import GadgetronClient, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.mrd import Close, HeaderText, Image, Text, decode, encode
from echotrain.mrd.errors import BusyError
from echotrain.server.folder import SessionFolder, create_session
from echotrain.server.wire import Done, Open, Opened, Output, unpack

pytestmark = pytest.mark.usefixtures("longer")

LOOP = '<chain><gadget name="Stumble" how="loop"/><gadget name="Count"/></chain>'
LONG = 200  # [s] for a server that starts on a slow machine
LOST = "warning: the connection to the server was lost"
CLOSE = bytes(encode(Close()))
PATIENCE = 0.5  # [s] instead of 5, so that tests are fast; asked too early, a server is asked again


@pytest.fixture
def longer(bounded):
    """A test that hangs fails, but not one that starts two servers on a slow machine."""
    signal.alarm(300)


@contextmanager
def scan_at(server, scan, chain="rss", reconnect=200):
    with open_scan(chain, scan.header, server=server.address, reconnect=reconnect) as opened:
        if reconnect:
            opened._connection.patience = PATIENCE
        yield opened


def lines_one_by_one(scan):
    return [line for batch in scan.batches for line in batch]


def described(item):
    return item.text if isinstance(item, Text) else (item.head.tobytes(), item.data.tobytes())


def kept(folder):
    """The items of a session's output log."""
    data = (folder / "output.mrd").read_bytes()
    items = list(decode(memoryview(data)))
    assert items[-1][1] == len(data)
    return [item for item, _ in items if not isinstance(item, HeaderText | Close)]


def events(folder):
    return [event["event"] for event in SessionFolder(folder).events()]


def without_gaps(items):
    """The items without what tells of lost connections, of which there must be one at least."""
    found = [item for item in items if not (isinstance(item, Text) and item.text.startswith(LOST))]
    assert len(found) < len(items)
    return found


def all_items(server, scan):
    """What comes of a scan that nothing happens to."""
    with open_scan("rss", scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return list(opened.items())


def end_by(server, how):
    server.process.send_signal(how)
    server.process.wait(30)


@pytest.mark.parametrize(
    ("how", "when", "seed"),
    [
        (signal.SIGKILL, "in the midst of the lines", 1),
        pytest.param(signal.SIGKILL, "in the midst of the lines", 2, marks=pytest.mark.slow),
        (signal.SIGKILL, "with images taken", 3),
        pytest.param(signal.SIGKILL, "with images taken", 4, marks=pytest.mark.slow),
        (signal.SIGKILL, "after the end", 5),
        (signal.SIGTERM, "with images taken", 6),
        pytest.param(signal.SIGTERM, "after the end", 7, marks=pytest.mark.slow),
    ],
)
def test_a_scan_goes_on_with_the_next_server_and_each_image_comes_once(
    running_server, tmp_path, small_scan, how, when, seed
):
    scan = small_scan(repetitions=3)
    lines = lines_one_by_one(scan)
    choose = random.Random(seed)
    n_before = len(lines) if when == "after the end" else choose.randrange(45, len(lines))
    options = ["--grace", "0"] if how == signal.SIGTERM else []
    with running_server(tmp_path, *options) as first, scan_at(first, scan) as opened:
        for line in lines[:n_before]:
            opened.send(line)
        items = []
        if when == "with images taken":
            images = opened.images()
            items += [next(images) for _ in range(choose.randint(1, 2))]
        elif when == "after the end":
            opened.end()
        end_by(first, how)
        with running_server(tmp_path, "--bind", first.address):
            for line in lines[n_before:]:
                opened.send(line)
            opened.end()
            items = without_gaps([*items, *opened.items()])
            undisturbed = all_items(first, scan)
    folder = tmp_path / opened.session
    assert (folder / "input.mrd").read_bytes() == encode(HeaderText(scan.header)) + b"".join(map(encode, lines)) + CLOSE
    assert [described(item) for item in items] == [described(item) for item in kept(folder)]
    for item, other in zip(items, undisturbed, strict=True):
        assert item.head == other.head
        np.testing.assert_allclose(item.data, other.data, rtol=1e-5)


def test_a_server_that_stops_delivers_what_is_nearly_finished(running_server, tmp_path, small_scan, eventually):
    scan = small_scan(matrix=(24, 40))
    chain = '<chain><gadget name="Enlarge" megabytes="2"/></chain>'
    with running_server(tmp_path, "--grace", "1000") as server, scan_at(server, scan, chain, reconnect=0) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        eventually(lambda: "ended" in events(tmp_path / opened.session), LONG)
        server.process.terminate()
        assert sum(1 for _ in opened.images()) == 80
        assert server.process.wait(60) == 0


def test_a_server_that_stops_takes_nothing_new_and_told_again_stops_at_once(
    running_server, tmp_path, small_scan, eventually
):
    scan = small_scan()
    with running_server(tmp_path, "--grace", "1000") as server:
        with scan_at(server, scan, LOOP, reconnect=0) as busy, scan_at(server, scan, reconnect=0) as half:
            busy.send(scan.batches[0])
            busy.end()
            half.send(scan.batches[0][:3])
            eventually(lambda: "ended" in events(tmp_path / busy.session), LONG)
            server.process.terminate()
            with pytest.raises(BusyError, match="the server stops; the session is kept; come back"):
                list(half.items())
            with pytest.raises(BusyError, match="the server stops; come back when it runs again"):
                open_scan("rss", scan.header, server=server.address)
            assert server.process.poll() is None
            server.process.terminate()
            with pytest.raises(BusyError, match="the server stops; the session is kept; come back"):
                list(busy.items())
        assert server.process.wait(30) == 0
    for session in (busy.session, half.session):
        assert events(tmp_path / session)[-1] == "left"


def left_behind(root, scan, *happened, door="native", end=b"", **request):
    """A session as a server that was killed leaves it."""
    request = {"config": "rss", "parameters": {}, "label": "knee", "door": door, **request}
    folder = create_session(root, request, scan.header)
    stream = b"".join(map(bytes, map(encode, (HeaderText(scan.header), *scan.batches))))
    folder.input.write_bytes(stream + end)
    for event, details in happened:
        folder.write_event(event, **details)
    return folder


OPENED = ("opened", {"held": 0})
ENDED = ("ended", {"bytes": 1})


def test_what_was_left_unfinished_is_finished_without_a_client(running_server, tmp_path, small_scan, eventually):
    """And what is not to be finished, or cannot be, is left as it is, and keeps nobody from the rest."""
    scan = small_scan()
    wait = [left_behind(tmp_path, scan, OPENED), left_behind(tmp_path, scan)]
    over = [
        left_behind(tmp_path, scan, OPENED, ENDED, (last, {}), end=CLOSE)
        for last in ("done", "error", "left", "retried")
    ]
    damaged = left_behind(tmp_path, scan, OPENED, door="mrd")
    (damaged.path / "session.json").write_text("{")
    ended = [
        left_behind(tmp_path, scan, OPENED, ENDED, end=CLOSE),
        left_behind(tmp_path, scan, OPENED, ENDED, ("left", {"reason": "the server stopped"}), end=CLOSE),
        left_behind(tmp_path, scan, ("left", {"reason": "x"}), OPENED, ENDED, ("client away", {}), end=CLOSE),
    ]
    torn = left_behind(tmp_path, scan, OPENED, door="mrd", end=b"\xf0\x03half a record")
    with running_server(tmp_path):
        eventually(lambda: all(events(folder.path)[-1] == "done" for folder in (*ended, torn)), LONG)
        eventually(lambda: events(wait[0].path)[-1] == "left", LONG)
    for folder in ended:
        assert [type(item) for item in kept(folder.path)] == [Image, Image]
    first, second, *words = kept(torn.path)
    assert [type(first), type(second)] == [Image, Image]
    assert "the server stopped in the midst of the scan" in words[0].text
    assert "a record that was cut off" in words[1].text
    assert [events(folder.path)[-1] for folder in over] == ["done", "error", "left", "retried"]
    assert not any("taken up" in events(folder.path) for folder in (*over, *wait, damaged))


def test_a_session_that_brings_servers_down_is_not_tried_for_ever(running_server, tmp_path, small_scan, eventually):
    scan = small_scan()
    folder = left_behind(tmp_path, scan, OPENED, ENDED, end=CLOSE)
    progress = {"held": folder.input.stat().st_size, "made": 0}
    for _ in range(3):
        folder.write_event("taken up", **progress)
    with running_server(tmp_path):
        eventually(lambda: events(folder.path)[-1] == "error", LONG)
    last = list(folder.events())[-1]
    assert "the server ended 3 times while it finished this session" in last["message"]


def test_a_scan_of_the_mrd_door_is_finished_by_the_next_server(running_server, tmp_path, small_scan, eventually):
    scan = small_scan()
    with running_server(tmp_path) as first, GadgetronClient(first.mrd) as client:
        client.send(opening(client, scan, "rss"), *lines_of(client, scan)[:30])
        eventually(lambda: list(tmp_path.glob("2*/input.mrd")), LONG)
        (folder,) = tmp_path.glob("2*")
        eventually(lambda: (folder / "output.mrd").exists(), LONG)
        first.process.kill()
    with running_server(tmp_path):
        eventually(lambda: events(folder)[-1] == "done", LONG)
    assert {"taken up", "input cut off"} <= {*events(folder)}
    words = [item.text for item in kept(folder) if isinstance(item, Text)]
    assert any("the server stopped in the midst of the scan" in text for text in words)


def test_a_finished_session_gives_its_output_from_where_a_client_is(server, small_scan, raw_client):
    scan = small_scan(repetitions=2)
    with open_scan("rss", scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        assert len(list(opened.images())) == 4
    folder = server.sessions / opened.session
    output = (folder / "output.mrd").read_bytes()
    ends = [end for _, end in decode(memoryview(output))]
    for received in (0, ends[2], ends[-1]):
        raw_client.say(Open(session=opened.session, received=received))
        raw_client.hear(Opened)
        data = bytearray()
        while True:
            assert raw_client.socket.poll(20_000), "nothing came"
            message, *payload = raw_client.socket.recv_multipart()
            said = unpack(message)
            if isinstance(said, Output):
                assert said.offset == received + len(data)
                data += payload[0]
            elif isinstance(said, Done):
                break
        assert data == output[received:]
        assert said.statistics["images"] == 4
    assert (folder / "output.mrd").read_bytes() == output
