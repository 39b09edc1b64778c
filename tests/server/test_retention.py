"""What is kept of sessions: which go and when, archived and checked before that, and never one that runs."""

import math
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.mrd import (
    Acquisitions,
    Array,
    Close,
    HeaderText,
    Image,
    Text,
    decode,
    encode,
    hdf5_session,
    read_images,
    read_items,
)
from echotrain.server import retention
from echotrain.server.archive import archive_session
from echotrain.server.caretaker import Caretaker
from echotrain.server.folder import all_sessions, create_session
from echotrain.server.outcome import outcome, shown_state
from echotrain.server.retention import DAY, TRY_AGAIN, left_half_done, look, look_after, one_at_a_time, tidy, to_remove
from echotrain.server.session import Session
from echotrain.server.settings import Settings

NOW = 1e9
LIVES = {
    "empty": [],
    "left at once": ["opened"],
    "waiting": ["opened", "client away"],
    "parked": ["opened", "client away", "left"],
    "parked after its end": ["opened", "ended", "left"],
    "done": ["opened", "ended", "done", "client away"],
    "gone on with": ["opened", "done", "opened"],
    "taken up": ["opened", "left", "taken up"],
    "failed": ["opened", "error", "ended", "client away"],
    "failed, then retried": ["opened", "ended", "error", "retried"],
    "cut off": ["opened", "input cut off", "done"],
    "cut off, then whole": ["opened", "input cut off", "ended", "done"],
}
WELL = {"done", "failed, then retried", "cut off, then whole"}
FAILED = {"failed", "cut off"}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """`make("opened", "done", age=5)`: a session to which this happened so long ago [s]."""
    clock = [NOW]
    monkeypatch.setattr("echotrain.server.folder.time.time", lambda: clock[0])

    def session(*events, age=100.0, size=0, label=""):
        folder = create_session(tmp_path / "sessions", {"config": "rss", "parameters": {}, "label": label}, b"")
        folder.input.write_bytes(bytes(size))
        clock[0] = NOW - age
        for event in events:
            folder.write_event(event)
        os.utime(folder.path, (NOW - age, NOW - age))
        clock[0] = NOW
        return folder

    return session


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "sessions").mkdir()
    return Settings(sessions=tmp_path / "sessions")


def gone(settings, busy=(), total=0):
    return {held.folder.id: why for held, why in to_remove(look(settings, busy, NOW), total, settings, NOW)}


# -- which sessions go ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "wanted"), [("all", set()), ("failed", WELL), ("none", WELL | FAILED)])
def test_what_is_over_goes_by_how_it_went_and_what_is_not_over_stays(settings, make, keep, wanted):
    lives = {make(*events).id: name for name, events in LIVES.items()}
    assert {lives[session] for session in gone(replace(settings, keep=keep))} == wanted


def test_whatever_nothing_happened_in_for_days_goes(settings, make):
    old = {make(*events, age=3.1 * DAY).id for events in LIVES.values()}
    make("opened", "done", age=2.9 * DAY)
    found = gone(replace(settings, keep_days=3))
    assert found.keys() == old
    assert set(found.values()) == {"nothing happened in it for 3 days"}


def test_when_all_are_too_large_those_go_that_have_been_over_for_longest(settings, make):
    newest, oldest, middle = (make("opened", "done", age=age, size=1000).id for age in (110, 130, 120))
    parked = make("opened", "left", age=99, size=1000)
    total = sum(map(retention.size_of, all_sessions(settings.sessions)))
    of_one = retention.size_of(parked)
    assert gone(replace(settings, keep_bytes=total), total=total) == {}
    assert gone(replace(settings, keep_bytes=total - of_one - 1), total=total).keys() == {oldest, middle}
    assert gone(replace(settings, keep_bytes=0), total=total).keys() == {oldest, middle, newest}


def test_sessions_in_the_hands_of_the_server_and_those_of_later_stay(settings, make):
    settings = replace(settings, keep="none", keep_days=1)
    busy, later = make("opened", "done", age=2 * DAY), make("opened", "done", age=-1)
    assert gone(settings, busy={busy.id}) == {}
    assert gone(settings).keys() == {busy.id}
    assert later.path.is_dir()


def test_a_session_to_which_a_client_may_come_back_stays(settings, make):
    settings = replace(settings, keep="none", patience=60)
    make("opened", "done", age=59)
    over = make("opened", "done", age=61)
    assert gone(settings).keys() == {over.id}


def test_a_session_is_not_tried_again_at_once(settings, make):
    settings = replace(settings, keep="none")
    soon, later = make("opened", "done", age=TRY_AGAIN + 2), make("opened", "done", age=TRY_AGAIN + 2)
    for folder, age in ((soon, TRY_AGAIN - 1), (later, TRY_AGAIN + 1)):
        retention_event(folder, "not archived", NOW - age)
    assert gone(settings).keys() == {later.id}
    assert outcome(soon).time == NOW - TRY_AGAIN - 2


