"""A worker that dies, hangs or takes too much memory is ended, and its session run again: nothing is lost, or twice."""

import socket

import pytest
from fragile_chains import chain, events, fail, play, records_of_images

from echotrain.mrd import Close, ConfigText, HeaderText, Image, Text, encode
from echotrain.server.wire import Data, End, Error, Open, Opened

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def server(running_server, tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("faults"), "--stuck", "1", "--memory", "1") as running:
        yield running
        assert running.process.poll() is None


@pytest.fixture(autouse=True)
def unharmed(server, good_neighbour):
    """No session but those that are at fault is run again, such as the neighbour that waits all the time."""
    yield
    for folder in server.sessions.glob("*-*-*"):
        assert all("Fault" in event["gadget"] for event in events(folder) if event["event"] == "attempt")


WAYS = {
    "abort": "was killed by SIGABRT while it ran",
    "kill": "was killed by SIGKILL (as a system does that is out of memory) while it ran",
    "mute": "while it ran",  # ended by the server, or by itself as it lost that too: whichever is first
    "sleep": "was ended, as it had got no further for 1 s (`serve --stuck`), while it ran",
    "spin": "was ended, as it had got no further for 1 s (`serve --stuck`), while it ran",
    "swell": "more than the 1.00 GB that a session may have (`serve --memory`), while it ran",
    "numpy": "a session may have 1.00 GB (`serve --memory`)",
    "torch": "a session may have 1.00 GB (`serve --memory`)",
}


@pytest.mark.parametrize(("how", "after"), [("abort", 0), *((how, 2) for how in WAYS)])
def test_a_fault_that_comes_once_is_told_and_each_image_comes_once_and_as_without_it(
    server, small_scan, tmp_path, how, after
):
    scan = small_scan(repetitions=2)
    _, _, undisturbed = play(server, scan, chain())
    items, statistics, folder = play(server, scan, chain(how=how, after=after, marker=str(tmp_path / "marker")))
    (notice,) = (item.text for item in items if isinstance(item, Text) and item.text.startswith("warning"))
    assert WAYS[how] in notice
    assert "run again from its log (attempt 2 of 2)" in notice
    assert sum(isinstance(item, Image) for item in items) == statistics["images"] == 4
    assert list(records_of_images(folder)) == list(records_of_images(undisturbed))
    assert statistics["attempts"] == 2
    (attempt,) = (event for event in events(folder) if event["event"] == "attempt")
    assert attempt["reason"] in notice
    assert "Fault" in attempt["gadget"]


@pytest.mark.parametrize("how", WAYS)
def test_a_fault_that_comes_again_is_an_error_that_names_gadget_bound_and_remedy(server, small_scan, how):
    error, texts, folder = fail(server, small_scan(), chain(how=how))
    assert "Fault" in error.gadget  # beside which another may have run
    for words in (WAYS[how], "(attempt 2 of 2)", "input are kept", f"`echotrain sessions retry {folder.name}`"):
        assert words in error.message
    assert sum(text.startswith("warning") for text in texts) == 1
    if "--stuck" in WAYS[how]:
        assert "faulty_gadgets.py" in error.detail
        assert "_go_wrong" in error.detail
    assert [event["event"] for event in events(folder) if event["event"] in ("attempt", "error")] == [
        "attempt",
        "error",
    ]


def test_an_error_that_a_gadget_raises_is_told_at_once_since_it_would_come_again(server, small_scan):
    error, texts, folder = fail(server, small_scan(), chain(how="raise"))
    assert error.message.startswith("ValueError: the gradient is upside down")
    assert "attempt" not in error.message
    assert texts == []
    assert "attempt" not in [event["event"] for event in events(folder)]


def test_texts_of_an_interrupted_run_are_not_told_again(server, small_scan, tmp_path):
    scan = small_scan(repetitions=2)
    text = chain(how="abort", after=1, marker=str(tmp_path / "marker"))
    text = text.replace(
        "<chain name='fragile'>",
        "<chain name='told'><parallel><branch name='texts'><gadget name='TellLines'/></branch><branch name='images'>",
    )
    text = text.replace("</chain>", "</branch></parallel></chain>")
    items, _, _ = play(server, scan, text)
    told = [item.text for item in items if isinstance(item, Text) and item.text.startswith("line")]
    assert sorted(told) == sorted(f"line {n} with 3 x 48" for n in range(80))


def test_lines_that_come_after_the_failure_are_all_kept(server, small_scan, as_stream, raw_client, eventually):
    scan = small_scan()
    stream = as_stream(scan)
    raw_client.say(Open(config="<chain><gadget name='Stumble' after='3'/></chain>", header=scan.header))
    opened = raw_client.hear(Opened)
    folder = server.sessions / opened.session
    half = len(stream) // 2
    raw_client.say(Data(opened.session, opened.offset), stream[opened.offset : half])
    error = raw_client.hear(Error)
    assert "and so is what still comes" in error.message
    raw_client.say(Data(opened.session, half), stream[half:])
    raw_client.say(End(opened.session, len(stream)))
    eventually(lambda: (folder / "input.mrd").read_bytes() == stream + encode(Close()))


def test_lines_that_come_by_the_mrd_door_after_the_failure_are_all_kept(server, small_scan, as_stream, eventually):
    scan = small_scan()
    stream = as_stream(scan)[len(encode(HeaderText(scan.header))) :]
    script = "<chain><gadget name='Stumble' after='3'/></chain>"
    host, _, port = server.mrd.rpartition(":")
    before = set(server.sessions.iterdir())
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(bytes(encode(ConfigText(script))) + bytes(encode(HeaderText(scan.header))))
        client.sendall(stream[: len(stream) // 2])
        while client.recv(1 << 16):  # to the end of what the server says
            pass
        client.sendall(stream[len(stream) // 2 :] + bytes(encode(Close())))
        (folder,) = set(server.sessions.iterdir()) - before
        whole = bytes(encode(HeaderText(scan.header))) + stream + bytes(encode(Close()))
        eventually(lambda: (folder / "input.mrd").read_bytes() == whole)
