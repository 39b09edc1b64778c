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


def test_a_client_that_is_away_is_waited_for_however_the_clock_jumps(tmp_path):
    with FaultServer(tmp_path) as server:
        for number, jump in enumerate((-YEARS, YEARS)):
            check_jump(server, tmp_path / f"{number}", jump)
        assert "Traceback" not in server.told


def check_jump(server, folder, jump):
    folder.mkdir()
    away = FaultClient(folder / "away", server.address, fault_scan("rss"))

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
    other = FaultClient(folder / "other", server.address, fault_scan("rss"))
    other.linger = 0.1  # so that the server looks around meanwhile
    other.run()
    assert '"left"' not in events.read_text()
    away.watch = lambda what, number: None
    away.run()
    assert away.done
    assert len(images_of(away.received)) == len(images_of(other.received)) == 12


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
