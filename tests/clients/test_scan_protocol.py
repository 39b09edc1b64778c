"""The client's side of the protocol, without a socket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echotrain.clients.scan import ScanProtocol
from echotrain.mrd import Acquisitions, Close, HeaderText, Image, Text, acquisition_headers, encode
from echotrain.mrd.errors import ConfigError, ProtocolError, StreamError
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
