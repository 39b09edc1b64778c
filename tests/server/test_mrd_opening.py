"""How a connection of the MRD protocol opens, without a socket."""

import itertools
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echotrain.mrd import Close, ConfigName, ConfigText, HeaderText, Query, Response, Text, encode
from echotrain.mrd.errors import PeerError, ProtocolError, StreamError
from echotrain.server.mrd_opening import NO_HEADER, Opening
from echotrain.server.settings import Settings

HEADER = b"<ismrmrdHeader><version>1</version></ismrmrdHeader>"
DATA = struct.pack("<H", 1008) + b"the beginning of a line"


def stream(*items):
    return b"".join(bytes(encode(item)) for item in items)


def counted(number, text):
    """A text as FIRE clients send it, with its NUL counted."""
    raw = text.encode() + b"\0"
    return struct.pack("<HI", number, len(raw)) + raw


def opened(data, **settings):
    opening = Opening(Settings(**settings))
    opening.answers = opening.feed(data)
    return opening


def test_a_gadgetron_client_names_a_configuration_and_sends_a_header():
    opening = opened(stream(ConfigName("default.xml"), HeaderText(HEADER)) + DATA)
    assert opening.complete
    assert not opening.fire
    assert (opening.request["config"], opening.header, bytes(opening.rest)) == ("default.xml", HEADER, DATA)


def test_a_configuration_may_be_text():
    assert opened(stream(ConfigText("<chain/>"), HeaderText(HEADER)) + DATA).request["config"] == "<chain/>"


def test_a_fire_client_counts_nuls_and_sets_parameters():
    parameters = {
        "config": "fft",
        "customconfig": "",
        "sendOriginal": True,
        "width": 3,
        "empty": "",
        "kernel": [5, 4],
        "parts": {"a": 1},
    }
    text = json.dumps({"version": "1.1.0", "parameters": parameters})
    opening = opened(counted(2, "openrecon") + counted(3, HEADER.decode()) + counted(5, text) + DATA)
    assert opening.fire
    assert opening.complete
    assert opening.header == HEADER
    assert opening.request["config"] == "fft"
    assert opening.request["options"] == {
        "sendOriginal": "true",
        "width": "3",
        "kernel": "5 4",
        "parts": '{"a": 1}',
    }
    assert bytes(opening.rest) == DATA


def test_a_custom_configuration_wins():
    text = json.dumps({"parameters": {"config": "fft", "customconfig": "rss"}})
    assert opened(counted(2, "x") + counted(3, HEADER.decode()) + counted(5, text)).request["config"] == "rss"


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"parameters": 3}', "[" * 100000])
def test_a_text_that_is_no_json_of_parameters_changes_nothing_and_is_told(text):
    opening = opened(counted(2, "fft") + counted(3, HEADER.decode()) + counted(5, text))
    assert opening.complete
    assert opening.request["config"] == "fft"
    assert any("not JSON" in note for note in opening.request["notes"])


@pytest.mark.parametrize("config", ['""', "null"])
def test_a_configuration_left_empty_among_the_parameters_changes_nothing(config):
    text = f'{{"parameters": {{"config": {config}, "customconfig": null, "width": null}}}}'
    opening = opened(counted(2, "fft") + counted(3, HEADER.decode()) + counted(5, text))
    assert opening.request["config"] == "fft"
    assert opening.request["options"] == {}


def test_halves_of_characters_are_replaced_so_that_all_can_be_told():
    text = r'{"parameters": {"config": "a\ud800", "\udfff": "\ud800b"}}'
    request = opened(counted(2, "fft") + counted(3, HEADER.decode()) + counted(5, text)).request
    assert (request["config"], request["options"]) == ("a?", {"?": "?b"})


def test_parameters_beyond_any_use_are_refused_before_they_are_read():
    text = '{"parameters": {"width": [' + "1," * (1 << 20) + "1]}}"
    with pytest.raises(ProtocolError, match="at most 1048576 are read"):
        opened(counted(2, "fft") + counted(3, HEADER.decode()) + counted(5, text))


