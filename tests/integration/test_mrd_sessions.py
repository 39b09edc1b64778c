"""Sessions of the MRD door in other hands: taken up or ended over the native door, and the end of the server."""

import itertools
from contextlib import ExitStack

import pytest
from mrd_clients import FireClient, GadgetronClient, assert_refused, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.mrd import Image
from echotrain.server.wire import Abort

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture
def scan(small_scan):
    return small_scan()


def wait_for_an_answer(server):
    """What was sent before is received by then."""
    with GadgetronClient(server.mrd) as other:
        other.send(other.query("gadgetron::version"), other.close())
        other.hear()


@pytest.fixture
def begun(server, scan):
    """A client in the midst of its scan: (client, session id, the messages that are still to be sent)."""
    known = {path.name for path in server.sessions.iterdir()}
    with GadgetronClient(server.mrd) as client:
        messages = lines_of(client, scan)
        client.send(opening(client, scan, "rss"), *messages[:30])
        wait_for_an_answer(server)
        (session,) = {path.name for path in server.sessions.iterdir()} - known - {"noise"}
        yield client, session, messages[30:]


def test_a_session_that_is_taken_up_natively_goes_on_there(server, begun, scan):
    client, session, rest = begun
    with open_scan("rss", scan.header, server=server.address, session=session) as opened:
        assert_refused(client, session, "taken up, by another client")
        for message in rest:
            opened.send(message)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 2


def test_lines_are_not_taken_from_two_clients(server, begun, scan):
    client, session, rest = begun
    with open_scan("rss", scan.header, server=server.address, session=session) as opened:
        client.send(*rest, client.close())
        for message in rest:
            opened.send(message)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 2
        assert_refused(client, session, "taken up, by another client")


def test_a_session_that_is_ended_natively_is_told_to_its_client(begun, raw_client):
    client, session, _ = begun
    raw_client.say(Abort(session))
    assert_refused(client, session, "was ended")


def test_the_end_of_the_server_is_told_to_clients_in_every_state(running_server, tmp_path, scan):
    with running_server(tmp_path) as server, ExitStack() as stack:
        clients = []
        sizes = [(GadgetronClient, size) for size in (0, 1000, 1026, 1500)]  # FIRE shows in a header only
        for dialect, size in [*sizes, *itertools.product((GadgetronClient, FireClient), (40_000, 10**6))]:
            client = stack.enter_context(dialect(server.mrd))
            client.send(b"".join([opening(client, scan), *lines_of(client, scan)])[:size])
            clients.append(client)
        wait_for_an_answer(server)
        server.process.terminate()
        for client in clients:
            assert_refused(client, "the server stops")
        assert server.process.wait(10) == 0
