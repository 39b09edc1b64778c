"""A scan streamed to a real server gives what `recon` gives from a file, however it is cut into messages."""

import asyncio
import threading

import numpy as np
import pytest

from echotrain.clients.async_client import open_async_scan
from echotrain.clients.client import open_scan
from echotrain.clients.recon import reconstruct
from echotrain.mrd import Image, Text, encode

pytestmark = pytest.mark.usefixtures("bounded")

CHAINS = ["rss", "fft", "adaptive", "short"]


@pytest.fixture(scope="module")
def scan(small_scan):
    return small_scan(repetitions=3, noise=0.02)


@pytest.fixture(scope="module")
def expected(scan):
    """Images by chain, reconstructed without a server."""
    return {chain: list(reconstruct(scan.batches, scan.header, chain)) for chain in CHAINS}


def lines(scan):
    return [line for batch in scan.batches for line in batch]


def in_odd_chunks(scan):
    """Messages of 1 record, then of 5, 1, 7..."""
    records = [bytes(encode(line)) for line in lines(scan)]
    sizes = iter([1, 5, 1, 7, 2, 13] * len(records))
    while records:
        size = next(sizes)
        yield b"".join(records[:size])
        records = records[size:]


MESSAGES = {"line by line": lines, "in batches": lambda scan: scan.batches, "in odd chunks": in_odd_chunks}


def stream(server, chain, scan, messages):
    with open_scan(chain, scan.header, server=server.address) as opened:
        for message in messages(scan):
            opened.send(message)
        opened.end()
        items = list(opened.items())
    assert opened.statistics["images"] == sum(isinstance(item, Image) for item in items)
    assert opened.statistics["lines"] == len(lines(scan))
    return items


def assert_same(items, expected, *, exactly):
    assert [type(item) for item in items] == [type(item) for item in expected]
    for image, wanted in zip(items, expected, strict=True):
        if isinstance(image, Text):
            assert image == wanted
            continue
        assert image.data.dtype == wanted.data.dtype
        if exactly:
            np.testing.assert_array_equal(image.data, wanted.data)
        else:
            off = np.abs(image.data.astype(float) - wanted.data.astype(float)).max()
            assert off <= max(1e-6 * np.abs(wanted.data).max(), float(wanted.data.dtype.kind == "u"))
        head, wanted_head = image.head.copy(), wanted.described()
        wanted_head["attribute_string_len"] = head["attribute_string_len"]
        assert head == wanted_head
        assert {name: texts(value) for name, value in image.meta.items()} == {
            name: texts(value) for name, value in wanted.meta.items()
        }


def images_of(items):
    return [item for item in items if isinstance(item, Image)]


def texts(value):
    """Meta values as they are read from a stream."""
    return [str(part) for part in value] if isinstance(value, list) and len(value) > 1 else str(value)


@pytest.mark.parametrize("way", MESSAGES)
@pytest.mark.parametrize("chain", CHAINS)
def test_images_headers_meta_and_order_are_those_of_recon(server, scan, expected, chain, way):
    items = stream(server, chain, scan, MESSAGES[way])
    assert sum(isinstance(item, Image) for item in items) == 6 * (2 if chain == "adaptive" else 1)
    assert_same(items, expected[chain], exactly=False)


@pytest.mark.parametrize("chain", ["fft", "adaptive"])
def test_the_same_way_twice_gives_the_same_bits(server, scan, chain):
    once, again = (stream(server, chain, scan, lines) for _ in range(2))
    assert_same(once, again, exactly=True)


def test_images_come_while_lines_are_still_being_sent(server, scan, expected):
    with open_scan("fft", scan.header, server=server.address) as opened:
        n_first = 16 + 2 * 20  # noise, and the first repetition of two slices
        for line in lines(scan)[:n_first]:
            opened.send(line)
        images = opened.images()
        early = [next(images), next(images)]  # the rest is held back until these are here
        for line in lines(scan)[n_first:]:
            opened.send(line)
        opened.end()
        assert_same([*early, *images], images_of(expected["fft"]), exactly=False)


def test_six_sessions_at_once_each_get_their_own_images(server, small_scan):
    scans = [small_scan(matrix=(24, 16 + 2 * n), repetitions=2, seed=n + 1, noise=0.02) for n in range(6)]
    results = [None] * 6

    def run(n):
        results[n] = stream(server, "fft", scans[n], lines)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scan, images in zip(scans, results, strict=True):
        assert_same(images, list(reconstruct(scan.batches, scan.header, "fft")), exactly=False)


def test_an_async_client_sends_and_receives_at_once(server, scan, expected):
    async def run():
        async with await open_async_scan("fft", scan.header, server=server.address) as opened:

            async def feed():
                for line in lines(scan):
                    await opened.send(line)
                await opened.end()

            feeding = asyncio.create_task(feed())
            images = [image async for image in opened.images()]
            await feeding
            return images, opened.statistics["images"]

    images, counted = asyncio.run(run())
    assert counted == len(images)
    assert_same(images, images_of(expected["fft"]), exactly=False)


def test_a_client_that_comes_back_goes_on_where_the_server_says(server, scan, as_stream, expected):
    stream = as_stream(scan)
    half = len(stream) // 2 + 77  # within a record
    with open_scan("fft", scan.header, server=server.address) as opened:
        session = opened.session
        opened.send(stream[opened.offset : half])
        next(opened.images())
    with open_scan("", b"", server=server.address, session=session) as again:
        assert again.session == session
        assert again.offset == half
        again.send(stream[again.offset :])
        again.end()
        images = list(again.images())
    assert_same(images, images_of(expected["fft"]), exactly=False)
    assert (server.sessions / session / "input.mrd").read_bytes()[:-2] == stream


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_a_client_that_comes_back_with_nothing_gets_all_output(server, small_scan, as_stream, taken):
    scan = small_scan()
    stream = as_stream(scan)
    with open_scan(TELL, scan.header, server=server.address) as opened:
        session = opened.session
        opened.send(stream[opened.offset :])
        opened.end()
        items = opened.items()
        assert len([next(items) for _ in range(taken)]) == taken
    with open_scan("", b"", server=server.address, session=session) as again:
        told = [item.text for item in again.items()]
    assert told == [f"line {n} with 3 x 48" for n in range(40)]


TELL = '<chain name="tell"><gadget name="TellLines"/></chain>'


def test_a_session_that_is_done_gives_its_output_to_who_asks_for_it(server, small_scan):
    scan = small_scan()
    with open_scan("fft", scan.header, server=server.address) as opened:
        session = opened.session
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        images = list(opened.images())
    with open_scan("", b"", server=server.address, session=session) as again:
        assert_same(list(again.images()), images, exactly=True)


def test_more_output_than_the_window_holds_waits_for_the_client(server, small_scan):
    scan = small_scan(matrix=(24, 40))
    chain = '<chain name="large"><gadget name="Enlarge" megabytes="2"/></chain>'
    with open_scan(chain, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        sizes = [image.data.nbytes for image in opened.images()]
    assert sizes == [2_000_000] * 80


def test_texts_and_waveforms_pass_by_in_order(server, small_scan):
    scan = small_scan()
    with open_scan("rss", scan.header, server=server.address) as opened:
        opened.send(Text("before"))
        for batch in scan.batches:
            opened.send(batch)
        opened.send(Text("after"))
        opened.end()
        items = list(opened.items())
    assert [item.text if isinstance(item, Text) else type(item) for item in items] == ["before", Image, Image, "after"]
