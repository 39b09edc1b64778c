"""Whatever a client sends, it is told what is wrong, and a good session beside it ends well."""

import re

import msgpack
import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.mrd import Acquisitions, Close, HeaderText, Text, encode
from echotrain.mrd.errors import (
    ConfigError,
    DataError,
    EchotrainError,
    HeaderError,
    ParameterError,
    ProtocolError,
    SessionError,
    StreamError,
)
from echotrain.server.wire import Ack, Data, End, Error, Open, Opened, Output

pytestmark = pytest.mark.usefixtures("bounded", "good_neighbour")

COUNT = '<chain><gadget name="Count"/></chain>'


@pytest.fixture
def scan(small_scan):
    return small_scan()


def play(server, scan, chain="rss", batches=None, header=None, **options):
    """Everything that comes of sending `batches` (or bytes)."""
    with open_scan(chain, header or scan.header, server=server.address, **options) as opened:
        for batch in scan.batches if batches is None else batches:
            opened.send(batch)
        opened.end()
        return list(opened.items())


def refused(kind, *words):
    """An error of exactly this kind whose message has these words."""
    pattern = "".join(f"(?=.*{re.escape(word)})" for word in words)
    return pytest.raises(kind, match=f"(?s){pattern}", check=lambda error: type(error) is kind)


def renamed(batch, **fields):
    """`batch` with fields of its headers, or of their counters, set."""
    head = batch.head.copy()
    for name, value in fields.items():
        (head if name in head.dtype.names else head["idx"])[name] = value
    return Acquisitions(head, batch.data)


# -- what a scan is opened with ------------------------------------------------------------------------------------


def test_an_unknown_configuration(server, scan):
    with refused(ConfigError, "'adaptiv'", "did you mean adaptive?"):
        play(server, scan, "adaptiv")


@pytest.mark.parametrize("config", ["../rss", "/etc/passwd", "rss.xml/../../x"])
def test_a_configuration_that_is_a_path(server, scan, config):
    with refused(ConfigError, "there is no configuration", repr(config)):
        play(server, scan, config)


def test_an_empty_configuration(server, scan):
    with refused(ProtocolError, "no configuration"):
        play(server, scan, "")


def test_a_chain_that_is_not_xml(server, scan):
    with refused(ConfigError, "the chain is not XML"):
        play(server, scan, "<chain><gadget")


def test_an_unknown_gadget(server, scan):
    with refused(ConfigError, "'Cuont'", "did you mean Count?"):
        play(server, scan, COUNT.replace("Count", "Cuont"))


def test_a_gadget_of_a_package_that_is_not_allowed(server, scan):
    with refused(ConfigError, "'os.path.join'", "not allow"):
        play(server, scan, COUNT.replace("Count", "os.path.join"))


def test_gadgets_that_do_not_fit(server, scan):
    with refused(ConfigError, "CombineCoils", "takes Image", "Acquisitions"):
        play(server, scan, "<chain><gadget name='RemoveOversampling'/><gadget name='CombineCoils'/></chain>")


def test_an_unknown_parameter(server, scan):
    with refused(ParameterError, "Enlarge", "'megabyte'", "did you mean megabytes?"):
        play(server, scan, "<chain><gadget name='Enlarge' megabyte='3'/></chain>")


def test_a_parameter_of_an_unknown_gadget(server, scan):
    with refused(ConfigError, "'Conut.x'", "did you mean Count?"):
        play(server, scan, COUNT, parameters={"Conut.x": "3"})


def test_a_wrong_parameter_value(server, scan):
    with refused(ParameterError, "Enlarge", "megabytes='many'", "a number"):
        play(server, scan, "<chain><gadget name='Enlarge'/></chain>", parameters={"Enlarge.megabytes": "many"})


@pytest.mark.parametrize("header", [b"not XML", b"", b"\xff\xfe\x00", b"<ismrmrdHeader>"])
def test_a_header_that_is_not_xml(server, scan, header):
    with refused(HeaderError, "the MRD header is not XML"):
        play(server, scan, header=header or b" ")


def test_a_header_of_something_else(server, scan):
    with refused(HeaderError, "<html>", "<ismrmrdHeader>"):
        play(server, scan, header=b"<html/>")


