"""What one client of the native door may do without taking the answers, and how little the server holds for it."""

from pathlib import Path

import pytest
import zmq

from echotrain.mrd import encode
from echotrain.server.wire import Data, Error, Open, Opened, unpack

pytestmark = pytest.mark.usefixtures("bounded")

LARGE = '<chain><gadget name="Enlarge" megabytes="4"/></chain>'


def memory(process):
    """What the process holds [bytes]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.fixture
def deaf_client(raw_client):
    """A client that takes next to nothing by itself."""
    raw_client.socket.setsockopt(zmq.RCVHWM, 1)
    return raw_client


def wait_until_heard(server):
    """Until the server has handled all that was said, as a session of another client shows."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as other:
        other.linger = 0
        other.connect(server.address)
        other.send(b"garbage")
        assert other.poll(20_000)
        assert isinstance(unpack(other.recv_multipart()[0]), Error)


def test_errors_that_nobody_takes_are_not_piled_up(server, deaf_client):
    before = memory(server.process.pid)
    for _ in range(100_000):
        deaf_client.say(b"garbage")
    wait_until_heard(server)
    assert memory(server.process.pid) - before < 60 << 20


def test_output_that_is_asked_for_again_and_again_is_not_piled_up(server, deaf_client, small_scan, eventually):
    scan = small_scan()
    deaf_client.say(Open(config=LARGE, header=scan.header))
    opened = deaf_client.hear(Opened)
    offset = opened.offset
    for line in scan.batches[0][:10]:
        deaf_client.say(Data(opened.session, offset), bytes(encode(line)))
        offset += len(encode(line))
    output = server.sessions / opened.session / "output.mrd"
    eventually(lambda: output.exists() and output.stat().st_size > 39_000_000)
    before = memory(server.process.pid)
    for _ in range(60):  # for 40 MB each time
        deaf_client.say(Open(session=opened.session))
        wait_until_heard(server)
    assert memory(server.process.pid) - before < 500 << 20
