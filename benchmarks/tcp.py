"""Bytes per second through the MRD door (chain: counting) against a bare TCP connection of the same bytes."""

from __future__ import annotations

import multiprocessing
import socket
import time

from serving import Server
from throughput import RECORD_BYTES, compare

from echotrain.mrd import Close, ConfigName, Decoder, HeaderText, Text, encode

RECEIVED_AT_ONCE = 1 << 20


def sink(pipe, total: int) -> None:
    """The bare connection's other end: receives and drops, and answers when all has come."""
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname())
    connection, _ = listener.accept()
    buffer = bytearray(RECEIVED_AT_ONCE)
    received = 0
    while received < total:
        received += connection.recv_into(buffer)
    connection.sendall(b"done")
    connection.close()
    listener.close()


def send(connection: socket.socket, payloads: list[bytes], count: int) -> None:
    """Send `count` messages, one system call each."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(count):
        connection.sendall(payloads[number % len(payloads)])


def bare(payloads: list[bytes], count: int) -> float:
    """Bytes per second of the bare connection."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    total = count * len(payloads[0])
    process = spawn.Process(target=sink, args=(theirs, total))
    process.start()
    with socket.create_connection(ours.recv()) as connection:
        start = time.perf_counter()
        send(connection, payloads, count)
        connection.recv(4)
        rate = total / (time.perf_counter() - start)
    process.join()
    return rate


def through_server(payloads: list[bytes], count: int, header: bytes, server: Server) -> float:
    """Bytes per second through the server, until it says that all was counted."""
    with socket.create_connection(server.mrd) as connection:
        connection.sendall(bytes(encode(ConfigName("count"))) + bytes(encode(HeaderText(header))))
        start = time.perf_counter()
        send(connection, payloads, count)
        connection.sendall(encode(Close()))
        decoder, texts = Decoder(), []
        while data := connection.recv(1 << 16):
            texts += [item.text for item in decoder.feed(data) if isinstance(item, Text)]
        seconds = time.perf_counter() - start
    if str(count * len(payloads[0]) // RECORD_BYTES) not in texts[-1]:
        raise RuntimeError(f"not every line was counted: {texts}")
    return count * len(payloads[0]) / seconds


if __name__ == "__main__":
    compare(through_server, bare, "bare TCP", "call", 0.5)