def retention_event(folder, event, when):
    with (folder.path / "events.jsonl").open("a") as file:
        file.write(f'{{"time": {when}, "event": "{event}"}}\n')


def test_states_are_shown_in_a_word(settings, make):
    shown = {name: shown_state(make(*events)) for name, events in LIVES.items()}
    assert {name for name, state in shown.items() if state == "failed"} == FAILED
    assert {name for name, state in shown.items() if state == "done"} == WELL
    assert {name for name, state in shown.items() if state == "empty"} == {"empty"}
    assert {state for name, state in shown.items() if name not in WELL | FAILED | {"empty"}} == {"parked"}
    folder = make("opened")
    held = Session(folder, settings, lambda *_: True)
    assert shown_state(folder) == "running"
    folder.write_event("client away")
    assert shown_state(folder) == "waiting"
    held.leave("")
    assert shown_state(folder) == "parked"


# -- removal --------------------------------------------------------------------------------------------------------


def test_a_session_that_another_process_runs_is_not_removed(settings, make):
    folder = make("opened", "done")
    found = look(settings, (), NOW)
    with folder.alone():
        assert not retention.remove(found[0], "it is over", None)
    assert retention.remove(found[0], "it is over", None)
    assert not any(settings.sessions.iterdir())


def test_a_session_in_which_something_happened_meanwhile_is_not_removed(settings, make):
    folder = make("opened", "done")
    (found,) = look(settings, (), NOW)
    folder.write_event("retried")
    assert not retention.remove(found, "it is over", None)
    assert folder.path.is_dir()


def test_one_that_cannot_be_removed_keeps_no_other(settings, make, monkeypatch, caplog):
    bad, good = make("opened", "done", age=120), make("opened", "done", age=110)
    rename = type(bad.path).rename

    def refused(path, target):
        if path == bad.path:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(type(bad.path), "rename", refused)
    with caplog.at_level("INFO"):
        look_after(replace(settings, keep="none"), (), NOW)
    assert all_sessions(settings.sessions) == [bad]
    assert [event["event"] for event in bad.events()] == ["opened", "done", "not removed"]
    assert f"session {good.id} is removed, as it is over" in caplog.text


def test_what_was_left_half_done_is_removed_and_nothing_else(settings, make, tmp_path):
    settings = replace(settings, archive=tmp_path / "archive")
    kept = make("opened", "done")
    torn = make("opened", "done")
    torn.path.rename(torn.path.with_name(f".{torn.id}.removed"))
    (settings.sessions / "noise").mkdir()
    settings.archive.mkdir()
    for name in (f".{kept.id}.h5.x1.partial", f"{kept.id}.h5"):
        (settings.archive / name).write_text("")
    (settings.sessions / "noise" / "tmp1.partial").write_text("")
    (settings.sessions / "noise" / "abc.npz").write_text("")
    tidy(left_half_done(settings))
    assert {path.name for path in settings.sessions.iterdir()} == {kept.id, "noise"}
    assert {path.name for path in (settings.sessions / "noise").iterdir()} == {"abc.npz"}
    assert {path.name for path in settings.archive.iterdir()} == {f"{kept.id}.h5"}


def test_two_servers_of_one_folder_do_not_look_after_it_at_once(settings):
    with one_at_a_time(settings.sessions) as first, one_at_a_time(settings.sessions) as second:
        assert (first, second) == (True, False)
    with one_at_a_time(settings.sessions) as again:
        assert again


def test_a_server_that_keeps_all_starts_no_process(settings, make):
    make("opened", "done")
    caretaker = Caretaker(settings)
    caretaker.look_around(1000.0, ())
    assert caretaker._thread is None
    caretaker.close()


def test_a_server_that_starts_gives_clients_of_the_one_before_time_to_come_back(settings, monkeypatch):
    looks = []
    monkeypatch.setattr(Caretaker, "_run", lambda _self, *job: looks.append(job))
    caretaker = Caretaker(replace(settings, keep="none", patience=30))
    for now in (1000.0, 1029.0, 1031.0, 1032.0):
        caretaker.look_around(now, ())
        caretaker.close()
        assert len(looks) == (now > 1030)


# -- the archive ----------------------------------------------------------------------------------------------------


