"""Who is let in at a server that others reach, what one client cannot do to another, and what nobody can."""

import socket
from contextlib import closing

import pytest
import zmq
from mrd_clients import GadgetronClient, assert_refused, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.clients.handshake import come_in
from echotrain.clients.main import main
from echotrain.mrd import Image, encode
from echotrain.mrd.errors import ConfigError, HeaderError, PeerError, SessionError, StorageError
from echotrain.server.keys import KeyFolder
from echotrain.server.wire import Abort, Ack, Data, End, Error, Open, Opened, pack, unpack

pytestmark = pytest.mark.usefixtures("bounded")

DEADLINE = 20.0  # [s]
REFUSED = "not one of client 'bob'"


@pytest.fixture
def keys(tmp_path):
    folder = KeyFolder(tmp_path / "keys")
    folder.make_server()
    return folder


@pytest.fixture
def guarded(keys, tmp_path, running_server):
    """A server with keys."""
    with running_server(tmp_path / "sessions", "--keys", str(keys.path)) as server:
        yield server


def images(server, scan, **options):
    """How many come of a scan."""
    with open_scan("rss", scan.header, server=server.address, **options) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return sum(isinstance(item, Image) for item in opened.items())


class Stranger:
    """Says anything with a key that the server knows."""

    def __init__(self, address, keys):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        come_in(self.socket, address, keys)

    def say(self, message, *payload):
        self.socket.send_multipart([pack(message), *payload])

    def hear(self):
        assert self.socket.poll(1000 * DEADLINE), "nothing came"
        return unpack(self.socket.recv_multipart()[0])

    def close(self):
        self.socket.close(linger=0)
        self.context.term()


# -- keys ----------------------------------------------------------------------------------------------------------


def test_only_who_has_a_key_is_let_in(guarded, keys, small_scan):
    scan = small_scan()
    assert images(guarded, scan, keys=keys.make_client("alice")) == 2  # made while the server runs
    with pytest.raises(PeerError, match="only clients with a key; give --keys FILE"):
        images(guarded, scan)


def test_a_key_of_another_folder_is_not_let_in(guarded, keys, small_scan, tmp_path):
    other = KeyFolder(tmp_path / "other")
    other.make_server()
    foreign = other.make_client("alice")
    text = foreign.read_text()
    with pytest.raises(PeerError, match="has another key than"):
        images(guarded, small_scan(), keys=foreign)
    theirs, ours = other.server().public.decode(), keys.server().public.decode()
    foreign.write_text(text.replace(theirs, ours))
    with pytest.raises(PeerError, match="does not let in the key in"):
        images(guarded, small_scan(), keys=foreign)


def test_a_revoked_key_is_of_no_use_any_more_not_even_where_it_is_in(guarded, keys, small_scan):
    alice, bob = keys.make_client("alice"), keys.make_client("bob")
    scan = small_scan()
    with closing(Stranger(guarded.address, alice)) as connected:
        connected.say(Open(config="rss", header=scan.header))
        session = connected.hear()
        assert isinstance(session, Opened)
        keys.revoke("alice")
        while not isinstance(heard := connected.hear(), Error):
            connected.say(Ack(session.session, 0))
        assert "was revoked" in heard.message
    with pytest.raises(PeerError, match="was it revoked"):
        images(guarded, scan, keys=alice)
    assert images(guarded, scan, keys=bob) == 2


def test_the_servers_own_key_is_replaced_while_it_runs(guarded, keys, small_scan, eventually):
    before = keys.make_client("alice")
    scan = small_scan()
    assert images(guarded, scan, keys=before) == 2
    keys.make_server(replace=True)

    def is_refused():
        try:
            images(guarded, scan, keys=before, timeout=3)
        except PeerError as error:
            return "has another key than" in str(error)
        return False

    eventually(is_refused)
    assert images(guarded, scan, keys=keys.make_client("alice", replace=True)) == 2


def test_a_scan_that_cannot_come_in_again_ends_with_the_reason(guarded, keys, small_scan):
    scan = small_scan()
    path = keys.make_client("alice")

    def lose():
        with open_scan("rss", scan.header, server=guarded.address, keys=path) as opened:
            keys.make_server(replace=True)  # which cuts the connection
            list(opened.items())

    with pytest.raises(PeerError, match="has another key than"):
        lose()


def test_a_scan_goes_on_with_the_key_that_its_file_holds_by_then(guarded, keys, small_scan, tmp_path):
    scan = small_scan()
    path = keys.make_client("alice")
    with open_scan("rss", scan.header, server=guarded.address, keys=path) as opened:
        opened.send(scan.batches[0])
        keys.make_server(replace=True)
        keys.make_client("alice", replace=True)
        for batch in scan.batches[1:]:
            opened.send(batch)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 2


