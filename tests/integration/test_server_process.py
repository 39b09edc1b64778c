"""The server as a process: how it starts and ends, and what it leaves behind."""

import contextlib
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from mrd_clients import GadgetronClient, lines_of

from echotrain.clients.client import open_scan
from echotrain.mrd.errors import PeerError, SessionError
from echotrain.server.front import Front
from echotrain.server.settings import Settings

pytestmark = pytest.mark.usefixtures("bounded")

COUNT = '<chain><gadget name="Count"/></chain>'
LOOP = '<chain><gadget name="Stumble" how="loop"/><gadget name="Count"/></chain>'


def descendants(pid):
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def processes_of_sessions(server):
    """All processes that print into a session's log: workers and what their gadgets started, orphans too."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if output.readlink().is_relative_to(server.sessions):
                found.append(output.parts[2])
    return found


def n_descriptors(server):
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def files_of(server):
    """Files of sessions that the server has open."""
    found = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(path.readlink())
    return [path for path in found if path.is_relative_to(server.sessions)]


def shared_memory():
    return {path.name for path in Path("/dev/shm").iterdir()}


def run_all(server, scan, chain=COUNT):
    with open_scan(chain, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return list(opened.items())


def serve(*options):
    command = [sys.executable, "-m", "echotrain.clients.main", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_well_and_leaves_nothing_behind(running_server, tmp_path, small_scan, eventually, number):
    before = shared_memory()
    with running_server(tmp_path) as server:
        run_all(server, small_scan())
        busy = open_scan(LOOP, small_scan().header, server=server.address, reconnect=0)
        busy.send(small_scan().batches[0])
        below = descendants(server.process.pid)
        assert below
        server.process.send_signal(number)
        out, err = server.process.communicate(timeout=300)
        assert (server.process.returncode, out, err) == (0, "", "")
        eventually(lambda: not any(lives(pid) for pid in below))
        assert shared_memory() <= before
        with busy, pytest.raises(SessionError, match="the server stops; the session is kept"):
            list(busy.items())
        assert (tmp_path / busy.session / "input.mrd").stat().st_size > 0


def test_told_to_stop_once_more_while_it_ends_it_ends_no_worse(tmp_path):
    front = Front(Settings(bind="tcp://127.0.0.1:*", mrd="", sessions=tmp_path))
    front.stop()
    front.close()
    front.stop()


def test_told_to_stop_before_all_output_is_sent_it_says_so(running_server, tmp_path, small_scan, eventually):
    chain = '<chain><gadget name="Enlarge" megabytes="2"/></chain>'
    scan = small_scan(matrix=(24, 40))
    with (
        running_server(tmp_path, "--grace", "0") as server,
        open_scan(chain, scan.header, server=server.address, reconnect=0) as opened,
    ):
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        events = tmp_path / opened.session / "events.jsonl"
        eventually(lambda: '"done"' in events.read_text())
        server.process.terminate()
        with pytest.raises(SessionError, match="the server stops; the session is kept"):
            list(opened.items())


def test_its_workers_end_with_it_even_when_it_is_killed(running_server, tmp_path, small_scan, eventually):
    with (
        running_server(tmp_path) as server,
        open_scan(COUNT, small_scan().header, server=server.address, timeout=5, reconnect=0) as opened,
    ):
        opened.send(small_scan().batches[0])
        below = descendants(server.process.pid)
        server.process.kill()
        eventually(lambda: not any(lives(pid) for pid in below))
        with pytest.raises(PeerError, match=r"no sign of life within 5 s; is it running\?"):
            list(opened.items())


def test_a_port_that_is_taken_is_one_line_and_status_1(server, tmp_path):
    ended = serve("--bind", server.address, "--sessions", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert server.address in line
    assert "Address already in use" in line


def test_a_port_of_the_mrd_door_that_is_taken_is_one_line_and_status_1(server, tmp_path):
    ended = serve("--bind", "tcp://127.0.0.1:*", "--mrd", server.mrd, "--sessions", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert server.mrd in line
    assert "Address already in use" in line
    assert "--mrd" in line


def test_an_address_or_folder_that_cannot_be_is_one_line_and_status_1(tmp_path):
    (tmp_path / "file").write_text("")
    bound = ["--bind", "tcp://127.0.0.1:*"]
    for options, words in {
        ("--bind", "nonsense"): "cannot serve at nonsense",
        (*bound, "--mrd", "nonsense"): "cannot serve MRD at 'nonsense'",
        (*bound, "--mrd", "127.0.0.1:99999"): "cannot serve MRD at '127.0.0.1:99999'",
        (*bound, "--sessions", str(tmp_path / "file")): "cannot keep sessions in",
    }.items():
        ended = serve("--sessions", str(tmp_path), *options)
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert words in line


def test_a_client_that_vanishes_is_let_go(running_server, tmp_path, small_scan, eventually):
    with running_server(tmp_path, "--patience", "1") as server:
        run_all(server, small_scan())

        eventually(lambda: not files_of(server))
        before = len(descendants(server.process.pid)), n_descriptors(server)
        code = (
            "import sys; from echotrain.clients.client import open_scan\n"
            f"scan = open_scan({LOOP!r}, sys.stdin.buffer.read(), server={server.address!r})\n"
            "print(scan.session, flush=True); scan.wait(100); scan.wait(100)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            client.stdin.write(small_scan().header)
            client.stdin.close()
            session = client.stdout.readline().decode().strip()
            client.kill()
        events = tmp_path / session / "events.jsonl"
        eventually(lambda: "the client went away and did not come back" in events.read_text())
        eventually(lambda: not files_of(server))
        eventually(lambda: len(descendants(server.process.pid)) == before[0] and n_descriptors(server) <= before[1])
        run_all(server, small_scan())


def test_gadgets_may_start_processes_which_end_with_the_session(running_server, tmp_path, small_scan, eventually):
    scan = small_scan()
    with running_server(tmp_path) as server:
        told = run_all(server, scan, '<chain><gadget name="Elsewhere"/></chain>')
        assert sum(int(text.text) for text in told) == sum(map(len, scan.batches))
        eventually(lambda: not processes_of_sessions(server))


def test_processes_of_gadgets_do_not_outlive_a_server_that_is_killed(running_server, tmp_path, small_scan, eventually):
    with running_server(tmp_path) as server, GadgetronClient(server.mrd) as client:
        client.send(client.script('<chain><gadget name="Elsewhere"/></chain>'), client.header(small_scan().header))
        client.send(lines_of(client, small_scan())[0])
        assert client._bytes(2) == struct.pack("<H", 5)
        assert len(processes_of_sessions(server)) >= 2
        server.process.kill()
        eventually(lambda: not processes_of_sessions(server))


def test_a_session_deleted_while_it_runs_takes_no_other_with_it(running_server, tmp_path, small_scan, eventually):
    with running_server(tmp_path) as server:
        scan = small_scan()
        with open_scan("rss", scan.header, server=server.address) as opened:
            opened.send(scan.batches[0][:5])
            eventually((tmp_path / opened.session / "output.mrd").exists)
            for file in (tmp_path / opened.session).iterdir():
                file.unlink()
            opened.send(scan.batches[0][5:])
            opened.end()
            with pytest.raises(Exception, match=opened.session):
                list(opened.items())
        assert run_all(server, scan)


def test_a_scan_outlives_its_server(running_server, tmp_path, small_scan, as_stream):
    """Killed half way; another server on the same folder takes the scan up, and the client goes on with it."""
    scan = small_scan(repetitions=2)
    stream = as_stream(scan)
    with running_server(tmp_path) as first, open_scan("rss", scan.header, server=first.address, timeout=5) as opened:
        session = opened.session
        opened.send(stream[opened.offset : len(stream) // 2])
        next(opened.images())
        first.process.kill()
    with running_server(tmp_path) as second, open_scan("", b"", server=second.address, session=session) as again:
        assert again.offset == len(stream) // 2
        again.send(stream[again.offset :])
        again.end()
        assert len(list(again.images())) == 4


def test_both_doors_serve_at_addresses_of_ipv6(running_server, tmp_path, small_scan):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running_server(tmp_path, "--bind", "tcp://[::1]:*", "--mrd", "[::1]:0") as server:
        assert run_all(server, small_scan())
        host, _, port = server.mrd.rpartition(":")
        assert host == "[::1]"
        with socket.create_connection(("::1", int(port)), timeout=10) as client:
            client.sendall(struct.pack("<H", 4))
            assert client.recv(3) == struct.pack("<H", 4)
