"""Clocks that jump, and clients that are slow: what the server decides, it decides by time that only passes."""

import ast
from pathlib import Path

import pytest
from fault_client import FaultClient
from fault_scans import fault_scan, images_of
from fault_server import FaultServer, wait_until

ROOT = Path(__file__).parents[2]
YEARS = 86400 * 365 * 30
pytestmark = pytest.mark.usefixtures("bounded")


@pytest.mark.parametrize("jump", [-YEARS, YEARS])
def test_a_client_that_is_away_is_waited_for_however_the_clock_jumps(tmp_path, jump):
    scan = fault_scan("rss")
    with FaultServer(tmp_path) as server:
        client = FaultClient(tmp_path / "client", server.address, scan)
        away = FaultClient(tmp_path / "away", server.address, scan)

        def leave(what, number):
            if (what, number) == ("line", 98):
                server.proxy.cut()
                raise InterruptedError

        away.watch = leave
        with pytest.raises(InterruptedError):
            away.run()
        events = server.sessions / away.session / "events.jsonl"
        wait_until(lambda: "client away" in events.read_text())
        server.set_clock(jump)
        client.run()  # meanwhile the server has looked around
        assert client.done
        assert '"left"' not in events.read_text()
        away.watch = lambda what, number: None
        away.run()
        assert away.done
        assert len(images_of(away.received)) == len(images_of(client.received)) == 12
        assert "Traceback" not in server.told


def test_wall_clocks_are_read_for_records_alone():
    """In the server's code, that is; what it waits for goes by `time.monotonic`."""
    readers = set()
    for path in (ROOT / "server").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "datetime.now", "time.time_ns"):
                readers.add(path.name)
    assert readers <= RECORDS


RECORDS = {
    "folder.py",  # when an event was
    "noise_store.py",  # how old noise is
    "session_noise.py",
    "caretaker.py",  # how old a session is that may go
}
