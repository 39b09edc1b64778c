"""What one client of the MRD door may do, and how little the others notice of it."""

import contextlib
import socket
import time
from pathlib import Path

import pytest
from mrd_clients import GadgetronClient, lines_of, opening

pytestmark = pytest.mark.usefixtures("bounded")


def memory(process):
    """What the process holds [bytes]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.fixture
def wait_of_another(server):
    """`wait_of_another()` is how long another client waits for an answer [s]."""

    def ask():
        begun = time.monotonic()
        with GadgetronClient(server.mrd) as other:
            other.send(other.query("gadgetron::version"), other.close())
            assert other.hear().responses
        return time.monotonic() - begun

    ask()
    return ask


def test_answers_that_nobody_takes_are_not_piled_up(server, wait_of_another):
    before = memory(server.process.pid)
    with GadgetronClient(server.mrd) as asker:
        asker.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        asker.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            asker.socket.sendall(asker.query("") * 200_000)
        assert wait_of_another() < 1
        assert memory(server.process.pid) - before < 30 << 20


def test_who_takes_answers_may_ask_without_end(server):
    with GadgetronClient(server.mrd) as asker:
        for first in range(0, 6000, 2000):
            asker.send(*[asker.query("gadgetron::version", first + i) for i in range(2000)])
            for _ in range(2000):
                assert asker._bytes(2) == b"\x07\0"
                asker._read("<Q")
                asker._counted("<Q")
        asker.send(asker.close())
        assert asker.hear().closed


def test_a_scan_begins_though_the_answers_before_it_were_not_taken(server, small_scan):
    scan = small_scan()
    with GadgetronClient(server.mrd) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        questions = [client.query("", number) for number in range(100)]
        client.send(*questions, opening(client, scan), *lines_of(client, scan), client.close())
        heard = client.hear()
        assert sorted(heard.responses) == list(range(100))
        assert len(heard.images) == 2


def test_a_long_configuration_before_close_is_not_read_for_a_question(server, wait_of_another):
    with GadgetronClient(server.mrd) as client:
        client.send(client.script("<chain>" + "<gadget/>" * (1 << 21) + "</chain>"), client.close())
        assert wait_of_another() < 1
        assert client.hear().closed
