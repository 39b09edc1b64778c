"""`echotrain sessions`: a session archived to HDF5, and one that runs left alone."""

import h5py
import numpy as np
import pytest

from echotrain.mrd import read_images, read_items
from echotrain.server.folder import all_sessions
from echotrain.server.session import Session
from echotrain.server.settings import Settings


@pytest.fixture
def running(session):
    """The session, while a server runs it."""
    held = Session(session, Settings(sessions=session.path.parent), lambda *_: True)
    yield session
    held.leave("")


def test_a_session_is_archived_with_what_was_received_and_made(run, succeed, session, small_scan, tmp_path):
    places = ["--sessions", session.path.parent]
    assert run("sessions", "retry", session.id, *places, "--output", tmp_path / "images.h5")[0] == 0
    out = tmp_path / "o.h5"
    (line,) = succeed("sessions", "archive", session.id, *places, "--output", out)
    assert line == f"40 dataset/lines, 2 dataset/images in {out}"
    assert out.stat().st_mode & 0o777 == 0o600
    for name in ("head", "data"):
        received = np.concatenate([getattr(batch, name) for batch in small_scan().batches])
        assert np.array_equal(np.concatenate([getattr(batch, name) for batch in read_items(out)]), received)
    for image, wanted in zip(read_images(out), read_images(tmp_path / "images.h5"), strict=True):
        assert np.array_equal(image.data, wanted.data)
        assert image.meta == wanted.meta
    with h5py.File(out) as file:
        assert b'"config": "rss"' in file["session/session.json"][()]
    assert all_sessions(session.path.parent) == [session]
    (line,) = succeed("sessions", *places)
    assert line.split()[1] == "archived"


def test_an_archive_that_fails_leaves_the_file_of_before_and_the_session(run, session, tmp_path):
    out = tmp_path / "o.h5"
    out.write_bytes(b"of before")
    session.input.write_bytes(b"no record")
    status, _, err = run("sessions", "archive", session.id, "--sessions", session.path.parent, "--output", out)
    assert (status, len(err)) == (1, 1)
    assert "not an MRD stream" in err[0]
    assert out.read_bytes() == b"of before"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert [event["event"] for event in session.events()] == ["opened"]


@pytest.mark.parametrize("action", [["archive", "--output", "o.h5"], ["delete"]])
def test_a_session_that_runs_is_neither_archived_nor_deleted(run, running, tmp_path, action):
    status, _, err = run("sessions", *action, running.id, "--sessions", running.path.parent)
    assert (status, len(err)) == (1, 1)
    assert f"session {running.id} runs at this moment" in err[0]
    assert running.input.exists()


def test_the_output_of_a_retry_is_for_its_owner_alone(run, session):
    assert run("sessions", "retry", session.id, "--sessions", session.path.parent)[0] == 0
    assert session.output.stat().st_mode & 0o777 == 0o600