def test_a_session_is_only_its_owners(guarded, keys, small_scan):
    scan = small_scan()
    alice, bob = keys.make_client("alice"), keys.make_client("bob")
    with (
        open_scan("rss", scan.header, server=guarded.address, keys=alice) as opened,
        closing(Stranger(guarded.address, bob)) as stranger,
    ):
        session, offset = opened.session, opened.offset
        for message, *payload in (
            (Open(session=session),),
            (Data(session, offset), bytes(encode(scan.batches[0]))),
            (End(session, offset),),
            (Ack(session, 1 << 30),),
            (Abort(session),),
        ):
            stranger.say(message, *payload)
            heard = stranger.hear()
            assert isinstance(heard, Error), message
            assert REFUSED in heard.message, message
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        assert sum(isinstance(item, Image) for item in opened.items()) == 2
    with closing(Stranger(guarded.address, bob)) as stranger:  # nor once it is over
        stranger.say(Open(session=session))
        assert REFUSED in stranger.hear().message


@pytest.mark.parametrize("option", ["--bind", "--mrd"])
def test_a_door_to_other_machines_does_not_open_by_itself(option, run_serve):
    address = {"--bind": "tcp://0.0.0.0:*", "--mrd": "0.0.0.0:0"}[option]
    status, out, (line,) = run_serve(option, address)
    assert (status, out) == (1, [])
    assert f"{option} {address} can be reached from other machines" in line
    assert "--insecure" in line


def test_keys_that_are_not_there_are_told(run_serve, tmp_path):
    status, out, (line,) = run_serve("--keys", str(tmp_path))
    assert (status, out) == (1, [])
    assert "make it with `echotrain keys new`" in line


@pytest.fixture
def run_serve(tmp_path, capsys):
    """`run_serve(option, ...)`: exit status and lines of a server that does not start."""

    def run(*options):
        bound = ["--bind", "tcp://127.0.0.1:*", "--mrd", "127.0.0.1:0", "--sessions", str(tmp_path / "sessions")]
        status = main(["serve", *bound, *options])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


# -- the MRD door --------------------------------------------------------------------------------------------------


def test_an_address_that_is_not_listed_is_closed_at_once(running_server, tmp_path, small_scan):
    scan = small_scan()
    with running_server(tmp_path, "--mrd-allow", "127.0.0.2") as server:
        host, _, port = server.mrd.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            assert connection.recv(1) == b""
        with socket.create_connection(
            (host, int(port)), timeout=DEADLINE, source_address=("127.0.0.2", 0)
        ) as connection:
            connection.sendall(GadgetronClient.query(None, "gadgetron::version"))
            assert connection.recv(2) == b"\x07\0"
        assert images(server, scan) == 2


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(running_server, tmp_path_factory):
    """A server that lets a client have little."""
    limits = ("--sessions-per-client", "3", "--session-bytes", "200000")
    with running_server(tmp_path_factory.mktemp("sessions"), *limits) as server:
        yield server


def test_one_session_too_many_is_refused_and_the_others_go_on(strict, small_scan, eventually):
    scan = small_scan()
    with (
        open_scan("rss", scan.header, server=strict.address) as first,
        open_scan("rss", scan.header, server=strict.address),
        open_scan("rss", scan.header, server=strict.address),
    ):
        with pytest.raises(SessionError, match="has 3 sessions that run, and --sessions-per-client is 3"):
            open_scan("rss", scan.header, server=strict.address)
        with GadgetronClient(strict.mrd) as client:
            client.send(opening(client, scan), *lines_of(client, scan), client.close())
            assert_refused(client, "3 sessions that run")
        for batch in scan.batches:
            first.send(batch)
        first.end()
        assert sum(isinstance(item, Image) for item in first.items()) == 2

        def there_is_room():
            try:
                open_scan("rss", scan.header, server=strict.address).close()
            except SessionError:
                return False
            return True

        eventually(there_is_room)


def test_a_scan_that_is_too_long_ends_with_an_error_at_either_door(running_server, tmp_path, small_scan):
    scan = small_scan(repetitions=4)
    with running_server(tmp_path, "--session-bytes", "50000") as server:
        with pytest.raises(StorageError, match="50000 bytes of --session-bytes"):
            images(server, scan)
        with GadgetronClient(server.mrd) as client:
            client.send(opening(client, scan), *lines_of(client, scan), client.close())
            assert_refused(client, "50000 bytes of --session-bytes")
        for folder in tmp_path.glob("2*"):
            assert (folder / "input.mrd").stat().st_size <= 50000


def test_too_many_sessions_in_a_minute_are_refused(running_server, tmp_path, small_scan):
    scan = small_scan()
    with running_server(tmp_path, "--opens-per-minute", "1") as server:
        assert images(server, scan) == 2
        with pytest.raises(SessionError, match="--opens-per-minute is 1; wait"):
            images(server, scan)


# -- texts from clients --------------------------------------------------------------------------------------------

ENTITY = '<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
PARAMETER_ENTITY = '<!DOCTYPE c [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]>'
EXTERNAL_DTD = '<!DOCTYPE c SYSTEM "file:///etc/passwd">'

