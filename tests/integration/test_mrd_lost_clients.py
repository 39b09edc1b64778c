"""Clients of the MRD door that fall silent, stop to read, or vanish: nothing of them stays, and nothing is lost."""

import contextlib
import os
import random
import resource
import socket
import struct
import time
from pathlib import Path

import pytest
from mrd_clients import GadgetronClient, assert_refused, lines_of, opening

pytestmark = pytest.mark.usefixtures("bounded")

RUBBISH = random.Random(1).randbytes(3000)
N_OF_A_WORKER = 3  # descriptors, of the one that may be just starting


def descriptors(process):
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def open_logs(server):
    """Files of sessions that the process with the doors has open."""
    found = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(path.readlink())
    return [path for path in found if path.is_relative_to(server.sessions)]


def cpu_seconds(process):
    """Processor time that the process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process):
    """What the process holds [bytes]."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.fixture
def client(server):
    with GadgetronClient(server.mrd) as connected:
        yield connected


@pytest.fixture
def scan(small_scan):
    return small_scan()


def test_a_client_that_ends_its_side_without_close_gets_what_can_be_made(client, scan):
    client.send(opening(client, scan), *lines_of(client, scan))
    client.end()
    heard = client.hear()
    assert heard.closed
    assert len(heard.images) == 2
    assert any("without CLOSE" in text for text in heard.texts)


def test_a_client_that_says_close_may_end_its_side_at_once(client, scan, server):
    client.send(opening(client, scan), *lines_of(client, scan), client.close())
    client.end()
    heard = client.hear()
    assert len(heard.images) == 2
    assert not heard.texts


@pytest.mark.parametrize("n_bytes", [1, 100, 1492])
def test_a_client_that_ends_its_side_within_a_line_gets_what_the_others_make(client, scan, n_bytes):
    messages = lines_of(client, scan)
    client.send(opening(client, scan), *messages[:-1], messages[-1][:n_bytes])
    client.end()
    heard = client.hear()
    assert heard.closed
    assert any("without CLOSE" in text for text in heard.texts)
    assert any(f"the last {n_bytes % len(messages[-1])} bytes are of a record" in text for text in heard.texts)
    assert len(heard.images) == 2
    assert not any("error" in text for text in heard.texts)


ENLARGE = '<chain><gadget name="Enlarge" megabytes="4"/></chain>'


def test_a_client_that_reads_slowly_gets_all_and_the_server_holds_little(server, scan, client, eventually):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    before = memory(server.process.pid)
    client.send(client.script(ENLARGE), client.header(scan.header), *lines_of(client, scan), client.close())
    eventually(lambda: any(path.stat().st_size > 150e6 for path in server.sessions.glob("*/output.mrd")))
    assert memory(server.process.pid) - before < 60 << 20
    assert len(client.hear().images) == 40


# A server that waits for nobody: what was held for a client that went away is let go of soon.


@pytest.fixture(scope="module")
def hasty_server(running_server, tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("hasty"), "--idle", "1", "--patience", "0.1") as server:
        yield server


@pytest.fixture
def let_go(hasty_server, scan, eventually):
    """`let_go()` waits until the hasty server holds nothing of any session, and sees that it still serves."""
    assert_serves(hasty_server, scan)
    pid = hasty_server.process.pid
    before = descriptors(pid)

    def wait():
        eventually(lambda: not open_logs(hasty_server) and descriptors(pid) <= before + N_OF_A_WORKER)
        assert_serves(hasty_server, scan)

    return wait


def assert_serves(server, scan):
    with GadgetronClient(server.mrd) as client:
        client.send(opening(client, scan), *lines_of(client, scan), client.close())
        assert len(client.hear().images) == 2


def test_a_client_that_falls_silent_is_told_after_the_limit(hasty_server, scan):
    with GadgetronClient(hasty_server.mrd) as silent, GadgetronClient(hasty_server.mrd) as client:
        client.send(opening(client, scan), *lines_of(client, scan)[:30])
        heard = client.hear()
        assert heard.closed
        assert heard.images
        assert any("nothing came for 1 s" in text for text in heard.texts)
        assert_refused(silent, "nothing came for 1 s before a configuration came")


@pytest.mark.parametrize("n_bytes", [1, 500, 1500, 40_000])
def test_clients_that_vanish_leave_nothing_behind(hasty_server, scan, let_go, n_bytes):
    for _ in range(5):
        client = GadgetronClient(hasty_server.mrd)
        client.send(b"".join([opening(client, scan), *lines_of(client, scan)])[:n_bytes])
        client.vanish()
    let_go()


def test_a_client_that_never_reads_is_let_go(hasty_server, scan, let_go, eventually):
    with GadgetronClient(hasty_server.mrd) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.send(client.script(ENLARGE), client.header(scan.header), *lines_of(client, scan), client.close())
        eventually(lambda: open_logs(hasty_server))
        let_go()
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(1 << 20):
                pass


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux to take descriptors from a process")
def test_a_server_that_runs_out_of_descriptors_serves_again_when_clients_leave(hasty_server, scan, let_go):
    pid = hasty_server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 8, before[1]))
    with contextlib.ExitStack() as clients:
        crowd = [clients.enter_context(GadgetronClient(hasty_server.mrd)) for _ in range(30)]
        crowd[0].send(crowd[0].query("gadgetron::version"), crowd[0].close())
        assert crowd[0].hear().responses
        used, begun = cpu_seconds(pid), time.monotonic()
        assert_refused(crowd[1], "nothing came for 1 s")
        assert cpu_seconds(pid) - used < 0.5 * (time.monotonic() - begun)  # it does not try all the time
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    let_go()


def test_what_goes_wrong_again_and_again_costs_nothing_in_the_end(hasty_server, scan, let_go):
    """Memory and descriptors of the process that holds the doors, over rounds of what is above."""
    pid = hasty_server.process.pid

    def one_round():
        for data in (RUBBISH, b"", struct.pack("<HI", 2, 0xFFFF_FFFF)):
            with GadgetronClient(hasty_server.mrd) as client:
                client.send(data)
                client.end()
                client.hear()
        for wrong in (RUBBISH, struct.pack("<HQ", 8, 1 << 60), struct.pack("<HI", 1004, 3)):
            with GadgetronClient(hasty_server.mrd) as client:
                client.send(opening(client, scan), *lines_of(client, scan), wrong, client.close())
                assert_refused(client)
        client = GadgetronClient(hasty_server.mrd)
        client.send(opening(client, scan), *lines_of(client, scan)[:20])
        client.vanish()

    one_round()
    before = memory(pid)
    for _ in range(4):
        one_round()
    let_go()
    assert memory(pid) - before < 10 << 20
