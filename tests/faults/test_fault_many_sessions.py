"""Many sessions, one after the other and at once: afterwards the server is as small as before."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fault_client import FaultClient
from fault_scans import compared, fault_scan, images_of
from fault_server import GROWTH_BYTES, FaultServer, descendants, sizes_of, wait_until

AT_ONCE = 16
pytestmark = pytest.mark.usefixtures("bounded")


def run_one_after_the_other(server, folder, numbers):
    for number in numbers:
        client = FaultClient(folder / f"client-{number}", server.address, fault_scan("rss"))
        client.pace = 0.0
        client.run()
        assert client.done, client.error
        yield images_of(client.received)


def run_at_once(server, folder, count):
    found = {}

    def run(number):
        (found[number],) = run_one_after_the_other(server, folder, [number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def state(server):
    """Descriptors, processes and memory of a server at rest."""
    wait_until(lambda: len(descendants(server.pid)) <= 3)  # the fork server, its tracker, and the worker that waits
    n_descriptors, resident = sizes_of(server)
    return n_descriptors, len(descendants(server.pid)), resident


def check_flat(server, folder, before):
    list(
        run_one_after_the_other(server, folder, ["after", "last"])
    )  # Python lets go of ended workers when it starts one
    wait_until(lambda: sizes_of(server)[0] <= before[0])
    _, n_processes, resident = state(server)
    assert n_processes <= before[1]
    assert resident <= before[2] + GROWTH_BYTES


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with FaultServer(tmp_path_factory.mktemp("many")) as running:
        yield running
        assert "Traceback" not in running.told


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_sessions_one_after_the_other_leave_nothing(server, tmp_path, count):
    wanted = list(run_one_after_the_other(server, tmp_path, range(5)))[-1]
    before = state(server)
    for images in run_one_after_the_other(server, tmp_path, range(5, 5 + count)):
        assert compared(images, wanted).losses == 0
    check_flat(server, tmp_path, before)


def test_sessions_at_once_all_end_well_and_leave_nothing(server, tmp_path):
    wanted = list(run_one_after_the_other(server, tmp_path, ["first", "second"]))[-1]
    before = state(server)
    found = run_at_once(server, tmp_path, AT_ONCE)
    assert len(found) == AT_ONCE
    for images in found.values():
        result = compared(images, wanted)
        assert (result.losses, result.duplicates, result.differing, result.in_order) == (0, 0, 0, True)
    check_flat(server, tmp_path, before)


@pytest.mark.slow
def test_a_minute_of_faults_leaves_nothing(tmp_path):
    """The command, whose long form is an hour: `python tests/faults/run.py --minutes 60`."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--minutes", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
