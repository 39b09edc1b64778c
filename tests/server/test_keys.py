"""A folder of keys: made whole, readable by its owner alone, never replaced unasked."""

import stat

import pytest
import zmq

from echotrain.mrd.errors import ConfigError, StorageError
from echotrain.server.keys import KeyFolder, read_client


@pytest.fixture
def folder(tmp_path):
    made = KeyFolder(tmp_path / "keys")
    made.make_server()
    return made


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_client_is_told_its_keys_and_the_public_one_of_its_server(folder):
    keys = read_client(folder.make_client("scanner"))
    assert keys.public == zmq.curve_public(keys.secret)
    assert keys.server == zmq.curve_public(folder.server().secret)
    assert folder.clients() == ({keys.public.decode(): "scanner"}, [])


def test_nobody_else_may_read_any_of_it(folder):
    folder.make_client("scanner")
    found = {path.name: mode(path) for path in folder.path.rglob("*")}
    assert found == dict.fromkeys(("server.key", "server.pub", "scanner.key", "scanner.pub"), 0o600) | {
        "clients": 0o700
    }
    assert mode(folder.path) == 0o700


def test_the_folder_of_who_may_come_in_holds_no_secret(folder):
    secret = read_client(folder.make_client("scanner")).secret
    assert all(secret not in path.read_bytes() for path in folder.allowed.iterdir())


def test_keys_are_not_shown_where_an_object_is(folder):
    assert folder.server().secret.decode() not in repr(folder.server())


def test_keys_that_are_there_are_replaced_only_when_told_so(folder):
    first = folder.server().public
    with pytest.raises(ConfigError, match=r"server.key is there already; say --replace"):
        folder.make_server()
    assert folder.server().public == first
    folder.make_server(replace=True)
    assert folder.server().public != first

    client = read_client(folder.make_client("scanner")).public
    with pytest.raises(ConfigError, match="say --replace"):
        folder.make_client("scanner")
    assert list(folder.clients()[0]) == [client.decode()]
    assert read_client(folder.make_client("scanner", replace=True)).public != client
    assert len(folder.clients()[0]) == 1


def test_a_client_whose_key_was_revoked_may_be_given_another(folder):
    folder.make_client("scanner").unlink()
    folder.revoke("scanner")
    assert folder.clients() == ({}, [])
    folder.make_client("scanner")
    assert list(folder.clients()[0].values()) == ["scanner"]


def test_who_is_not_there_cannot_be_revoked(folder):
    folder.make_client("scanner")
    with pytest.raises(ConfigError, match="no key of a client 'scaner'; it has: scanner"):
        folder.revoke("scaner")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".hidden", "a b", "server", "x" * 65, "a\nb", "é"])
def test_a_name_is_no_path(folder, name):
    for act in (folder.make_client, folder.revoke):
        with pytest.raises(ConfigError, match="no name of a client"):
            act(name)


def test_a_client_needs_a_server(tmp_path):
    with pytest.raises(ConfigError, match="make the server's with `echotrain keys new`"):
        KeyFolder(tmp_path).make_client("scanner")


@pytest.mark.parametrize("text", ["", "no key", 'public-key = "short"', 'public-key = "' + "é" * 20 + '"'])
def test_a_file_that_is_no_key_lets_nobody_in_and_keeps_nobody_out(folder, text):
    folder.make_client("scanner")
    (folder.allowed / "damaged.pub").write_text(text)
    clients, (words,) = folder.clients()
    assert list(clients.values()) == ["scanner"]
    assert "damaged.pub is no file of a key" in words


def test_a_folder_that_may_be_listed_but_not_read_lets_nobody_in_and_does_not_end_the_server(folder, monkeypatch):
    """As after `chmod -R 600`, which needs a user other than root to be seen."""
    folder.make_client("scanner")
    path = type(folder.path)
    stat_of = path.stat

    def refused(self, **options):
        if self.parent == folder.allowed:
            raise PermissionError(13, "Permission denied")
        return stat_of(self, **options)

    monkeypatch.setattr(path, "stat", refused)
    found, (words,) = folder.clients()
    assert not found
    assert "Permission denied" in words


def test_what_changes_is_seen(folder):
    before = folder.state()
    for act in (
        lambda: folder.make_client("scanner"),
        lambda: folder.make_client("scanner", replace=True),
        lambda: folder.revoke("scanner"),
        lambda: folder.make_server(replace=True),
    ):
        act()
        assert folder.state() != before
        before = folder.state()


def test_a_secret_that_others_may_read_is_not_used(folder):
    client = folder.make_client("scanner")
    for path, read in ((client, lambda: read_client(client)), (folder.path / "server.key", folder.server)):
        path.chmod(0o640)
        with pytest.raises(ConfigError, match=f"others may read or write .*{path.name}; chmod 600"):
            read()


@pytest.mark.parametrize("part", ["", "clients"])
def test_a_folder_to_which_others_may_write_is_not_used(folder, part):
    (folder.path / part).chmod(0o777)
    with pytest.raises(ConfigError, match="chmod 700"):
        folder.server()


def test_a_file_that_is_not_a_clients_is_told(folder, tmp_path):
    with pytest.raises(ConfigError, match="has no server-key"):
        read_client(folder.path / "server.key")
    with pytest.raises(ConfigError, match=r"there is no key .*none.key; give the file NAME.key"):
        read_client(tmp_path / "none.key")
    public = folder.path / "server.pub"
    with pytest.raises(ConfigError, match="holds no secret key"):
        read_client(public)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write keys to"):
        KeyFolder(tmp_path / "file").make_server()


def test_a_zeromq_without_curve_is_told(folder, monkeypatch):
    monkeypatch.setattr(zmq, "has", lambda _what: False)
    for act in (folder.make_server, folder.server, lambda: read_client(folder.path / "server.key")):
        with pytest.raises(ConfigError, match="without CURVE"):
            act()