@pytest.fixture
def scanned(settings, small_scan):
    """A session that is over, with what it received and made."""
    scan = small_scan(repetitions=2)
    folder = create_session(settings.sessions, {"config": "rss", "parameters": {}, "label": "knee"}, scan.header)
    made = list(reconstruct(scan.batches, scan.header, "rss"))
    for path, items in ((folder.input, scan.batches), (folder.output, made)):
        path.write_bytes(b"".join(bytes(encode(item)) for item in (HeaderText(scan.header), *items, Close())))
    for event in ("opened", "ended", "done"):
        folder.write_event(event)
    return folder, [item for item in made if isinstance(item, Image)]


def archived_before(settings, tmp_path):
    return replace(settings, keep="none", archive=tmp_path / "archive")


def test_a_session_is_archived_whole_before_it_goes(settings, scanned, small_scan, tmp_path):
    folder, images = scanned
    look_after(archived_before(settings, tmp_path), (), math.inf)
    assert all_sessions(settings.sessions) == []
    (file,) = (tmp_path / "archive").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"{folder.id}.h5", 0o600)
    for name in ("head", "data"):
        stored = np.concatenate([getattr(batch, name) for batch in read_items(file)])
        assert np.array_equal(
            stored, np.concatenate([getattr(batch, name) for batch in small_scan(repetitions=2).batches])
        )
    for image, wanted in zip(read_images(file), images, strict=True):
        assert np.array_equal(image.data, wanted.data)
    with h5py.File(file) as stored:
        assert b'"label": "knee"' in stored["session/session.json"][()]
        assert b'"done"' in stored["session/events.jsonl"][()]


def test_an_archive_that_does_not_hold_all_keeps_the_session(settings, scanned, tmp_path, monkeypatch, caplog):
    folder, _ = scanned
    monkeypatch.setattr(hdf5_session.LineRows, "flush", lambda _: None)
    look_after(archived_before(settings, tmp_path), (), math.inf)
    assert list((tmp_path / "archive").iterdir()) == []
    *_, last = folder.events()
    assert last["event"] == "not archived"
    assert "but holds" in last["reason"]
    assert f"session {folder.id}: not archived" in caplog.text
    assert not gone(archived_before(settings, tmp_path))
    assert outcome(folder).tried


def test_what_has_no_place_in_a_file_keeps_the_session(settings, scanned, tmp_path):
    folder, _ = scanned
    folder.output.write_bytes(encode(Array(np.zeros((2, 3), np.float32))))
    look_after(archived_before(settings, tmp_path), (), math.inf)
    assert "Array" in list(folder.events())[-1]["reason"]
    assert list((tmp_path / "archive").iterdir()) == []


def test_what_was_received_and_made_is_told_apart_and_texts_are_kept(settings, scanned, tmp_path):
    folder, images = scanned
    lines = next(read_first(folder))
    folder.input.write_bytes(b"".join(bytes(encode(item)) for item in (lines, images[0], Text("one\0\u00e9"))))
    folder.output.write_bytes(b"".join(bytes(encode(item)) for item in (images[1], images[2], lines, Text("two"))))
    counts = archive_session(folder, tmp_path / "o.h5")
    n = len(lines)
    kinds = {"dataset/lines": n, "input/images": 1, "dataset/images": 2, "output/lines": n, "torn_bytes": 0}
    assert counts == kinds
    with h5py.File(tmp_path / "o.h5") as stored:
        assert [text.decode() for text in stored["session/texts"][()]] == ["one\u00e9", "two"]


def read_first(folder):
    return (item for item, _ in decode(memoryview(folder.input.read_bytes())) if isinstance(item, Acquisitions))


def test_a_record_that_was_cut_off_is_left_out_and_counted(settings, scanned, tmp_path):
    folder, _ = scanned
    data = folder.input.read_bytes()
    whole = archive_session(folder, tmp_path / "whole.h5")["dataset/lines"]
    folder.input.write_bytes(data[:-12])
    counts = archive_session(folder, tmp_path / "o.h5")
    assert counts["dataset/lines"] == whole - 1
    assert counts["torn_bytes"] > 300


def test_a_session_that_is_archived_already_is_only_removed(settings, scanned, tmp_path, monkeypatch):
    folder, _ = scanned
    settings = archived_before(settings, tmp_path)
    settings.archive.mkdir()
    file = settings.archive / f"{folder.id}.h5"
    folder.write_event("archived", file=str(file), **archive_session(folder, file))
    monkeypatch.setattr(retention, "archive_session", None)
    look_after(settings, (), math.inf)
    assert not folder.path.exists()
    assert file.exists()


def test_a_session_whose_archive_was_lost_is_archived_again(settings, scanned, tmp_path):
    folder, _ = scanned
    settings = archived_before(settings, tmp_path)
    folder.write_event("archived", file=str(settings.archive / f"{folder.id}.h5"))
    look_after(settings, (), math.inf)
    assert not folder.path.exists()
    assert (settings.archive / f"{folder.id}.h5").exists()
