"""The client library under faults: who feeds a scan with it notices nothing but the time that passes."""

import random
from itertools import pairwise

import pytest
from fault_proxy import DOWN, UP
from fault_scans import compared, fault_scan
from fault_server import FaultServer
from fault_trials import Reference

from echotrain.clients.client import open_scan
from echotrain.clients.scan import MOST_REFUSALS, ScanProtocol
from echotrain.mrd import Image
from echotrain.mrd.errors import ProtocolError
from echotrain.server.wire import Error, Opened, pack

LINES_A_MESSAGE = 9
PATIENCE = 300.0  # [s]
pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with FaultServer(tmp_path_factory.mktemp("library")) as running:
        yield running
        assert "Traceback" not in running.told


def cut(server, chance):
    server.proxy.cut(after=chance.choice((0, chance.randrange(9000))), direction=chance.choice((UP, DOWN)))


def lose(server, chance):
    server.proxy.cut(after=0, direction=chance.choice((UP, DOWN)), silently=True)


def kill(server, chance):
    server.restart()


def test_data_that_is_refused_is_sent_again_but_not_for_ever():
    protocol = ScanProtocol("rss", b"", goes_on=True)
    refused = [pack(Error("s", "protocol", "bytes 9 to 12 of the input are missing"))]
    for _ in range(MOST_REFUSALS):
        protocol.receive([pack(Opened("s", 9, 100))])
        protocol.send(b"abc")
        protocol.receive(refused)
        protocol.receive(refused)  # of the connection of before
        assert protocol.lost
        protocol.reopen()
    protocol.receive([pack(Opened("s", 9, 100))])
    with pytest.raises(ProtocolError, match="missing"):
        protocol.receive(refused)


@pytest.mark.parametrize(
    ("strike", "config"), [(cut, "rss"), (cut, "grappa_float"), (lose, "rss"), (kill, "grappa_float")]
)
def test_a_scan_fed_with_the_library_is_whole(server, tmp_path, strike, config):
    scan, chance = fault_scan(config), random.Random(f"{config} {strike.__name__}")
    wanted, _ = Reference(server, tmp_path)[config]
    at = {chance.randrange(scan.n_lines) // LINES_A_MESSAGE for _ in range(2)}
    images = []
    with open_scan(config, scan.header, server=server.address, timeout=PATIENCE, reconnect=PATIENCE) as opened:
        bounds = [opened.offset, *scan.ends[LINES_A_MESSAGE:-1:LINES_A_MESSAGE], len(scan.stream)]
        for number, (start, end) in enumerate(pairwise(bounds)):
            if number in at:
                strike(server, chance)
            opened.send(scan.stream[start:end])
            images += [item for item in opened.received() if isinstance(item, Image)]
        opened.end()
        images += opened.images()
        held = (server.sessions / opened.session / "input.mrd").read_bytes()
    result = compared(images, wanted)
    assert (result.duplicates, result.losses, result.differing, result.in_order) == (0, 0, 0, True)
    assert held[: len(scan.stream)] == scan.stream
