"""Resident memory of server and worker while a scan of 4 GB streams through, over what they hold when idle."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from scans import header_and_frame, repetitions
from serving import processes, running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan
from echotrain.mrd import Image

TOTAL_BYTES = 4_000_000_000


def resident(pid: int) -> dict[str, int]:
    """Bytes that a process holds: `anonymous` its own, `mapped` files (the log among them)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kilobytes = {"anonymous": "RssAnon", "mapped": "RssFile", "all": "VmRSS"}
    return {name: 1024 * int(fields[field].split()[0]) for name, field in kilobytes.items()}


class Watch(threading.Thread):
    """Keeps the peak of each process below the server."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peaks: dict[int, int] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            for pid in processes(self.pid):
                try:
                    self.peaks[pid] = max(self.peaks.get(pid, 0), resident(pid)["all"])
                except (OSError, KeyError):
                    continue


def main() -> None:
    """Print a row for the server and one for the worker."""
    header, frame = header_and_frame(Scan(matrix=256, coils=32, repetitions=2))
    count = TOTAL_BYTES // (frame.data.nbytes)
    with running_server() as server:
        time.sleep(1)
        idle = {pid: resident(pid)["all"] for pid in processes(server.pid)}
        watch = Watch(server.pid)
        watch.start()
        with open_scan("rss", header, server=server.address) as scan:
            n_images = 0
            for message in repetitions(frame, count, 8):
                scan.send(message)
                n_images += sum(isinstance(item, Image) for item in scan.received())
            scan.end()
            n_images += len(list(scan.images()))
            sent = scan.offset
        watch.stopped.set()
        watch.join()
    warm = max(size for pid, size in idle.items() if pid != server.pid)
    worker = max(size for pid, size in watch.peaks.items() if pid != server.pid)
    ours = watch.peaks[server.pid]
    print(f"{sent / 1e9:.2f} GB in, {n_images} images out")
    for name, peak, before in (("server", ours, idle[server.pid]), ("worker", worker, warm)):
        print(f"{name}: peak {peak / 1e6:.0f} MB, idle {before / 1e6:.0f} MB: {(peak - before) / 1e6:.0f} MB over idle")
    print("goal: under 1000 MB over idle together")


if __name__ == "__main__":
    main()
