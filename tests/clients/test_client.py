"""The sync client against a server that says what the test wants."""

import contextlib
import time

import pytest

from echotrain.clients.client import open_scan
from echotrain.mrd import Text, encode
from echotrain.mrd.errors import ConfigError, GadgetError, PeerError, SessionError
from echotrain.server.wire import Ack, Credit, Data, Done, End, Error, Open, Opened, Output

pytestmark = pytest.mark.usefixtures("bounded")

RECORDS = [bytes(encode(Text(word))) for word in ("one", "two")]


def answers(**by_type):
    """What is said to each type of message; opening is answered in any case."""
    given = {"Open": [Opened("id", 10, 1000)], **by_type}
    return lambda message: given.get(type(message).__name__, [])


OUTPUT = [(Output("id", 0, 1), RECORDS[0]), (Output("id", len(RECORDS[0]), 1), RECORDS[1])]


def for_ever(act, scan):
    while True:
        act(scan)


def send(scan):
    scan.send(b"")


def receive(scan):
    list(scan.received())


def receive_all(scan):
    list(scan.items())


def test_no_server_is_an_error_that_names_where():
    with pytest.raises(PeerError, match=r"tcp://127.0.0.1:9 gave no answer within 0.1 s; is it running\?"):
        open_scan("rss", b"", server="tcp://127.0.0.1:9", timeout=0.1)


def test_what_is_no_address_is_an_error_that_says_what_is():
    with pytest.raises(PeerError, match=r"'localhost' is no address of a server, such as tcp://"):
        open_scan("rss", b"", server="localhost")


def test_an_error_at_opening_is_raised_by_opening(stub_server):
    server = stub_server(answers(Open=[Error("", "config", "no such chain")]))
    with pytest.raises(ConfigError, match="no such chain"):
        open_scan("rss", b"", server=server.address)


def test_a_scan_is_opened_sent_and_received(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Done("id", {"images": 0})]))
    with open_scan("rss", "<h/>", parameters={"A.x": "1"}, label="knee", server=server.address) as scan:
        assert (scan.session, scan.offset) == ("id", 10)
        scan.send(b"12345")
        assert scan.offset == 15
        scan.end()
        assert [item.text for item in scan.items()] == ["one", "two"]
        assert scan.statistics == {"images": 0}
    assert server.heard[0] == (Open("rss", b"<h/>", {"A.x": "1"}, "knee"),)
    assert server.heard[1:3] == [(Data("id", 10, 0), b"12345"), (End("id", 15),)]


def test_everything_taken_is_acknowledged_before_the_client_is_gone(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Done("id")]))
    with open_scan("rss", b"", server=server.address) as scan:
        scan.end()
        list(scan.items())
    ends = [len(RECORDS[0]), sum(map(len, RECORDS))]
    while len(server.heard) < 4:
        pass
    assert server.heard[2:] == [(Ack("id", end),) for end in ends]


def test_sending_waits_for_credit(stub_server):
    seen = []

    def say(message):
        if isinstance(message, Data):
            seen.append(message.offset)
        return answers(Data=[Credit("id", 15, 1000)])(message)

    server = stub_server(lambda message: [Opened("id", 10, 12)] if isinstance(message, Open) else say(message))
    with open_scan("rss", b"", server=server.address) as scan:
        scan.send(b"12345")
        scan.send(b"67890")
        scan.send(b"x")
    assert seen[:2] == [10, 15]


def test_no_credit_in_time_is_an_error(stub_server):
    server = stub_server(answers(Open=[Opened("id", 10, 10)]))
    scan = open_scan("rss", b"", server=server.address, timeout=0.1, reconnect=0)
    with scan, pytest.raises(PeerError, match=r"gave no room for more data within 0\.1 s"):
        scan.send(b"x")


def test_a_server_that_falls_silent_is_an_error(stub_server):
    server = stub_server(answers())
    with open_scan("rss", b"", server=server.address, timeout=0.1, reconnect=0) as scan:
        scan.end()
        with pytest.raises(PeerError, match=r"gave no sign of life within 0\.1 s"):
            list(scan.items())


def test_what_came_before_an_error_is_given_first_and_the_error_again_to_who_asks_again(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Error("id", "gadget", "it broke", "Blur")]))
    with open_scan("rss", b"", server=server.address) as scan:
        scan.end()
        given = []
        with pytest.raises(GadgetError, match="Blur: it broke"):
            given.extend(item.text for item in scan.items())
        assert given == ["one", "two"]
        with pytest.raises(GadgetError, match="Blur: it broke"):
            list(scan.items())


def test_an_error_reaches_who_only_sends(stub_server):
    server = stub_server(answers(Data=[Error("id", "gadget", "it broke", "Blur")]))
    with open_scan("rss", b"", server=server.address) as scan, pytest.raises(GadgetError, match="it broke"):
        for_ever(send, scan)