CONFIGS = {
    "../rss": "there is no configuration",
    "..": "there is no configuration",
    "/etc/passwd": "there is no configuration",
    "rss\0": "there is no configuration",
    "rss/../rss": "there is no configuration",
    "file:///etc/passwd": "there is no configuration",
    f"{ENTITY}<chain><gadget name='Count'/></chain>": "document type",
    f"{PARAMETER_ENTITY}<chain/>": "document type",
    f"{EXTERNAL_DTD}<chain/>": "document type",
    "<chain xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='/etc/passwd'/></chain>": "include",
    "<chain><gadget name='os.system'/></chain>": "does not allow",
    "<chain><gadget name='subprocess.Popen' args='id'/></chain>": "does not allow",
    "<chain><gadget name='echotrain.server.external.ExternalPython'/></chain>": "does not allow",
    "<chain><gadget name='../gadget'/></chain>": "does not allow",
    "<chain><gadget name='__import__'/></chain>": "there is no gadget",
    "<chain><gadget name='ExternalPython' module='os' target='system'/></chain>": "no package that this server allows",
    "<chain><gadget name='ExternalPython' module='../x' target='y'/></chain>": "must be the names of a module",
    "<chain><gadget name='ExternalPython' python='/bin/sh' module='x' target='y'/></chain>": "no parameter 'python'",
    "<configuration><version>2</version><stream><external><execute name='/bin/sh'/></external></stream>"
    "</configuration>": "",
    "<configuration><version>2</version><stream><external><execute name='os' target='system' type='python'/>"
    "</external></stream></configuration>": "",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_reaches_nothing(server, small_scan, config):
    with pytest.raises(ConfigError) as caught:
        open_scan(config, small_scan().header, server=server.address)
    assert CONFIGS[config] in str(caught.value)
    assert "root:" not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize("config", [config for config in CONFIGS if "\0" not in config])
def test_a_configuration_reaches_nothing_over_the_mrd_door(server, small_scan, config):
    scan = small_scan()
    with GadgetronClient(server.mrd) as client:
        said = client.script(config) if config.startswith("<") else client.config(config)
        client.send(said, client.header(scan.header), *lines_of(client, scan), client.close())
        assert_refused(client, CONFIGS[config])


@pytest.mark.parametrize("document_type", [ENTITY, PARAMETER_ENTITY, EXTERNAL_DTD])
def test_a_header_reaches_nothing(server, document_type):
    with pytest.raises(HeaderError, match="document type"):
        open_scan("count", f"{document_type}<ismrmrdHeader/>", server=server.address)


def test_a_link_in_a_folder_of_chains_is_the_operators_own(running_server, tmp_path, small_scan):
    """A client names it, and gets no more of it than that it is no chain."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "linked.xml").symlink_to("/etc/passwd")
    with (
        running_server(tmp_path / "sessions", "--configs", str(tmp_path / "configs")) as server,
        pytest.raises(ConfigError) as caught,
    ):
        open_scan("linked", small_scan().header, server=server.address)
    assert "root:" not in f"{caught.value} {caught.value.detail}"


@pytest.mark.parametrize("session", ["..", "../..", "/etc", "noise", "20200101-000000-0000000g", "\0", "a" * 5000])
def test_an_id_of_a_session_leaves_no_folder(server, small_scan, session):
    with pytest.raises(SessionError, match="there is no session"):
        open_scan("rss", small_scan().header, server=server.address, session=session)


def test_what_is_kept_of_a_session_is_its_owners_alone(running_server, tmp_path, small_scan):
    root = tmp_path / "sessions"
    with running_server(root) as server:
        assert images(server, small_scan()) == 2
    modes = {path.name: path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    assert {"worker.log", "events.jsonl", "session.json", "header.xml", "input.mrd", "output.mrd"} <= modes.keys()


def test_words_of_a_client_command_no_terminal(running_server, tmp_path, small_scan, capsys):
    scan = small_scan()
    label = "knee\x1b]0;owned\x07\x1b[2J\n20200101-000000-00000000  done\x9b31m\u202e"
    log = tmp_path / "server.log"
    with running_server(tmp_path / "sessions", "--log", str(log)) as server:
        assert images(server, scan, label=label) == 2
        with pytest.raises(ConfigError):
            open_scan("\x1b[2Jrss\r\n", scan.header, server=server.address, label=label)
    assert main(["sessions", "list", "--sessions", str(tmp_path / "sessions")]) == 0
    for folder in (tmp_path / "sessions").glob("2*"):
        assert main(["sessions", "show", folder.name, "--sessions", str(tmp_path / "sessions")]) == 0
    out, err = capsys.readouterr()
    for words in (out, err, log.read_text()):
        assert not [character for character in words if not (character.isprintable() or character == "\n")]
    assert "\n20200101" not in out + log.read_text()