def test_a_header_with_an_entity(server, scan):
    with refused(HeaderError, "document type or entities"):
        play(server, scan, header=b'<!DOCTYPE x [<!ENTITY e "x">]><ismrmrdHeader>&e;</ismrmrdHeader>')


def test_a_header_that_lacks_the_encoding_that_the_chain_needs(server, scan):
    with refused(HeaderError, "encoding"):
        play(server, scan, header=b"<ismrmrdHeader/>")


def test_a_header_with_a_matrix_that_is_no_number(server, scan):
    header = re.sub(rb"<x>\d+</x>", b"<x>wide</x>", scan.header, count=1)
    with refused(HeaderError, "'wide'", "not a number"):
        play(server, scan, header=header)


# -- what a scan consists of ---------------------------------------------------------------------------------------


def test_data_that_is_not_mrd_at_all(server, scan):
    with refused(StreamError, "not an MRD stream", "no message has the number", "byte"):
        play(server, scan, batches=[b"GET / HTTP/1.1\r\n\r\n"])


def test_a_deprecated_record(server, scan):
    with refused(StreamError, "message 1001 is deprecated"):
        play(server, scan, batches=[b"\xe9\x03 and more"])


@pytest.mark.parametrize("cut", [1, 2, 3, 500])
def test_a_last_record_that_is_cut_off(server, scan, cut):
    stream = b"".join(bytes(encode(batch)) for batch in scan.batches)
    with refused(StreamError, "ends within a record"):
        play(server, scan, batches=[stream[:-cut]])


def test_lines_after_the_end_of_the_stream(server, scan):
    line = bytes(encode(scan.batches[0][0]))
    items = play(server, scan, COUNT, batches=[line + bytes(encode(Close())) + line])
    texts = [item.text for item in items if isinstance(item, Text)]
    assert any("bytes came after the end" in text for text in texts)
    assert any(text.startswith("1 lines,") for text in texts)


def test_another_header_in_the_midst_of_data(server, scan):
    other = bytes(encode(HeaderText(scan.header.replace(b"<x>", b"<x> "))))
    with refused(StreamError, "another header"):
        play(server, scan, batches=[bytes(encode(scan.batches[0])), other])


def test_a_channel_count_that_changes_half_way(server, scan):
    batch = scan.batches[0]
    fewer = batch[15:].with_data(batch.data[15:, :2])
    with refused(DataError, "CollectKSpace", "3", "2", "channel"):
        play(server, scan, batches=[batch[:15], fewer])


def test_a_line_outside_of_the_headers_limits(server, scan):
    batch = scan.batches[0]
    with refused(DataError, "CollectKSpace", "777"):
        play(server, scan, batches=[batch[:3], renamed(batch[3:4], kspace_encode_step_1=777)])


def test_a_line_of_an_encoding_that_is_not_in_the_header(server, scan):
    with refused(HeaderError, "encoding 5", "describes 1"):
        play(server, scan, batches=[renamed(scan.batches[0][:1], encoding_space_ref=5)])


def test_a_length_that_no_record_has(server, scan):
    with refused(StreamError, "a length field says 4294967295 bytes"):
        play(server, scan, batches=[b"\x05\x00\xff\xff\xff\xff"])


def test_a_line_that_is_compressed_in_an_unknown_way(server, scan):
    with refused(StreamError, "flag 55", "uncompressed"):
        play(server, scan, batches=[renamed(scan.batches[0][:1], flags=np.uint64(1) << np.uint64(54))])


# -- messages ------------------------------------------------------------------------------------------------------


def opened_by(client, scan, config=COUNT):
    client.say(Open(config=config, header=scan.header))
    return client.hear(Opened)


def assert_goes_on(client, opened, scan):
    """The session is as it was before the message that was refused."""
    data = bytes(encode(scan.batches[0]))
    client.say(Data(opened.session, opened.offset), data)
    client.say(End(opened.session, opened.offset + len(data)))
    assert client.hear(Output).session == opened.session


@pytest.mark.parametrize(
    "envelope",
    [b"", b"garbage", b"\xc1", b"\x81", bytes(range(256)) * 40, msgpack.packb([1]), msgpack.packb({"type": "dance"})],
)
def test_an_envelope_that_is_no_message(raw_client, envelope):
    raw_client.say(envelope)
    error = raw_client.hear(Error)
    assert error.code == "protocol"
    assert "no message of Echotrain's protocol" in error.message


