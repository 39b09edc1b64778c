"""Bytes per second through the server (chain: counting) against a bare DEALER to ROUTER hop of the same messages."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import numpy as np
import zmq
from scans import touch_memory
from serving import Server, running_server

from echotrain.clients.client import open_scan
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, acquisition_headers, encode
from echotrain.server.wire import Data, pack

N_CHANNELS, N_SAMPLES = 32, 512
TOTAL_BYTES = 800_000_000
RECORD_BYTES = 2 + 340 + 8 * N_CHANNELS * N_SAMPLES
RUNS = 7


def messages(lines_per_message: int) -> list[bytes]:
    """A few different messages, encoded, to be sent in turn."""
    random = np.random.default_rng(1)
    made = []
    for number in range(16):
        head = acquisition_headers(lines_per_message, N_CHANNELS, N_SAMPLES)
        head["scan_counter"] = number * lines_per_message + np.arange(lines_per_message)
        shape = (lines_per_message, N_CHANNELS, N_SAMPLES, 2)
        data = random.standard_normal(shape, np.float32).view(np.complex64)[..., 0]
        made.append(bytes(encode(Acquisitions(head, data))))
    return made


def sink(address_pipe, count: int) -> None:
    """The bare hop's other end: receives and drops, and answers when all has come."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    address_pipe.send(f"tcp://127.0.0.1:{port}")
    for _ in range(count):
        frames = socket.recv_multipart(copy=False)
    socket.send_multipart([frames[0].bytes, b"done"])
    socket.close()
    context.term()


def hop(payloads: list[bytes], count: int) -> float:
    """Bytes per second of the bare hop."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=sink, args=(theirs, count))
    process.start()
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(ours.recv())
    start = time.perf_counter()
    offset = 0
    for number in range(count):
        payload = payloads[number % len(payloads)]
        socket.send_multipart([pack(Data("20260101-000000-00000000", offset)), payload], copy=False)
        offset += len(payload)
    socket.recv()
    rate = offset / (time.perf_counter() - start)
    socket.close()
    context.term()
    process.join()
    return rate


def through_server(payloads: list[bytes], count: int, header: bytes, server: Server) -> float:
    """Bytes per second through the server, until it says that all was counted."""
    with open_scan("count", header, server=server.address) as scan:
        start = time.perf_counter()
        first = scan.offset
        for number in range(count):
            scan.send(payloads[number % len(payloads)])
        sent = scan.offset - first
        scan.end()
        texts = list(scan.items())
        seconds = time.perf_counter() - start
    if str(count * len(payloads[0]) // RECORD_BYTES) not in str(texts[-1]):
        raise RuntimeError(f"not every line was counted: {texts}")
    return sent / seconds


def compare(
    through: Callable[[list[bytes], int, bytes, Server], float],
    bare: Callable[[list[bytes], int], float],
    name: str,
    unit: str,
    goal: float,
) -> None:
    """Print a row for each way of sending: bytes per second of `through` the server against `bare`, taken in turn."""
    header, _ = simulate(Scan(matrix=256, coils=N_CHANNELS))
    for way, lines in (("line by line", 1), (f"8 lines a {unit}", 8)):
        payloads = messages(lines)
        count = TOTAL_BYTES // len(payloads[0])
        pairs = []
        with running_server() as server:
            through(payloads, count // 10, header, server)
            for _ in range(RUNS):
                touch_memory()
                limit = bare(payloads, count)
                touch_memory()
                pairs.append((through(payloads, count, header, server) / limit, limit))
                server.forget()
        ratios = [ratio for ratio, _ in pairs]
        median, limit = sorted(pairs)[RUNS // 2]
        print(
            f"{way:18}  {median * limit / 1e6:6.0f} MB/s through the server, {limit / 1e6:6.0f} MB/s {name}: "
            f"ratio {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), goal {goal}"
        )


if __name__ == "__main__":
    compare(through_server, hop, "bare hop", "message", 0.6)
