"""Which doors may open, who may come in, and how much one client may ask for."""

import json
import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from echotrain.mrd.errors import ConfigError, SessionError, StorageError
from echotrain.server import access as access_module
from echotrain.server import callers as callers_module
from echotrain.server.access import Access, Client, check_doors, is_local
from echotrain.server.callers import Callers, is_listed, read_networks
from echotrain.server.folder import create_session
from echotrain.server.settings import Settings

ALICE, BOB = Client("127.0.0.1", "alice", "key of alice"), Client("127.0.0.1", "bob", "key of bob")


# -- doors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp://127.0.0.1:9010", True),
        ("tcp://127.8.9.10:*", True),
        ("tcp://[::1]:9010", True),
        ("tcp://[::ffff:127.0.0.1]:9010", True),
        ("tcp://localhost:9010", True),
        ("ipc:///run/echotrain", True),
        ("tcp://0.0.0.0:9010", False),
        ("tcp://*:9010", False),
        ("tcp://:9010", False),
        ("tcp://[::]:9010", False),
        ("tcp://[::ffff:0.0.0.0]:9010", False),
        ("tcp://[fe80::1%eth0]:9010", False),
        ("tcp://192.168.0.7:9010", False),
        ("tcp://eth0:9010", False),
        ("tcp://127.0.0.1.example.org:9010", False),
        ("udp://127.0.0.1:9010", False),
        ("ws://127.0.0.1:9010", False),
    ],
)
def test_a_door_is_local_only_if_it_surely_is(endpoint, local):
    assert is_local(endpoint) == local


def test_the_native_door_opens_to_other_machines_only_with_keys(tmp_path):
    wide = {"bind": "tcp://0.0.0.0:9010", "mrd": ""}
    with pytest.raises(ConfigError, match=r"--bind tcp://0.0.0.0:9010 .*echotrain keys new.*--keys DIR.*--insecure"):
        check_doors(Settings(**wide))
    check_doors(Settings(**wide, keys=tmp_path))
    check_doors(Settings(**wide, insecure=True))


@pytest.mark.parametrize("mrd", ["0.0.0.0:9002", ":9002", "[::]:9002", "scanner-net:9002"])
def test_the_mrd_door_opens_to_other_machines_only_with_a_list(tmp_path, mrd):
    with pytest.raises(ConfigError, match=r"--mrd-allow ADDRESS.*--insecure"):
        check_doors(Settings(mrd=mrd, keys=tmp_path))  # which it does not know
    check_doors(Settings(mrd=mrd, mrd_allow=("10.0.0.1",)))
    check_doors(Settings(mrd=mrd, insecure=True))
    check_doors(Settings())


# -- callers of the MRD door ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.1.3.3", False),
        ("192.0.2.9", True),
        ("192.0.2.10", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("fe80::1%eth0", True),
    ],
)
def test_an_address_is_listed_by_itself_or_its_network(address, listed):
    networks = read_networks(["10.1.2.0/24", "192.0.2.9", "2001:db8::/32", "fe80::1"])
    assert is_listed(address, networks) == listed


@pytest.mark.parametrize("text", ["10.1.2.3/24", "scanner", "", "10.1.2.0/33"])
def test_a_list_that_cannot_be_read_is_told(text):
    with pytest.raises(ConfigError, match="write ADDRESS or ADDRESS/BITS"):
        read_networks([text])


@pytest.fixture
def connect():
    """`connect()`: the two ends of a connection, the door's first."""
    with ExitStack() as ends:

        def make():
            pair = socket.socketpair()
            for end in pair:
                ends.enter_context(end)
                end.settimeout(10)
            return pair

        yield make


def heard(end):
    """All that comes until the other side has closed."""
    return b"".join(iter(lambda: end.recv(1 << 16), b""))


def test_who_is_not_listed_is_told_nothing_and_logged_once_a_minute(connect, caplog, monkeypatch):
    clock = SimpleNamespace(now=500.0)
    monkeypatch.setattr(callers_module.time, "monotonic", lambda: clock.now)
    callers = Callers(Settings(mrd_allow=("10.0.0.0/8",)))
    for now in (500.0, 559.0, 561.0):
        clock.now = now
        ours, theirs = connect()
        assert not callers.lets_in(ours, "192.0.2.1", [])
        assert heard(theirs) == b""
    ours, _ = connect()
    assert not callers.lets_in(ours, "192.0.2.2", [])
    assert [record.args for record in caplog.records] == [("192.0.2.1",), ("192.0.2.1",), ("192.0.2.2",)]
    ours, _ = connect()
    assert callers.lets_in(ours, "10.9.9.9", [])
    assert ours.fileno() >= 0


def test_one_address_has_only_so_many_connections_and_all_have(connect):
    callers = Callers(Settings(sessions_per_client=2, mrd_connections=3))
    for others, words in {
        ("a", "b"): b"",
        ("a", "a"): b"there are 2 connections, the most of --sessions-per-client, from a",
        ("b", "c", "d"): b"there are 3 connections, the most of this server takes",
    }.items():
        ours, theirs = connect()
        theirs.sendall(b"an opening")
        assert callers.lets_in(ours, "a", others) == (not words)
        if words:
            assert words in heard(theirs)


# -- limits of one client ------------------------------------------------------------------------------------------


class Running:
    """A session, and all that runs, as far as limits go."""

    def __init__(self, folder):
        self.folder, self.id, self.over, self.settled, self.send = folder, folder.id, False, False, object()
        self.input = SimpleNamespace(held=100, ended=False)


