"""Whatever comes over the MRD door, the client is told what is wrong and then CLOSE, and others beside it end well."""

import random
import struct
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from mrd_clients import FireClient, GadgetronClient, assert_refused, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.mrd import Image, acquisition_headers
from echotrain.mrd.records import IMAGE_HEADER, WAVEFORM_HEADER

pytestmark = pytest.mark.usefixtures("bounded")

EXTERNAL = '<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
LAUGHS = '<!DOCTYPE c [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{f"&{of};" * 10}">' for of, name in zip("abcdefgh", "bcdefghi", strict=True)
)
LAUGHS += "]>"

ODD_BYTES = random.Random(1).randbytes(3000)


@pytest.fixture(scope="module", autouse=True)
def _others_end_well(server, small_scan):
    """A session on each door runs beside all of these tests, and must give all its images at the end."""
    scan = small_scan(repetitions=2)
    lines = [line for batch in scan.batches for line in batch]
    with GadgetronClient(server.mrd) as client, open_scan("rss", scan.header, server=server.address) as opened:
        messages = lines_of(client, scan)
        client.send(opening(client, scan), *messages[:30])
        for line in lines[:30]:
            opened.send(line)
        yield
        client.send(*messages[30:], client.close())
        assert len(client.hear().images) == 4
        for line in lines[30:]:
            opened.send(line)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 4


@pytest.fixture
def client(server):
    with GadgetronClient(server.mrd) as connected:
        yield connected


@pytest.fixture
def scan(small_scan):
    return small_scan()