def test_a_server_that_goes_while_lines_are_sent_is_an_error(stub_server):
    server = stub_server(answers(Open=[Opened("id", 10, 10**12)]))
    scan = open_scan("rss", b"", server=server.address, timeout=0.2, reconnect=0)
    server.close()
    with scan, pytest.raises(PeerError, match=r"gave no sign of life within 0\.2 s; is it running\?"):
        for_ever(send, scan)


def test_received_gives_what_is_there_and_does_not_wait(stub_server):
    server = stub_server(answers(Data=OUTPUT))
    with open_scan("rss", b"", server=server.address) as scan:
        assert list(scan.received()) == []
        scan.send(b"x")
        given = []
        while len(given) < 2:
            scan.wait(1)
            given += scan.received()
        assert [item.text for item in given] == ["one", "two"]


def test_an_error_is_raised_again_to_who_goes_on_sending(stub_server):
    server = stub_server(answers(Open=[Opened("id", 10, 12)], End=[Error("id", "gadget", "it broke", "Blur")]))
    with open_scan("rss", b"", server=server.address) as scan:
        scan.end()
        with pytest.raises(GadgetError, match="it broke"):
            list(scan.items())
        for _ in range(2):
            with pytest.raises(GadgetError, match="it broke"):
                scan.send(b"12345")
        assert scan.offset == 10


def test_after_an_error_closing_waits_for_no_server(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Error("id", "gadget", "it broke", "Blur")]))
    with open_scan("rss", b"", server=server.address, timeout=5) as scan:
        scan.end()
        while not scan._protocol.error:
            scan.wait(1)
            with contextlib.suppress(GadgetError):
                scan._receive_waiting()
        server.close()
        with pytest.raises(GadgetError, match="it broke"):
            list(scan.items())
        start = time.monotonic()
    assert time.monotonic() - start < 4


def forgetful(refusals):
    """A server that refuses the first data in these words, and has everything once it is opened again."""
    refused = []

    def say(message):
        match message:
            case Open(session=""):
                return [Opened("id", 10, 1000)]
            case Open(received=received):
                assert received == (len(RECORDS[0]) if refused else 0)
                return [Opened("id", 12, 1000)] if len(refused) == len(refusals) else [refuse()]
            case Data() if not refused:
                return [OUTPUT[0], refuse()]
            case End():
                return [OUTPUT[1], Done("id")]
        return []

    def refuse():
        refused.append(None)
        return Error("id", *refusals[len(refused) - 1])

    return say


NOT_HERE = ("session", "no session 'id' runs here")
NOT_NOW = ("busy", "the server is stopping")


@pytest.mark.parametrize("refusals", [[NOT_HERE], [NOT_HERE, NOT_NOW, NOT_NOW], [NOT_NOW, NOT_NOW]])
def test_a_session_that_the_server_let_go_of_is_opened_again_and_goes_on(stub_server, refusals):
    server = stub_server(forgetful(refusals))
    with open_scan("rss", b"", server=server.address) as scan:
        scan.send(b"12345")
        while not scan._protocol.lost:
            scan.wait(1)
            scan._receive_one("answer")
        scan.send(b"67")
        scan.end()
        texts = [item.text for item in scan.items()]
    assert [text for text in texts if not text.startswith("warning: ")] == ["one", "two"]
    assert sum("the connection to the server was lost; went on after" in text for text in texts) == 1
    data = [(message.offset, *payload) for message, *payload in server.heard if isinstance(message, Data)]
    assert data == [(10, b"12345"), (12, b"345"), (15, b"67")]


def test_a_session_that_is_there_no_more_is_an_error(stub_server):
    server = stub_server(forgetful([NOT_HERE, ("session", "there is no session 'id'")]))
    with open_scan("rss", b"", server=server.address) as scan, pytest.raises(SessionError, match="there is no session"):
        for_ever(send, scan)


def test_a_server_that_falls_silent_is_asked_again(stub_server):
    ending = [*OUTPUT, Done("id")]
    server = stub_server(
        lambda message: (
            [Opened("id", 10, 1000), *(ending if message.session else [])] if isinstance(message, Open) else []
        )
    )
    with open_scan("rss", b"", server=server.address, timeout=0.2) as scan:
        scan.end()
        assert [item.text for item in scan.items()][-2:] == ["one", "two"]
    assert [message.session for message, *_ in server.heard if isinstance(message, Open)][:2] == ["", "id"]


@pytest.mark.parametrize("act", [send, receive, receive_all])
def test_a_server_that_does_not_come_back_in_time_is_an_error(stub_server, act):
    server = stub_server(answers(Open=[Opened("id", 10, 10**12)]))
    scan = open_scan("rss", b"", server=server.address, timeout=0.1, reconnect=0.3)
    server.close()
    with scan, pytest.raises(PeerError, match=r"gave no sign of life within 0\.3 s; is it running\?"):
        for_ever(act, scan)
