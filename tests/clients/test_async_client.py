"""The asyncio client against a server that says what the test wants."""

import asyncio

import pytest

from echotrain.clients.async_client import open_async_scan
from echotrain.mrd import Text, encode
from echotrain.mrd.errors import ConfigError, GadgetError, PeerError
from echotrain.server.wire import Abort, Data, Done, End, Error, Open, Opened, Output

pytestmark = pytest.mark.usefixtures("bounded")

RECORDS = [bytes(encode(Text(word))) for word in ("one", "two")]
OUTPUT = [(Output("id", 0, 1), RECORDS[0]), (Output("id", len(RECORDS[0]), 1), RECORDS[1])]


def answers(**by_type):
    given = {"Open": [Opened("id", 10, 1000)], **by_type}
    return lambda message: given.get(type(message).__name__, [])


async def collect(scan, into):
    async for item in scan.items():
        into.append(item.text)


def test_no_server_is_an_error_that_names_where():
    with pytest.raises(PeerError, match=r"tcp://127.0.0.1:9 gave no answer within 0.1 s; is it running\?"):
        asyncio.run(open_async_scan("rss", b"", server="tcp://127.0.0.1:9", timeout=0.1))


def test_what_is_no_address_is_an_error_that_says_what_is():
    with pytest.raises(PeerError, match=r"'localhost' is no address of a server, such as tcp://"):
        asyncio.run(open_async_scan("rss", b"", server="localhost"))


def test_an_error_at_opening_is_raised_by_opening(stub_server):
    server = stub_server(answers(Open=[Error("", "config", "no such chain")]))
    with pytest.raises(ConfigError, match="no such chain"):
        asyncio.run(open_async_scan("rss", b"", server=server.address))


def test_a_scan_is_opened_sent_and_received(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Done("id", {"images": 0})]))
    told = []

    async def run():
        async with await open_async_scan("rss", "<h/>", label="knee", server=server.address) as scan:
            assert (scan.session, scan.offset) == ("id", 10)
            await scan.send(b"12345")
            assert scan.offset == 15
            await scan.end()
            await collect(scan, told)
            assert scan.statistics == {"images": 0}
            await scan.abort()

    asyncio.run(run())
    assert told == ["one", "two"]
    assert server.heard[:3] == [(Open("rss", b"<h/>", {}, "knee"),), (Data("id", 10, 0), b"12345"), (End("id", 15),)]
    assert server.heard[-1] == (Abort("id"),)


def test_what_came_before_an_error_is_given_first(stub_server):
    server = stub_server(answers(End=[*OUTPUT, Error("id", "gadget", "it broke", "Blur")]))
    told = []

    async def run():
        async with await open_async_scan("rss", b"", server=server.address) as scan:
            await scan.end()
            await collect(scan, told)

    with pytest.raises(GadgetError, match="Blur: it broke"):
        asyncio.run(run())
    assert told == ["one", "two"]


def test_a_server_that_falls_silent_is_an_error(stub_server):
    server = stub_server(answers())

    async def run():
        async with await open_async_scan("rss", b"", server=server.address, timeout=0.1, reconnect=0) as scan:
            await scan.end()
            await collect(scan, [])

    with pytest.raises(PeerError, match=r"within 0.1 s"):
        asyncio.run(run())


def test_a_server_that_goes_while_lines_are_sent_is_an_error(stub_server):
    server = stub_server(answers(Open=[Opened("id", 10, 10**12)]))

    async def run():
        async with await open_async_scan("rss", b"", server=server.address, timeout=0.2, reconnect=0) as scan:
            server.close()
            while True:
                await scan.send(b"")

    with pytest.raises(PeerError, match=r"gave no sign of life within 0\.2 s; is it running\?"):
        asyncio.run(run())


def test_sending_waits_for_credit_while_another_task_receives(stub_server):
    server = stub_server(
        lambda message: {
            Open: [Opened("id", 10, 12)],
            Data: [*OUTPUT, Opened("id", 15, 1000)] if getattr(message, "offset", 0) == 10 else [],
            End: [Done("id")],
        }.get(type(message), [])
    )
    told = []

    async def run():
        async with await open_async_scan("rss", b"", server=server.address) as scan:

            async def feed():
                await scan.send(b"12345")
                await scan.send(b"67890")
                await scan.end()

            await asyncio.gather(feed(), collect(scan, told))

    asyncio.run(run())
    assert told == ["one", "two"]


def test_an_error_reaches_both_tasks(stub_server):
    server = stub_server(answers(Data=[Error("id", "gadget", "it broke", "Blur")]))

    async def run():
        async with await open_async_scan("rss", b"", server=server.address) as scan:

            async def feed():
                while True:
                    await scan.send(b"")
                    await asyncio.sleep(0)

            return await asyncio.gather(feed(), collect(scan, []), return_exceptions=True)

    errors = asyncio.run(run())
    assert [type(error) for error in errors] == [GadgetError, GadgetError]


def test_an_error_reaches_a_task_that_waits_for_credit(stub_server):
    """Whichever task hears of it, the other does not wait for ever."""
    server = stub_server(answers(Open=[Opened("id", 10, 12)], Data=[Error("id", "gadget", "it broke", "Blur")]))

    async def run():
        async with await open_async_scan("rss", b"", server=server.address) as scan:

            async def feed():
                while True:
                    await scan.send(b"12345")

            return await asyncio.gather(collect(scan, []), feed(), return_exceptions=True)

    errors = asyncio.run(run())
    assert [type(error) for error in errors] == [GadgetError, GadgetError]


def test_a_lost_server_is_asked_again_by_one_of_two_tasks_and_both_go_on(stub_server):
    """It let go of the session at the first data; what it lacks is sent again, and each item comes once."""

    def say(message):
        match message:
            case Open(session=""):
                return [Opened("id", 10, 12), OUTPUT[0]]
            case Open(received=received):
                assert received == len(RECORDS[0])
                return [Opened("id", 12, 1000)]
            case Data(offset=10):
                return [Error("id", "session", "no session 'id' runs here")]
            case End():
                return [OUTPUT[1], Done("id")]
        return []

    server = stub_server(say)
    told = []

    async def run():
        async with await open_async_scan("rss", b"", server=server.address) as scan:

            async def feed():
                await scan.send(b"12345")
                await scan.send(b"67")
                await scan.end()

            await asyncio.gather(feed(), collect(scan, told))

    asyncio.run(run())
    assert [text for text in told if not text.startswith("warning: the connection")] == ["one", "two"]
    assert len(told) == 3
    data = [(message.offset, *payload) for message, *payload in server.heard if isinstance(message, Data)]
    assert data == [(10, b"12345"), (12, b"345"), (15, b"67")]


def test_a_server_that_does_not_come_back_in_time_is_an_error_for_both_tasks(stub_server):
    server = stub_server(answers(Open=[Opened("id", 10, 10**12)]))

    async def run():
        async with await open_async_scan("rss", b"", server=server.address, timeout=0.1, reconnect=0.3) as scan:
            server.close()

            async def feed():
                while True:
                    await scan.send(b"")
                    await asyncio.sleep(0)

            return await asyncio.gather(feed(), collect(scan, []), return_exceptions=True)

    for error in asyncio.run(run()):
        assert isinstance(error, PeerError)
        assert "gave no sign of life within 0.3 s" in str(error)