@pytest.mark.parametrize(("text", "count"), [("x" * 1000, 1100), ("", 70_000)])
def test_texts_before_the_header_are_kept_up_to_a_bound(text, count):
    opening = opened(stream(ConfigName("fft"), *[Text("hello")] * 3))
    with pytest.raises(ProtocolError, match="longer than 1048576"):
        opening.feed(stream(*[Text(text)] * count))


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n", b"\xef\xbb\xbf\n  "])
def test_marks_and_blanks_before_xml_are_left_out(before):
    opening = opened(
        counted(2, before.decode() + "<chain/>\r\n") + counted(3, before.decode() + HEADER.decode()) + DATA
    )
    assert opening.request["config"] == "<chain/>"
    assert opening.header == HEADER
    assert not opening.request["notes"]


def test_a_header_in_another_encoding_is_not_taken_for_words():
    header = b"\xfe\xff" + HEADER.decode().encode("utf-16-be")
    assert opened(stream(ConfigName("fft"), HeaderText(header)) + DATA).header == header


def test_openrecon_is_what_the_server_says():
    asked = counted(1, "")[:2] + b"openrecon".ljust(1024, b"\0") + counted(3, HEADER.decode()) + DATA
    assert opened(asked, openrecon="fft").request["config"] == "fft"
    assert opened(asked).request["config"] == "openrecon"


def test_a_session_is_not_complete_until_something_follows_the_header():
    opening = opened(stream(ConfigName("fft"), HeaderText(HEADER)))
    assert not opening.complete
    opening.feed(DATA[:1])
    assert not opening.complete
    opening.feed(DATA[1:])
    assert opening.complete


def test_queries_are_answered_before_and_after_the_configuration():
    opening = opened(
        stream(Query(7, "gadgetron::info::matlab"), ConfigName("fft"), Query(8, "what?"), HeaderText(HEADER))
    )
    first, second = opening.answers
    assert first == Response(7, "0")
    assert second.correlation_id == 8
    assert "Unknown query 'what?'" in second.text


def test_who_only_asks_may_close():
    opening = opened(stream(Query(7, "ismrmrd::version"), Close()))
    assert opening.closed
    assert not opening.complete


def test_words_in_the_place_of_a_header_become_an_empty_one():
    opening = opened(counted(2, "fft") + counted(3, "Dummy XML header") + DATA)
    assert opening.header == NO_HEADER
    assert any("not XML" in note for note in opening.request["notes"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (stream(HeaderText(HEADER)), r"message 3 \(header\) came before a configuration"),
        (DATA, "message 1008 .* came before a configuration"),
        (stream(ConfigName("a")) + DATA, "message 1008 .* came before a header"),
        (stream(ConfigName("a"), ConfigName("b")), "a second configuration"),
        (stream(ConfigName("a"), ConfigText("b")), "a second configuration"),
        (stream(Text("hello")), "message 5 .* came before a configuration"),
    ],
)
def test_messages_out_of_order_are_refused_in_words(data, words):
    with pytest.raises(ProtocolError, match=words):
        opened(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "not an MRD stream"),
        (struct.pack("<HI", 2, 2**32 - 1), "a length field says 4294967295 bytes"),
        (stream(ConfigName("a")) + struct.pack("<HI", 3, 100 << 20), "a length field says 104857600 bytes"),
    ],
)
def test_what_is_no_opening_is_refused_at_its_first_bytes(data, words):
    with pytest.raises(StreamError, match=words):
        opened(data)


@given(cuts=st.lists(st.integers(0, 1300), max_size=6))
def test_pieces_of_any_size_make_the_same_opening(cuts):
    data = (
        stream(Query(3, "gadgetron::version"), ConfigName("fft"))
        + counted(3, HEADER.decode())
        + counted(5, "{}")
        + DATA
    )
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    whole, pieces = opened(data), Opening(Settings())
    answers = [answer for start, stop in itertools.pairwise(edges) for answer in pieces.feed(data[start:stop])]
    assert answers == whole.answers
    assert (pieces.request, pieces.header, pieces.rest) == (whole.request, whole.header, whole.rest)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_on(data):
    try:
        opening = opened(data)
    except PeerError:
        return
    assert opening.closed or not opening.complete