class AllRunning:
    def __init__(self, root):
        self.root, self.running = root, {}

    def create(self, request, header, _send):
        session = Running(create_session(self.root, request, header))
        self.running[session.id] = session
        return session

    def find(self, session_id):
        if session_id not in self.running:
            raise SessionError("no such session runs")
        return self.running[session_id]


@pytest.fixture
def make(tmp_path):
    """`make(...)`: access by these settings."""
    sessions = AllRunning(tmp_path)

    def made(**limits):
        return Access(Settings(sessions=tmp_path, **limits), sessions)

    made.sessions = sessions
    return made


def opened(access, client):
    return access.create(client, {"config": "rss", "parameters": {}, "label": ""}, b"<ismrmrdHeader/>", None)


def test_a_client_has_only_so_many_sessions_and_others_do_not_notice(make):
    access = make(sessions_per_client=2)
    first, second = opened(access, ALICE), opened(access, ALICE)
    with pytest.raises(SessionError, match="client 'alice' has 2 sessions that run, and --sessions-per-client is 2"):
        opened(access, ALICE)
    opened(access, BOB)
    first.over = True  # its chain has ended, but its output was not taken
    with pytest.raises(SessionError, match="2 sessions that run"):
        opened(access, ALICE)
    first.settled = True
    opened(access, ALICE)
    del make.sessions.running[second.id]  # the client left it
    opened(access, ALICE)
    with pytest.raises(SessionError, match="2 sessions that run"):
        opened(access, ALICE)


def test_without_keys_clients_are_counted_by_address(make):
    access = make(sessions_per_client=1)
    opened(access, Client("10.0.0.1"))
    opened(access, Client("10.0.0.2"))
    with pytest.raises(SessionError, match=r"the client at 10.0.0.1 has 1 sessions"):
        opened(access, Client("10.0.0.1"))


def test_going_on_with_a_session_that_runs_is_not_one_more(make, tmp_path):
    access = make(sessions_per_client=1, keys=tmp_path)
    session = opened(access, ALICE)
    assert access.open(ALICE, lambda: session, session.id) is session


def test_a_client_opens_only_so_many_sessions_in_a_minute(make, monkeypatch):
    clock = SimpleNamespace(now=500.0)
    monkeypatch.setattr(access_module.time, "monotonic", lambda: clock.now)
    access = make(opens_per_minute=3)
    for clock.now in (500.0, 520.0, 540.0):
        opened(access, ALICE)
    with pytest.raises(SessionError, match="--opens-per-minute is 3; wait 20 s"):
        opened(access, ALICE)
    opened(access, BOB)
    clock.now = 561.0
    opened(access, ALICE)
    with pytest.raises(SessionError, match="wait 19 s"):
        opened(access, ALICE)


def test_what_was_opened_long_ago_is_forgotten(make, monkeypatch):
    clock = SimpleNamespace(now=500.0)
    monkeypatch.setattr(access_module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(access_module, "_REMEMBERED", 5)
    access = make(opens_per_minute=3)
    for number in range(50):
        clock.now += 61
        opened(access, Client(f"10.0.0.{number}"))
    assert len(access._opened) <= 6


def test_no_limits_are_no_limits(make):
    access = make(opens_per_minute=0, sessions_per_client=0)
    for _ in range(70):
        opened(access, ALICE)
    access.check_size(make.sessions.running.popitem()[1], 1 << 40)


def test_a_session_holds_only_so_much_input(make):
    access = make(session_bytes=150)
    session = opened(access, ALICE)
    access.check_size(session, 50)
    with pytest.raises(StorageError, match="150 bytes of --session-bytes"):
        access.check_size(session, 51)
    session.input.ended = True  # what comes late is not held
    access.check_size(session, 51)


# -- whose a session is --------------------------------------------------------------------------------------------


def test_a_session_bears_the_name_of_its_client(make):
    assert opened(make(), ALICE).folder.request["client"] == "alice"
    assert "client" not in json.loads((opened(make(), Client("127.0.0.1")).folder.path / "session.json").read_text())


def test_only_the_client_that_opened_a_session_goes_on_with_it(make, tmp_path):
    access = make(keys=tmp_path)
    session = opened(access, ALICE)
    access.check(session, ALICE)
    for act in (lambda: access.check(session, BOB), lambda: access.open(BOB, lambda: session, session.id)):
        with pytest.raises(SessionError, match="not one of client 'bob'"):
            act()
    assert make(keys=tmp_path).open(ALICE, lambda: session, session.id) is session  # another server, later


def test_a_session_that_the_server_took_up_by_itself_has_its_owner(make, tmp_path):
    session = opened(make(keys=tmp_path), ALICE)
    again = make(keys=tmp_path)
    again.check(session, ALICE)
    with pytest.raises(SessionError, match="not one of client 'bob'"):
        again.check(session, BOB)


def test_a_session_without_an_owner_is_nobodys_where_there_are_keys(make, tmp_path):
    session = opened(make(), Client("127.0.0.1"))
    with pytest.raises(SessionError, match="not one of"):
        make(keys=tmp_path).open(ALICE, lambda: session, session.id)


def test_without_keys_everybody_is_the_same(make, tmp_path):
    session = opened(make(keys=tmp_path), ALICE)
    somebody = Client("127.0.0.1")
    access = make()
    assert access.open(somebody, lambda: session, session.id) is session
    access.check(session, Client("127.0.0.2"))