@pytest.mark.parametrize("message", [Error("", "x", "y"), Opened("x", 0, 0), Output("x", 0, 0)])
def test_a_message_that_only_servers_send(raw_client, message):
    raw_client.say(message)
    assert "a client does not send" in raw_client.hear(Error).message


def test_a_field_of_the_wrong_type(raw_client):
    raw_client.say({"type": "open", "config": "rss", "parameters": {"A.x": b"\xff"}})
    error = raw_client.hear(Error)
    assert (error.code, "'parameters'" in error.message) == ("protocol", True)


def test_a_header_that_would_fill_the_disk_before_any_line(raw_client, scan, server):
    before = {*server.sessions.iterdir()}
    raw_client.say(Open(config=COUNT, header=scan.header + bytes(16 << 20)))
    error = raw_client.hear(Error)
    assert (error.code, "16777216 bytes at most" in error.message) == ("protocol", True)
    assert {*server.sessions.iterdir()} == before


def test_another_version_of_the_protocol(raw_client, scan):
    raw_client.say(Open(config="rss", header=scan.header, protocol=99))
    error = raw_client.hear(Error)
    assert error.code == "protocol"
    assert "version 1, not 99" in error.message


@pytest.mark.parametrize("session", ["20200101-000000-00000000", "../../etc", "x"])
def test_a_session_that_does_not_exist(raw_client, session):
    raw_client.say(Open(session=session))
    error = raw_client.hear(Error)
    assert (error.code, error.session) == ("session", session)
    assert repr(session) in error.message
    for message in (Data(session, 0), End(session, 0)):
        raw_client.say(message, b"x")
        assert raw_client.hear(Error).code == "session"


def test_data_that_names_no_session(raw_client):
    raw_client.say(Data("", 0), b"x")
    assert raw_client.hear(Error).code == "session"


def test_an_acknowledgement_of_what_is_not_there_means_nothing(raw_client, scan):
    raw_client.say(Ack("nowhere", 2**63))
    opened = opened_by(raw_client, scan)
    raw_client.say(Ack(opened.session, 2**63))
    assert_goes_on(raw_client, opened, scan)


def test_a_gap_in_the_offsets(raw_client, scan):
    opened = opened_by(raw_client, scan)
    raw_client.say(Data(opened.session, opened.offset + 5), b"x")
    error = raw_client.hear(Error)
    assert error.code == "protocol"
    assert f"send again from {opened.offset}" in error.message
    assert_goes_on(raw_client, opened, scan)


def test_an_end_in_the_wrong_place(raw_client, scan):
    opened = opened_by(raw_client, scan)
    raw_client.say(End(opened.session, opened.offset + 5))
    error = raw_client.hear(Error)
    assert error.code == "protocol"
    assert f"{opened.offset} bytes are held" in error.message
    assert_goes_on(raw_client, opened, scan)


def test_data_after_the_end(raw_client, scan):
    opened = opened_by(raw_client, scan, "<chain><gadget name='Stumble' how='loop'/><gadget name='Count'/></chain>")
    data = bytes(encode(scan.batches[0]))
    raw_client.say(Data(opened.session, opened.offset), data)
    raw_client.say(End(opened.session, opened.offset + len(data)))
    raw_client.say(Data(opened.session, opened.offset + len(data)), data)
    error = raw_client.hear(Error)
    assert (error.code, "after the end" in error.message) == ("protocol", True)


def test_data_before_the_session_is_opened(raw_client, scan, server, eventually):
    chain = "<chain><gadget name='Stumble' how='loop' at_start='true'/><gadget name='Count'/></chain>"
    before = set(server.sessions.iterdir())
    raw_client.say(Open(config=chain, header=scan.header))
    eventually(lambda: set(server.sessions.iterdir()) - before)
    (folder,) = set(server.sessions.iterdir()) - before
    raw_client.say(Data(folder.name, 0), b"x")
    error = raw_client.hear(Error)
    assert error.code == "protocol"
    assert "wait for `opened`" in error.message


def test_an_error_is_one_of_ours_and_no_traceback(server, scan):
    with pytest.raises(EchotrainError) as caught:
        play(server, scan, batches=[b"\x00" * 5000])
    assert "Traceback" not in str(caught.value)
    assert not isinstance(caught.value, SessionError)
