"""Bytes per second through the server, its logs on disk, synced or not, against logs in memory (chain: counting)."""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from scans import touch_memory
from serving import running_server
from throughput import N_CHANNELS, messages, through_server

from echotrain.clients.simulate import Scan, simulate

MEMORY = Path("/dev/shm")
TOTAL_BYTES = 800_000_000
RUNS = 5
MODES = (("page cache", (), 0.9), ("fsync each 100 ms", ("--durability", "fsync:100"), None))


def compare(way: str, lines_per_message: int, total: int, runs: int) -> None:
    """Print a row for each promise: the median ratio of rates taken in turn, the same bytes to each server."""
    header, _ = simulate(Scan(matrix=256, coils=N_CHANNELS))
    payloads = messages(lines_per_message)
    count = total // len(payloads[0])
    with ExitStack() as stack:
        none = stack.enter_context(running_server(parent=MEMORY))
        servers = [stack.enter_context(running_server(*options)) for _, options, _ in MODES]
        rates: list[list[float]] = []
        for number in range(runs + 1):
            rates.append([])
            for server in (none, *servers):
                touch_memory()
                rates[-1].append(through_server(payloads, count if number else count // 10, header, server))
                server.forget()
    for column, (mode, _, goal) in enumerate(MODES, start=1):
        ratios = [row[column] / row[0] for row in rates[1:]]  # without the first, which warms up
        rate = statistics.median(row[column] for row in rates[1:])
        print(
            f"{way:18}  {mode:18}  {rate / 1e6:6.0f} MB/s: ratio to memory {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}){f', goal {goal}' if goal else ''}",
            flush=True,
        )


if __name__ == "__main__":
    megabytes, runs = (int(word) for word in sys.argv[1:] or (TOTAL_BYTES // 1_000_000, RUNS))
    for way, lines in (("line by line", 1), ("8 lines a message", 8)):
        compare(way, lines, megabytes * 1_000_000, runs)
