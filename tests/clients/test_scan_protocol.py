"""The client's side of the protocol, without a socket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echotrain.clients import scan as scan_module
from echotrain.clients.scan import ScanProtocol
from echotrain.mrd import Acquisitions, Close, HeaderText, Image, Text, acquisition_headers, encode
from echotrain.mrd.errors import BusyError, ConfigError, ProtocolError, SessionError, StreamError
from echotrain.server.wire import Abort, Ack, Credit, Data, Done, End, Error, Open, Opened, Output, pack, unpack

ITEMS = [Text("one"), Image(np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)), Text("three"), Text("four")]
RECORDS = [bytes(encode(item)) for item in (HeaderText(b"<xml/>"), *ITEMS, Close())]
OUTPUT = b"".join(RECORDS)
ENDS = np.cumsum([len(record) for record in RECORDS]).tolist()


def lines(n):
    return Acquisitions(acquisition_headers(n, 2, 5), np.ones((n, 2, 5), np.complex64))


def scan():
    """A scan that was opened, with nothing left to send."""
    protocol = ScanProtocol("count", b"<xml/>", {"A.x": 3}, "knee")
    protocol.receive([pack(Opened("id", 100, 1000))])
    protocol.outgoing.clear()
    return protocol


def said(protocol):
    """What the client has to send, as messages and payloads."""
    frames = [(unpack(first), *map(bytes, rest)) for first, *rest in protocol.outgoing]
    protocol.outgoing.clear()
    return frames


def described(item):
    return item if isinstance(item, Text) else item.data.tolist()


def test_it_opens_with_what_the_scan_needs():
    protocol = ScanProtocol("count", b"<xml/>", {"A.x": 3, "A.y": True}, "knee")
    expected = Open(config="count", header=b"<xml/>", parameters={"A.x": "3", "A.y": "True"}, label="knee")
    assert said(protocol) == [(expected,)]
    assert not protocol.may_send


def test_it_goes_on_with_a_session_where_the_server_says():
    protocol = ScanProtocol("", b"", session="id")
    assert said(protocol) == [(Open(session="id"),)]
    protocol.receive([pack(Opened("id", 700, 900))])
    protocol.send(b"1234")
    assert said(protocol) == [(Data("id", 700, 0), b"1234")]


def test_lines_are_sent_at_the_offset_after_those_before():
    protocol = scan()
    protocol.receive([pack(Credit("id", 100, 10**6))])
    batch = lines(3)
    record = bytes(encode(batch))
    protocol.send(batch)
    protocol.send(record)
    protocol.send(bytearray(record))
    protocol.send(memoryview(record))
    size = len(record)
    assert said(protocol) == [(Data("id", 100 + i * size, 0), record) for i in range(4)]
    protocol.end()
    protocol.abort()
    assert said(protocol) == [(End("id", 100 + 4 * size),), (Abort("id"),)]


def test_what_is_large_goes_in_pieces_as_there_is_credit(monkeypatch):
    monkeypatch.setattr(scan_module, "LARGEST_PIECE", 300)
    protocol = scan()
    whole = bytes(range(256)) * 5
    protocol.send(whole)
    protocol.end()
    assert [(message.offset, len(payload)) for message, payload in said(protocol)] == [
        (100, 300),
        (400, 300),
        (700, 300),
    ]
    protocol.receive([pack(Credit("id", 1000, 10**4))])
    (rest, payload), (last, piece), (end,) = said(protocol)
    assert (rest.offset, last.offset, end) == (1000, 1300, End("id", 1380))
    assert payload + piece == whole[900:]


def test_it_may_send_while_there_is_credit():
    protocol = scan()
    protocol.send(b"x" * 899)
    assert protocol.may_send
    protocol.send(b"xx")
    assert not protocol.may_send
    protocol.receive([pack(Credit("id", 500, 1500))])
    assert protocol.may_send
    protocol.receive([pack(Credit("id", 500, 200))])  # one that was overtaken takes nothing back
    assert protocol.may_send


@given(st.lists(st.integers(0, len(OUTPUT)), max_size=6), st.integers(0, len(OUTPUT)))
def test_output_gives_each_item_once_however_it_is_cut_and_repeated(cuts, back):
    protocol = scan()
    taken = []
    for end in [*sorted(cuts), len(OUTPUT)]:
        start = max(0, protocol._received - back)
        protocol.receive([pack(Output("id", start, 0)), OUTPUT[start:end]])
        while protocol.items:
            taken.append(described(protocol.take()))
    assert taken == [described(item) for item in ITEMS]


def test_each_item_is_acknowledged_once_it_is_taken_and_never_half_a_record():
    protocol = scan()
    protocol.receive([pack(Output("id", 0, 3)), OUTPUT[: ENDS[2] + 3]])
    assert said(protocol) == []
    protocol.take()
    assert said(protocol) == [(Ack("id", ENDS[1]),)]
    protocol.take()
    assert said(protocol) == [(Ack("id", ENDS[2]),)]
    protocol.receive([pack(Output("id", ENDS[2] + 3, 0)), OUTPUT[ENDS[2] + 3 : ENDS[3] - 1]])
    assert said(protocol) == [(Ack("id", ENDS[2]),)]


def test_output_without_items_is_acknowledged_at_once():
    protocol = scan()
    protocol.receive([pack(Output("id", 0, 1)), RECORDS[0]])
    assert said(protocol) == [(Ack("id", ENDS[0]),)]


def test_output_may_begin_where_another_client_stopped():
    protocol = scan()
    protocol.receive([pack(Output("id", ENDS[2], 0)), OUTPUT[ENDS[2] :]])
    assert protocol.take() == ITEMS[2]
    assert said(protocol) == [(Ack("id", ENDS[3]),)]


def test_the_result_is_kept():
    protocol = scan()
    protocol.receive([pack(Done("id", {"images": 2}))])
    assert protocol.done
    assert protocol.statistics == {"images": 2}


def test_an_error_of_the_server_is_raised_as_what_it_is_and_kept():
    protocol = scan()
    with pytest.raises(ConfigError, match="Blur: no") as caught:
        protocol.receive([pack(Error("id", "config", "no", "Blur", "more"))])
    assert caught.value.detail == "more"
    assert protocol.error is caught.value


@pytest.mark.parametrize("message", [Open(), Data("id", 0), End("id", 0), Abort("id"), Ack("id", 0)])
def test_what_a_server_does_not_send_is_refused(message):
    with pytest.raises(ProtocolError, match="a server does not send"):
        scan().receive([pack(message), b""])


def test_output_that_is_no_stream_is_an_error():
    with pytest.raises(StreamError, match="byte 30 of the stream"):
        scan().receive([pack(Output("id", 30, 1)), b"\xff\xff what"])


def lasting():
    """A scan of a client that goes on by itself, with 10 bytes sent from 100 on, in messages of 4 and 6."""
    protocol = ScanProtocol("count", b"<xml/>", goes_on=True)
    protocol.receive([pack(Opened("id", 100, 1000))])
    protocol.send(b"abcd")
    protocol.send(memoryview(b"efghij"))
    protocol.outgoing.clear()
    return protocol


def come_back(protocol, offset, credit=1000):
    """What the client says when it went on with a server that holds `offset` bytes."""
    protocol.reopen()
    (opening,) = said(protocol)
    protocol.receive([pack(Opened("id", offset, credit))])
    return opening[0], said(protocol)


@pytest.mark.parametrize(
    ("offset", "again"),
    [
        (100, [(100, b"abcd"), (104, b"efghij")]),
        (102, [(102, b"cd"), (104, b"efghij")]),
        (104, [(104, b"efghij")]),
        (109, [(109, b"j")]),
        (110, []),
    ],
)
def test_what_the_server_does_not_hold_is_said_again_and_nothing_else(offset, again):
    protocol = lasting()
    opening, frames = come_back(protocol, offset)
    assert opening == Open(session="id")
    assert frames == [(Data("id", at, 0), data) for at, data in again]
    protocol.send(b"k")
    assert said(protocol) == [(Data("id", 110, 0), b"k")]


def test_opened_said_again_in_a_session_asks_for_all_from_there_once_more():
    protocol = lasting()
    protocol.receive([pack(Opened("id", 104, 1000))])
    assert said(protocol) == [(Data("id", 104, 0), b"efghij")]


def test_the_end_is_said_again_after_the_data_unless_the_server_has_it():
    protocol = lasting()
    protocol.end()
    assert said(protocol) == [(End("id", 110),)]
    assert come_back(protocol, 104)[1] == [(Data("id", 104, 0), b"efghij"), (End("id", 110),)]
    assert come_back(protocol, 110)[1] == [(End("id", 110),)]
    assert come_back(protocol, 112)[1] == []


def test_an_end_said_while_the_server_is_away_waits_for_it():
    protocol = lasting()
    protocol.reopen()
    said(protocol)
    protocol.end()
    assert said(protocol) == []
    protocol.receive([pack(Opened("id", 104, 1000))])
    assert said(protocol) == [(Data("id", 104, 0), b"efghij"), (End("id", 110),)]


def test_what_is_said_again_waits_for_credit():
    protocol = lasting()
    assert come_back(protocol, 100, credit=101)[1] == [(Data("id", 100, 0), b"abcd")]
    assert not protocol.may_send
    protocol.receive([pack(Credit("id", 104, 105))])
    assert said(protocol) == [(Data("id", 104, 0), b"efghij")]


def test_what_the_server_holds_is_forgotten_and_a_server_that_lost_it_is_told():
    protocol = lasting()
    protocol.receive([pack(Credit("id", 106, 1000))])
    assert [bytes(payload) for _, payload in protocol._said] == [b"efghij"]
    with pytest.raises(ProtocolError, match="the server lost bytes 103 to 104 of the scan"):
        come_back(protocol, 103)


def test_a_session_that_another_client_went_on_with_is_not_sent_into():
    with pytest.raises(ProtocolError, match="another client went on with session id, to byte 111"):
        come_back(lasting(), 111)


def test_output_goes_on_where_it_was_with_each_item_once():
    protocol = lasting()
    protocol.receive([pack(Output("id", 0, 3)), OUTPUT[: ENDS[2]]])
    protocol.take()
    opening, _ = come_back(protocol, 110)
    assert opening == Open(session="id", received=ENDS[2])
    protocol.receive([pack(Output("id", ENDS[2], 3)), OUTPUT[ENDS[2] :]])
    given = [protocol.take() for _ in range(len(protocol.items))]
    assert [described(item) for item in given] == [described(item) for item in ITEMS[1:]]


@pytest.mark.parametrize("error", [SessionError, BusyError])
def test_a_session_that_does_not_run_any_more_is_opened_again(error):
    protocol = lasting()
    protocol.receive([pack(Error("id", error.code, "it does not run here"))])
    assert protocol.lost
    assert not protocol.may_send
    protocol.reopen()
    assert not protocol.lost


def test_a_server_that_says_not_now_is_asked_again_and_one_that_has_no_session_is_not():
    protocol = lasting()
    protocol.reopen()
    protocol.receive([pack(Error("id", "busy", "it stops"))])
    assert protocol.lost
    protocol.reopen()
    with pytest.raises(SessionError, match="there is none"):
        protocol.receive([pack(Error("id", "session", "there is none"))])


def test_an_error_that_comes_after_the_result_means_nothing():
    protocol = lasting()
    protocol.receive([pack(Done("id"))])
    protocol.receive([pack(Error("id", "session", "no such session runs here"))])
    assert protocol.error is None


@given(st.data())
def test_the_server_gets_every_byte_once_wherever_the_connection_breaks(data):
    """Against a log that takes what begins where it ends, as a server's does."""
    stream = bytes(range(60))
    protocol = ScanProtocol("count", b"", goes_on=True)
    held, log, ended = 0, bytearray(), False
    protocol.receive([pack(Opened("id", 0, 20))])
    for step in data.draw(st.lists(st.sampled_from(["send", "end", "break", "credit"]), max_size=30)):
        if step == "send" and protocol.may_send and not protocol._ended:
            protocol.send(stream[protocol.offset : protocol.offset + data.draw(st.integers(0, 9))])
        elif step == "end":
            protocol.end()
        elif step == "credit" and protocol.opened:
            held = data.draw(st.integers(held, len(log)))
            protocol.receive([pack(Credit("id", held, held + 20))])
        n_arrived = data.draw(st.integers(0, len(protocol.outgoing)))  # the others are lost with the connection
        for message, *payload in said(protocol)[: n_arrived if step == "break" else None]:
            if isinstance(message, Data):
                assert message.offset <= len(log)
                log[message.offset :] = payload[0]
            elif isinstance(message, End):
                assert message.offset == len(log)
                ended = True
        if step == "break":
            protocol.reopen()
            said(protocol)
            protocol.receive([pack(Opened("id", len(log) + 2 * ended, len(log) + 20))])
    for message, *payload in said(protocol):
        if isinstance(message, Data):
            log[message.offset :] = payload[0]
        ended = ended or isinstance(message, End)
    assert log == stream[: protocol.offset]
    assert ended == protocol._ended
