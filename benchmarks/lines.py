"""Lines per second through oversampling removal, collection, Fourier transform and root sum of squares.

Set beside the same arithmetic alone (the limit), and beside Gadgetron's published figures for these scans (default.xml,
2 cores at 2.5 GHz), scaled by how fast this machine does numpy.fft.ifft2 compared with the machine they were taken on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import scipy.fft
import torch
from scans import header_and_frame, repetitions, touch_memory
from serving import running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan
from echotrain.gadgets.coils import root_sum_of_squares
from echotrain.gadgets.tensors import N_CORES
from echotrain.mrd import Acquisitions, Image

GADGETRON = {8: 9605.0, 32: 3016.0}  # lines/s
GADGETRON_IFFT2_MS = 27.6  # complex64 32 x 256 x 256 on the machine of those figures
REPETITIONS = {8: 120, 32: 40}
MESSAGE_BYTES = 1 << 20
RUNS = 5


def ifft2_ms() -> float:
    """How long this machine takes for NumPy's ifft2 of 32 x 256 x 256 [ms]."""
    data = np.ones((32, 256, 256), np.complex64)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.fft.ifft2(data)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def arithmetic(frame: Acquisitions, count: int) -> float:
    """Lines per second of the arithmetic alone, written straight down, on data that is in place already."""
    samples = torch.from_numpy(np.ascontiguousarray(frame.data))
    start = time.perf_counter()
    for _ in range(count):
        lines = torch.fft.ifft(samples, dim=-1, norm="forward")
        kspace = np.empty((frame.n_channels, len(frame), 256), np.complex64)
        for first in (0, 128):
            kspace[..., first : first + 128] = lines[..., 384 - 3 * first : 512 - 3 * first].numpy().swapaxes(0, 1)
        image = scipy.fft.ifft(kspace, axis=-2, workers=N_CORES, norm="ortho")
        root_sum_of_squares(image[:, None])
    return count * len(frame) / (time.perf_counter() - start)


def through_server(header: bytes, messages: Sequence[memoryview], count: int, address: str) -> float:
    """Repetitions per second, from the first line sent to the last image received."""
    with open_scan("rss", header, server=address) as scan:
        n_images = 0
        start = time.perf_counter()
        for message in messages:
            scan.send(message)
            n_images += sum(isinstance(item, Image) for item in scan.received())
        scan.end()
        n_images += len(list(scan.images()))
        seconds = time.perf_counter() - start
    if n_images != count:
        raise RuntimeError(f"{n_images} images came, not {count}")
    return count / seconds


def main() -> None:
    """Print a row for each number of channels."""
    scale = GADGETRON_IFFT2_MS / ifft2_ms()
    for n_channels, count in REPETITIONS.items():
        header, frame = header_and_frame(Scan(matrix=256, coils=n_channels, repetitions=count))
        ours, limit = [], []
        with running_server() as server:
            messages = list(repetitions(frame, count, max(1, MESSAGE_BYTES // frame.data[0].nbytes)))
            through_server(header, messages, count, server.address)
            server.forget()
            for _ in range(RUNS):
                limit.append(arithmetic(frame, count // 2))
                touch_memory()
                ours.append(len(frame) * through_server(header, messages, count, server.address))
                server.forget()
        rate, bare = statistics.median(ours), statistics.median(limit)
        scaled = GADGETRON[n_channels] * scale
        print(
            f"{n_channels:2} channels: {rate:7.0f} lines/s; {rate / bare:.2f} of the arithmetic alone ({bare:.0f}); "
            f"{rate / scaled:.1f} times Gadgetron scaled to this machine ({scaled:.0f} = {GADGETRON[n_channels]:.0f} "
            f"x {scale:.2f}), goal 2"
        )


if __name__ == "__main__":
    main()
