"""From the last line to the last image, against the bare NumPy time of what then is left to do."""

from __future__ import annotations

import statistics
import time

import numpy as np
from scans import header_and_frame, touch_memory
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan
from echotrain.mrd import Image

RUNS = 15


def bare_ms(n_channels: int) -> float:
    """The last phase-direction FFT and the combination in plain NumPy [ms]."""
    hybrid = np.random.default_rng(1).standard_normal((n_channels, 256, 256, 2), np.float32).view(np.complex64)[..., 0]
    start = time.perf_counter()
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(hybrid, axes=-2), axis=-2, norm="ortho"), axes=-2)
    np.sqrt((np.abs(image) ** 2).sum(axis=0))
    return 1000 * (time.perf_counter() - start)


def tail_ms(header: bytes, frame, address: str) -> float:
    """From sending the last line to holding the last image [ms]; the line comes when all before it is done."""
    with open_scan("rss", header, server=address) as scan:
        scan.send(frame[:-1])
        scan.send(frame[-1:])
        for _ in range(1):
            next(item for item in scan.items() if isinstance(item, Image))
        second = frame.head.copy()
        second["idx"]["repetition"] = 1
        frame = type(frame)(second, frame.data)
        for line in frame[:-1]:
            scan.send(line)
            time.sleep(0.0002)  # the pace of a scanner; the chain keeps up with it
        time.sleep(0.02)
        start = time.perf_counter()
        scan.send(frame[-1:])
        next(item for item in scan.items() if isinstance(item, Image))
        seconds = time.perf_counter() - start
        scan.end()
        list(scan.items())
    return 1000 * seconds


def main() -> None:
    """Print one row."""
    touch_memory(1 << 30)
    n_channels = 32
    header, frame = header_and_frame(Scan(matrix=256, coils=n_channels, repetitions=2))
    bare_ms(n_channels)
    with running_server() as server:
        pairs = [(tail_ms(header, frame, server.address), bare_ms(n_channels)) for _ in range(RUNS)]
    tail, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / alone for ours, alone in pairs)
    print(f"last line to last image {tail:.1f} ms, bare NumPy {bare:.1f} ms: ratio {ratio:.2f}, goal at most 2")


if __name__ == "__main__":
    main()