def memory(process):
    """What the process holds [bytes]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def record(number, head, **fields):
    """A message that is a header only."""
    for name, value in fields.items():
        head[name] = value
    return struct.pack("<H", number) + head.tobytes()


# -- the opening ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(200), ODD_BYTES])
def test_bytes_that_are_no_mrd(client, data):
    client.send(data)
    assert_refused(client, "not an MRD stream")


def test_a_deprecated_message(client):
    client.send(struct.pack("<HI", 1001, 7))
    assert_refused(client, "message 1001 is deprecated")


def test_a_header_before_a_configuration(client, scan):
    client.send(client.header(scan.header))
    assert_refused(client, "message 3", "before a configuration")


@pytest.mark.parametrize("config", ["", "rss"])
def test_lines_before_a_header(client, scan, config):
    client.send(client.config(config) if config else b"", *lines_of(client, scan))
    assert_refused(client, "message 1008", "before a header" if config else "before a configuration")


def test_a_second_configuration_before_the_header(client, scan):
    client.send(client.config("rss"), client.script("<chain/>"), client.header(scan.header))
    assert_refused(client, "a second configuration")


@pytest.mark.parametrize(
    "config", ["../rss", "../../../../etc/passwd", "/etc/passwd", "rss.xml/../../x", "no-such.xml"]
)
def test_a_configuration_that_is_none_of_ours(client, scan, config):
    client.send(opening(client, scan, config), *lines_of(client, scan), client.close())
    assert_refused(client, "there is no configuration", config)


def test_an_empty_name(client, scan):
    client.send(opening(client, scan, ""), client.close())
    assert_refused(client, "configuration")


@pytest.mark.parametrize("name", [b"x" * 1024, b"\xff\xfe\x80" * 300 + bytes(124)], ids=["no NUL", "not UTF-8"])
def test_a_name_that_is_no_text(client, scan, name):
    client.send(struct.pack("<H", 1) + name, client.header(scan.header), client.close())
    heard = assert_refused(client, "there is no configuration")
    assert len(heard.texts[-1]) < 2000


@pytest.mark.parametrize("doctype", [EXTERNAL, LAUGHS], ids=["external entity", "billion laughs"])
@pytest.mark.parametrize("part", ["configuration", "header"])
def test_xml_with_entities(client, scan, doctype, part):
    entity = "&x;" if doctype is EXTERNAL else "&i;"
    if part == "configuration":
        client.send(client.script(f'{doctype}<chain><gadget name="{entity}"/></chain>'), client.header(scan.header))
    else:
        client.send(client.config("rss"), client.header(f"{doctype}<ismrmrdHeader>{entity}</ismrmrdHeader>"))
    client.send(client.close())
    heard = assert_refused(client)
    assert "root:" not in heard.texts[-1]
    assert "hahaha" not in heard.texts[-1]


@pytest.mark.parametrize("text", [b"\xff\xfe<chain/>", b"<chain>\x80</chain>", b"<chain><gadget", b" "])
def test_a_configuration_that_is_no_xml(client, scan, text):
    client.send(client.script(text), client.header(scan.header), client.close())
    assert_refused(client)


def test_an_empty_configuration(client, scan):
    client.send(client.script(""), client.header(scan.header), client.close())
    assert_refused(client, "configuration")


@pytest.mark.parametrize("header", [b"<ismrmrdHeader>", b"<html/>", b"<ismrmrdHeader>\xff\x80</ismrmrdHeader>"])
def test_a_header_that_is_none(client, scan, header):
    client.send(client.config("rss"), client.header(header), *lines_of(client, scan), client.close())
    assert_refused(client, "header")


@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_length_of_4_gigabytes(client, number):
    client.send(client.config("rss") if number != 2 else b"", struct.pack("<HI", number, 0xFFFF_FFFF))
    assert_refused(client, "4294967295 bytes; at most")


def test_a_header_of_100_megabytes_is_refused_though_all_of_it_comes(client, server):
    before = memory(server.process.pid)
    client.send(client.config("rss"), struct.pack("<HI", 3, 100 << 20))
    piece = bytes(1 << 20)
    for _ in range(100):
        client.send(piece)
    assert_refused(client, "104857600 bytes; at most")
    assert memory(server.process.pid) - before < 30 << 20


def test_a_connection_that_ends_within_the_opening(client, scan):
    client.send(client.config("rss"), client.header(scan.header)[:300])
    client.end()
    assert_refused(client, "before a header came")


def test_connections_that_say_nothing(server, client, scan):
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(GadgetronClient(server.mrd))
        client.send(opening(client, scan), *lines_of(client, scan), client.close())
        assert len(client.hear().images) == 2
    with GadgetronClient(server.mrd) as silent:
        silent.end()
        assert not silent.hear().texts


# -- in the midst of a scan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\xff\xff" + bytes(50), ODD_BYTES, struct.pack("<HI", 1004, 3)])
def test_bytes_in_a_scan_that_are_no_mrd(client, scan, data):
    messages = lines_of(client, scan)
    client.send(opening(client, scan), *messages[:10], data, *messages[10:], client.close())
    assert_refused(client, "byte")


@pytest.mark.parametrize("dialect", [GadgetronClient, FireClient])
def test_the_error_names_the_place_in_what_the_client_sent(server, scan, dialect):
    with dialect(server.mrd) as client:
        client.send(opening(client, scan), *lines_of(client, scan)[:10], b"\xff\xff", client.close())
        assert_refused(client, "no message has the number 65535")


def test_a_configuration_in_a_scan(client, scan):
    client.send(opening(client, scan), *lines_of(client, scan)[:5], client.config("rss"), client.close())
    assert_refused(client, "configuration")


def test_a_second_header(client, scan):
    client.send(opening(client, scan), *lines_of(client, scan)[:5], client.header(scan.header + b" "), client.close())
    assert_refused(client, "header")


HUGE = [
    record(1008, acquisition_headers(1, 65535, 65535)),
    record(1008, acquisition_headers(1, 1, 65535), trajectory_dimensions=65535),
    record(1008, acquisition_headers(1, 2, 3), flags=1 << 53) + struct.pack("<I", 0xFFFF_FFFF),
    record(1022, np.zeros((), IMAGE_HEADER), matrix_size=65535, channels=65535, data_type=8),
    record(1026, np.zeros((), WAVEFORM_HEADER), number_of_samples=65535, channels=65535),
    struct.pack("<HHHHQQ", 1030, 5, 0, 2, 1 << 40, 1 << 40),
    struct.pack("<HQ", 8, 1 << 60),
    struct.pack("<HQQQ", 6, 0, 1, 1 << 40),
]


@pytest.mark.parametrize("message", HUGE, ids=lambda message: str(message[0] + 256 * message[1]))
def test_a_message_that_announces_more_than_anyone_sends(client, scan, message):
    """It is refused at once, and not waited for."""
    client.send(opening(client, scan), *lines_of(client, scan)[:5], message)
    assert_refused(client, "bytes")


def test_a_damaged_compressed_line(client, scan):
    pytest.importorskip("zfpy")
    damaged = record(1008, acquisition_headers(1, 3, 48), flags=1 << 52) + struct.pack("<I", 40) + ODD_BYTES[:40]
    client.send(opening(client, scan), *lines_of(client, scan)[:5], damaged, client.close())
    assert_refused(client, "ZFP payload that does not fit")


def test_an_image_of_an_unknown_type(client, scan):
    client.send(opening(client, scan), record(1022, np.zeros((), IMAGE_HEADER), matrix_size=3, channels=1, data_type=9))
    assert_refused(client, "data type 9")


def test_what_comes_after_close_means_nothing_and_is_told(client, scan):
    client.send(opening(client, scan), *lines_of(client, scan), client.close(), ODD_BYTES, client.close())
    heard = client.hear()
    assert heard.closed
    assert len(heard.images) == 2
    assert not [text for text in heard.texts if text.startswith("error")]


def test_lines_that_do_not_fit_the_scan(client, scan):
    wrong = client.acquisitions(acquisition_headers(1, 5, 48), np.ones((1, 5, 48)))
    client.send(opening(client, scan), *lines_of(client, scan)[:5], wrong, client.close())
    assert_refused(client, "CollectKSpace")


@pytest.mark.parametrize("how", ["raise", "segfault", "os_exit"])
def test_a_gadget_that_fails(client, scan, how):
    config = f'<chain><gadget name="Stumble" how="{how}" after="3"/><gadget name="Count"/></chain>'
    client.send(client.script(config), client.header(scan.header), *lines_of(client, scan), client.close())
    assert_refused(client, "Stumble")
