"""`echotrain keys`, and what a client is told of its keys."""

import pytest

from echotrain.clients.client import open_scan
from echotrain.mrd.errors import ConfigError, PeerError
from echotrain.server.keys import KeyFolder, read_client


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys"


def test_three_commands_let_a_client_in_list_it_and_keep_it_out(succeed, keys):
    succeed("keys", "new", "--keys", keys)
    (line,) = succeed("keys", "new", "scanner", "--keys", keys)
    assert line.startswith(f"{keys / 'scanner.key'}: take this file to scanner")
    public_key = read_client(keys / "scanner.key").public.decode()
    assert [line.split() for line in succeed("keys", "list", "--keys", keys)] == [["scanner", public_key]]
    assert succeed("keys", "revoke", "scanner", "--keys", keys)
    assert succeed("keys", "list", "--keys", keys) == []


def test_no_command_prints_a_secret(run, keys):
    said = [run("keys", "new", "--keys", keys), run("keys", "new", "scanner", "--keys", keys)]
    secrets = [KeyFolder(keys).server().secret, read_client(keys / "scanner.key").secret]
    said += [
        run("keys", "list", "--keys", keys),
        run("keys", "new", "--keys", keys),
        run("keys", "new", "scanner", "--keys", keys),
        run("keys", "revoke", "scanner", "--keys", keys),
    ]
    assert [status for status, *_ in said] == [0, 0, 0, 1, 1, 0]
    assert not [secret for secret in secrets if secret.decode() in str(said)]


def test_what_is_there_is_kept_with_one_line_that_says_so(run, succeed, keys):
    succeed("keys", "new", "--keys", keys)
    status, out, (line,) = run("keys", "new", "--keys", keys)
    assert (status, out) == (1, [])
    assert "server.key is there already; say --replace" in line
    succeed("keys", "new", "--keys", keys, "--replace")


def test_a_damaged_key_is_listed_as_such(run, succeed, keys):
    succeed("keys", "new", "--keys", keys)
    (keys / "clients" / "old.pub").write_text("")
    status, out, (line,) = run("keys", "list", "--keys", keys)
    assert (status, out) == (0, [])
    assert "old.pub is no file of a key" in line


def test_a_file_of_keys_that_cannot_be_used_is_told_before_anything_is_sent(tmp_path, small_scan):
    with pytest.raises(ConfigError, match=r"there is no key .*none.key"):
        open_scan("rss", small_scan().header, keys=tmp_path / "none.key")


def test_the_environment_may_name_the_keys(tmp_path, small_scan, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_KEYS", str(tmp_path / "none.key"))
    with pytest.raises(ConfigError, match=r"there is no key .*none.key"):
        open_scan("rss", small_scan().header)


def test_replay_names_the_keys(run, succeed, tmp_path):
    succeed("simulate", tmp_path / "in.h5", "--matrix", "16")
    scan = tmp_path / "in.h5", "--config", "rss", "--output", tmp_path / "out.h5"
    status, _, (line,) = run("replay", *scan, "--keys", tmp_path / "none.key")
    assert status == 1
    assert "there is no key" in line


def test_a_client_with_keys_is_told_that_the_server_has_none(succeed, keys, small_scan, stub_server):
    succeed("keys", "new", "--keys", keys)
    succeed("keys", "new", "scanner", "--keys", keys)
    server = stub_server(lambda _message: [])
    with pytest.raises(PeerError, match="has no keys; start it with --keys"):
        open_scan("rss", small_scan().header, server=server.address, keys=keys / "scanner.key")
    assert server.heard == []
