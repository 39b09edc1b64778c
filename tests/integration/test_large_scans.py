"""Scans that are large, or many: memory stays bounded, and every image comes."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from mrd_clients import GadgetronClient, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.clients.recon import reconstruct
from echotrain.mrd import Acquisitions, Image

pytestmark = pytest.mark.slow

REPETITIONS = 60
N_CHANNELS, N_LINES = 24, 256
BOUND = 500e6  # [bytes] over what server and worker hold when idle


def resident(pid):
    """Bytes that each process of a server holds, by process id."""
    held = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            held |= resident(int(child))
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return held | {pid: 1024 * int(fields.get("VmRSS", "0").split()[0])}


def watch(pid, peaks, stopped):
    while not stopped.wait(0.02):
        try:
            now = resident(pid)
        except OSError:
            continue  # a process that ended meanwhile
        for process, held in now.items():
            peaks[process] = max(peaks.get(process, 0), held)


@pytest.fixture
def sessions(tmp_path):
    if shutil.disk_usage(tmp_path).free < 4e9:
        pytest.skip("less than 4 GB free where tests write")
    yield tmp_path / "sessions"
    shutil.rmtree(tmp_path / "sessions", ignore_errors=True)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see memory")
def test_memory_stays_bounded_while_a_scan_of_one_and_a_half_gigabytes_streams_through(
    sessions, running_server, small_scan
):
    scan = small_scan(matrix=(256, N_LINES), coils=N_CHANNELS, slices=1)
    head = np.concatenate([batch.head for batch in scan.batches])
    data = np.concatenate([batch.data for batch in scan.batches])
    n_images, peaks, stopped = 0, {}, threading.Event()
    with running_server(sessions) as server:
        idle = resident(server.process.pid)
        watcher = threading.Thread(target=watch, args=(server.process.pid, peaks, stopped))
        watcher.start()
        try:
            with open_scan("rss", scan.header, server=server.address) as opened:
                for repetition in range(REPETITIONS):
                    head["idx"]["repetition"] = repetition
                    for start in range(0, N_LINES, 8):
                        opened.send(Acquisitions(head[start : start + 8], data[start : start + 8]))
                        n_images += sum(isinstance(item, Image) for item in opened.received())
                opened.end()
                n_images += len(list(opened.images()))
                assert opened.offset > 1.5e9
        finally:
            stopped.set()
            watcher.join()
    assert n_images == REPETITIONS
    front = server.process.pid
    worker = max(held for pid, held in peaks.items() if pid != front) - max(
        held for pid, held in idle.items() if pid != front
    )
    assert peaks[front] - idle[front] + worker < BOUND


def test_eight_clients_at_once_on_both_doors_get_their_own_images_in_bounded_memory(
    sessions, running_server, small_scan
):
    scans = [small_scan(matrix=(128, 96), coils=8, slices=6, seed=seed) for seed in range(8)]
    expected = [[i.data for i in reconstruct(s.batches, s.header, "rss") if isinstance(i, Image)] for s in scans]
    given, peaks, stopped = {}, {}, threading.Event()

    def on_the_native_door(server, number):
        with open_scan("rss", scans[number].header, server=server.address) as opened:
            for batch in scans[number].batches:
                for line in batch:
                    opened.send(line)
            opened.end()
            given[number] = [image.data for image in opened.images()]

    def on_the_mrd_door(server, number):
        with GadgetronClient(server.mrd) as client:
            client.send(
                opening(client, scans[number]), *lines_of(client, scans[number]), client.close(), chunks=(30_000,)
            )
            given[number] = [pixels for _, pixels, _ in client.hear().images]

    with running_server(sessions) as server:
        idle = resident(server.process.pid)
        ways = (on_the_native_door, on_the_mrd_door)
        clients = [threading.Thread(target=ways[number % 2], args=(server, number)) for number in range(8)]
        watcher = threading.Thread(target=watch, args=(server.process.pid, peaks, stopped))
        for thread in (watcher, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        stopped.set()
        watcher.join()
    for number in range(8):
        np.testing.assert_array_equal(given[number], expected[number])
    assert peaks[server.process.pid] - idle[server.process.pid] < 100e6


def test_thirty_sessions_in_turn_leave_no_process_and_no_descriptor_behind(sessions, running_server, small_scan):
    scan = small_scan()
    with running_server(sessions) as server:
        descriptors = Path(f"/proc/{server.process.pid}/fd")

        def run_one():
            with open_scan("rss", scan.header, server=server.address) as opened:
                for batch in scan.batches:
                    opened.send(batch)
                opened.end()
                assert len(list(opened.images())) == 2

        def state():
            return len(list(descriptors.iterdir())), len(resident(server.process.pid))

        for _ in range(3):
            run_one()
        before = state()
        for _ in range(30):
            run_one()
        # Sessions are let go within a second or two of their end, and one more worker may be starting.
        settled = threading.Event()
        for _ in range(100):
            after = state()
            if after[0] <= before[0] + 4 and after[1] <= before[1] + 1:
                break
            settled.wait(0.1)
        assert after[0] <= before[0] + 4
        assert after[1] <= before[1] + 1
