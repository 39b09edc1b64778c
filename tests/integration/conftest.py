"""What the tests with a real server share."""

import time
from contextlib import closing

import msgpack
import pytest
import zmq

from echotrain.clients.client import open_scan
from echotrain.mrd import Image
from echotrain.server.wire import pack, unpack

DEADLINE = 120.0  # [s]


class RawClient:
    """Says anything to a server, and hears what it answers."""

    def __init__(self, address):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(address)

    def say(self, message, *payload):
        """A message, a map for an envelope, or bytes."""
        envelope = message if isinstance(message, bytes) else None
        if envelope is None:
            envelope = msgpack.packb(message) if isinstance(message, dict) else pack(message)
        self.socket.send_multipart([envelope, *payload])

    def hear(self, kind):
        """The next message of one kind."""
        while True:
            assert self.socket.poll(1000 * DEADLINE), f"no {kind.__name__} came"
            message = unpack(self.socket.recv_multipart()[0])
            if isinstance(message, kind):
                return message

    def close(self):
        self.socket.close(linger=0)
        self.context.term()


@pytest.fixture
def raw_client(server):
    with closing(RawClient(server.address)) as client:
        yield client


@pytest.fixture
def good_neighbour(server, small_scan):
    """A session that runs beside whatever the test does, and must end well."""
    scan = small_scan(repetitions=2)
    lines = [line for batch in scan.batches for line in batch]
    with open_scan("rss", scan.header, server=server.address) as opened:
        for line in lines[:30]:
            opened.send(line)
        yield
        for line in lines[30:]:
            opened.send(line)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 4


@pytest.fixture
def eventually():
    """`eventually(lambda: ...)` waits until that is true, with a deadline."""

    def wait(condition, seconds=DEADLINE):
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "it did not become so"
            time.sleep(0.01)

    return wait
