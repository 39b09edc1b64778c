"""A session's folder: what is written is read back, and a name from a stranger reaches nothing else."""

import os

import pytest

from echotrain.mrd.errors import SessionError, StorageError
from echotrain.server import folder as folder_module
from echotrain.server.folder import SessionFolder, all_sessions, create_session, default_sessions_folder, find_session

REQUEST = {"config": "count", "parameters": {"A.x": "1"}, "label": "knee \u00e9"}


def test_a_session_is_found_again_with_what_was_asked(tmp_path):
    made = create_session(tmp_path / "new" / "root", REQUEST, b"<xml/>")
    found = find_session(tmp_path / "new" / "root", made.id)
    assert found == made
    assert found.request == {**REQUEST, "options": {}, "notes": []}
    assert found.header.read_bytes() == b"<xml/>"


def test_only_the_owner_may_read_a_session(tmp_path):
    assert create_session(tmp_path, REQUEST, b"").path.stat().st_mode & 0o777 == 0o700


def test_sessions_are_listed_oldest_first_and_nothing_else(tmp_path):
    for name in ("20240102-030405-0000000b", "20240102-030405-0000000a", "20230102-030405-0000000c", "notes"):
        (tmp_path / name).mkdir()
    assert [session.id[-1] for session in all_sessions(tmp_path)] == ["c", "a", "b"]
    assert all_sessions(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["", ".", "..", "../20240102-030405-0000000a", "20240102-030405-0000000b", "a\0b"])
def test_what_is_no_session_is_refused(tmp_path, name):
    root = tmp_path / "root"
    (tmp_path / "20240102-030405-0000000a").mkdir()
    root.mkdir()
    with pytest.raises(SessionError, match="there is no session"):
        find_session(root, name)


def test_events_are_kept_in_order_with_their_details(tmp_path):
    session = create_session(tmp_path, REQUEST, b"")
    assert list(session.events()) == []
    session.write_event("opened", held=5)
    session.write_event("done", images=2)
    first, second = session.events()
    assert (first["event"], first["held"], second["event"], second["images"]) == ("opened", 5, "done", 2)
    assert first["time"] <= second["time"]


@pytest.mark.parametrize("damage", [b'{"time": 17, "ev', b"\xff\xfe\n", b'5\n{"time": 17}\n["event"]\n'])
def test_an_event_that_was_cut_off_or_damaged_hides_no_other(tmp_path, damage):
    session = create_session(tmp_path, REQUEST, b"")
    session.write_event("opened")
    with (session.path / "events.jsonl").open("ab") as file:
        file.write(damage)
    session.write_event("ended")
    session.write_event("done")
    events = [event["event"] for event in session.events()]
    assert (events[0], events[-1]) == ("opened", "done")


def test_an_event_that_cannot_be_written_is_let_go(tmp_path):
    SessionFolder(tmp_path / "gone").write_event("left")
    assert not (tmp_path / "gone").exists()


def test_a_session_whose_request_is_damaged_is_an_error_that_names_it(tmp_path):
    session = create_session(tmp_path, REQUEST, b"")
    (session.path / "session.json").write_text("{")
    with pytest.raises(SessionError, match=session.id):
        _ = session.request


def test_a_folder_that_cannot_be_written_is_a_storage_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to .*file.*--sessions"):
        create_session(tmp_path / "file", REQUEST, b"")


def test_a_session_that_could_not_be_made_whole_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module.json, "dumps", full)
    with pytest.raises(StorageError, match="No space left on device"):
        create_session(tmp_path, REQUEST, b"<xml/>")
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_session_is_gone(tmp_path):
    session = create_session(tmp_path, REQUEST, b"")
    session.delete()
    assert list(tmp_path.iterdir()) == []


def test_the_environment_says_where_sessions_are(monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_SESSIONS", "/somewhere/else")
    assert os.fspath(default_sessions_folder()) == "/somewhere/else"
    monkeypatch.delenv("ECHOTRAIN_SESSIONS")
    assert default_sessions_folder().parts[-2:] == (".echotrain", "sessions")
