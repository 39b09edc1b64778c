"""How long the server takes to be ready, and a tiny scan from connecting to its first image."""

from __future__ import annotations

import statistics
import time

from scans import header_and_frame
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan

RUNS = 5


def main() -> None:
    """Print two rows."""
    header, frame = header_and_frame(Scan(matrix=(32, 24), coils=4))
    ready, first = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        with running_server() as server:
            ready.append(time.perf_counter() - start)
            for _ in range(4):
                time.sleep(1)  # the worker that takes the place of the last one is warm again
                start = time.perf_counter()
                with open_scan("rss", header, server=server.address) as scan:
                    scan.send(frame)
                    scan.end()
                    next(scan.images())
                    first.append(time.perf_counter() - start)
    print(f"start to ready {statistics.median(ready):.2f} s, goal under 3 s")
    print(
        f"connect to first image, tiny scan: {1000 * statistics.median(first):.0f} ms "
        f"(at most {1000 * max(first):.0f}), goal under 100 ms"
    )


if __name__ == "__main__":
    main()
