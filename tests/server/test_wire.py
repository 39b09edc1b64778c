"""Messages of the native protocol go through bytes unchanged; everything else is refused in words."""

import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echotrain.mrd.errors import ConfigError, EchotrainError, ProtocolError
from echotrain.server.wire import (
    Abort,
    Ack,
    Credit,
    Data,
    Done,
    End,
    Error,
    Open,
    Opened,
    Output,
    pack,
    unpack,
)

text = st.text(max_size=20)
number = st.integers(0, 2**64 - 1)
messages = st.one_of(
    st.builds(Open, text, st.binary(max_size=20), st.dictionaries(text, text, max_size=3), text, text, number),
    st.builds(Data, text, number, number),
    st.builds(End, text, number),
    st.builds(Abort, text),
    st.builds(Ack, text, number),
    st.builds(Opened, text, number, number),
    st.builds(Credit, text, number, number),
    st.builds(Output, text, number, number),
    st.builds(Done, text, st.dictionaries(text, st.integers(0, 99), max_size=3)),
    st.builds(Error, text, text, text, text, text),
)


@given(messages)
def test_every_message_comes_out_as_it_went_in(message):
    assert unpack(pack(message)) == message
    assert unpack(memoryview(pack(message))) == message


@given(messages)
def test_fields_that_are_not_known_are_passed_over(message):
    fields = msgpack.unpackb(pack(message))
    assert unpack(msgpack.packb({**fields, "later": [1, 2]})) == message


@given(st.binary(max_size=60))
def test_garbage_is_a_protocol_error_and_nothing_else(garbage):
    with pytest.raises(ProtocolError):
        unpack(garbage)


@given(messages, st.data())
def test_damaged_messages_are_a_protocol_error_or_still_a_message(message, data):
    packed = bytearray(pack(message))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        pack(unpack(bytes(packed)))
    except ProtocolError:
        return


@pytest.mark.parametrize("content", [None, 3, [], ["type"], {}, {"type": 3}, {"type": "dance"}, {"type": ["open"]}])
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ProtocolError, match="a msgpack map with a type"):
        unpack(msgpack.packb(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"type": "data", "session": "s"}, "'data' lacks the field 'offset'"),
        ({"type": "end", "offset": 3}, "'end' lacks the field 'session'"),
        ({"type": "data", "session": "s", "offset": -1}, "'offset' of message 'data'"),
        ({"type": "data", "session": "s", "offset": "1"}, "'offset' of message 'data' is not a valid int"),
        ({"type": "data", "session": "s", "offset": True}, "'offset' of message 'data'"),
        ({"type": "data", "session": 3, "offset": 1}, "'session' of message 'data' is not a valid str"),
        ({"type": "open", "header": "<xml/>"}, "'header' of message 'open' is not a valid bytes"),
        ({"type": "open", "parameters": []}, "'parameters' of message 'open'"),
        ({"type": "open", "parameters": {"A.x": 3}}, "'parameters' of message 'open'"),
        ({"type": "open", "parameters": {b"A.x": "3"}}, "'parameters' of message 'open'"),
    ],
)
def test_missing_and_ill_typed_fields_are_named(content, words):
    with pytest.raises(ProtocolError, match=words):
        unpack(msgpack.packb(content))


def test_fields_with_defaults_may_be_left_out():
    assert unpack(msgpack.packb({"type": "open"})) == Open()


def test_an_error_travels_with_its_code_gadget_and_detail():
    sent = Error.of(ConfigError("no", gadget="Blur", detail="more"), "id")
    assert dataclasses.astuple(sent) == ("id", "config", "no", "Blur", "more")
    assert Error.of(EchotrainError("no"), "id").code == "internal"
