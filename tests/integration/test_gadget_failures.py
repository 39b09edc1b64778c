"""A gadget that fails, in whatever way, is named to the client; what was sent is kept, and can be run again."""

import contextlib

import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import read_images
from echotrain.mrd.errors import ConfigError, GadgetError

pytestmark = pytest.mark.usefixtures("bounded", "good_neighbour")


def chain(**stumble):
    attributes = " ".join(f'{name}="{value}"' for name, value in stumble.items())
    return f'<chain><gadget name="Stumble" {attributes}/><gadget name="TellLines"/></chain>'


def play(opened, batches=()):
    """Send it, end it, and take what comes."""
    for batch in batches:
        opened.send(batch)
    opened.end()
    return list(opened.items())


@pytest.fixture
def fail(server, small_scan):
    """`fail(how="raise")`: send a scan through a chain that stumbles; gives the error and the session's id."""

    def run(**stumble):
        scan = small_scan()
        with open_scan(chain(**stumble), scan.header, server=server.address) as opened:
            with pytest.raises(GadgetError) as caught:
                play(opened, scan.batches)
            return caught.value, opened.session

    return run


WAYS = {
    "raise": ["ValueError: the gradient is upside down", "for_tests.py:"],
    "sys_exit": ["SystemExit: 3", "for_tests.py:"],
    "segfault": ["was killed by SIGSEGV while it ran Stumble", "input are kept", "echotrain sessions retry"],
    "os_exit": ["ended with status 4 while it ran Stumble", "input are kept", "echotrain sessions retry"],
    "orphan": ["ended with status 4 while it ran Stumble", "input are kept", "echotrain sessions retry"],
}


@pytest.mark.parametrize("how", WAYS)
def test_the_client_learns_which_gadget_failed_and_how(fail, how):
    error, _ = fail(how=how, after=5)
    assert error.gadget == "Stumble"
    assert all(words in error.message for words in WAYS[how]), error.message


def test_the_traceback_is_in_the_details(fail):
    error, _ = fail(how="raise")
    assert "Traceback" in error.detail
    assert "_stumble" in error.detail


def test_the_trace_of_a_crash_is_in_the_details(fail):
    error, _ = fail(how="segfault")
    assert "Segmentation fault" in error.detail
    assert "for_tests.py" in error.detail


@pytest.mark.parametrize("stumble", ["", '<gadget name="Stumble" how="os_exit" after="1"/>'])
def test_what_a_gadget_prints_is_in_the_log_however_its_worker_ends(server, small_scan, stumble):
    scan = small_scan()
    text = f'<chain><gadget name="PrintLines"/>{stumble}<gadget name="Count"/></chain>'
    with open_scan(text, scan.header, server=server.address) as opened:
        with pytest.raises(GadgetError) if stumble else contextlib.nullcontext():
            play(opened, scan.batches)
        log = server.sessions / opened.session / "worker.log"
        assert " lines, \N{GREEK SMALL LETTER MU}" in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("how", WAYS)
def test_a_gadget_that_fails_at_its_start_is_told_when_the_scan_is_opened(server, small_scan, how):
    with pytest.raises(GadgetError, match="Stumble"):
        open_scan(chain(how=how, at_start=True), small_scan().header, server=server.address)


def test_what_was_made_before_the_failure_is_given_first(server, small_scan):
    scan, told = small_scan(), []
    with open_scan(chain(how="raise", after=3), scan.header, server=server.address) as opened:
        for line in scan.batches[0][:4]:
            opened.send(line)
        with pytest.raises(GadgetError):
            told.extend(item.text for item in opened.items())
    assert told == [f"line {n} with 3 x 48" for n in range(3)]


@pytest.mark.parametrize("how", ["segfault", "raise"])
def test_a_failed_session_keeps_its_input_and_runs_again_with_another_chain(
    fail, server, as_stream, small_scan, tmp_path, capsys, how
):
    _, session = fail(how=how, after=7)
    kept = (server.sessions / session / "input.mrd").read_bytes()
    assert kept.startswith(as_stream(small_scan()))
    out = tmp_path / "out.h5"
    status = main(
        ["sessions", "retry", session, "--sessions", str(server.sessions), "--config", "rss", "--output", str(out)]
    )
    assert status == 0
    assert "2 images" in capsys.readouterr().out
    assert len(list(read_images(out))) == 2


def test_a_failed_session_goes_on_with_the_server_too(fail, server):
    """The chain is the one of before, and fails again: it is run, not remembered."""
    error, session = fail(how="raise", after=7)
    with (
        open_scan("", b"", server=server.address, session=session) as again,
        pytest.raises(GadgetError, match="Stumble") as caught,
    ):
        play(again)
    assert caught.value.message == error.message


def test_a_scan_is_given_up_while_its_gadget_never_ends(server, small_scan, eventually):
    scan = small_scan()
    with open_scan(chain(how="loop"), scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.abort()
        events = server.sessions / opened.session / "events.jsonl"
        eventually(lambda: "the client aborted" in events.read_text())
    with pytest.raises(ConfigError):  # and the server is as it was
        open_scan("no-such-chain", scan.header, server=server.address)


def test_images_that_were_whole_before_the_failure_are_not_lost(server, small_scan):
    scan = small_scan(repetitions=2)
    text = '<chain><gadget name="Stumble" after="60"/><gadget name="RemoveOversampling"/>'
    text += '<gadget name="CollectKSpace"/><gadget name="FourierTransform"/></chain>'
    images = []
    with open_scan(text, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            with contextlib.suppress(GadgetError):  # whichever call learns of it first
                opened.send(batch)
        with pytest.raises(GadgetError, match="Stumble"):
            images.extend(int(image.head["repetition"]) for image in opened.images())
    assert images == [0, 0, 1]
