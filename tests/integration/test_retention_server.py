"""A real server: what it keeps is its user's alone; what it need not keep it archives and removes, as its log says."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from mrd_clients import GadgetronClient, lines_of, opening

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, Text, read_images, read_items
from echotrain.mrd.errors import EchotrainError
from echotrain.server.folder import all_sessions

pytestmark = pytest.mark.usefixtures("bounded")

STUMBLE = '<chain><gadget name="Stumble"/><gadget name="Count"/></chain>'
SECRET = "Doe^Jane"


def play(server, scan, config="rss", label="knee\n\x1b[2J"):
    """A scan from its start to its end: the session and its images."""
    with open_scan(config, scan.header, server=server.address, label=label) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return opened.session, [item for item in opened.items() if isinstance(item, Image)]


def play_mrd(client, scan, config):
    client.send(opening(client, scan, config), *lines_of(client, scan), client.close())
    assert client.hear().closed


def named(scan):
    """The scan of somebody."""
    patient = f"<subjectInformation><patientName>{SECRET}</patientName></subjectInformation>".encode()
    end = scan.header.index(b"<acquisitionSystemInformation>")
    return scan._replace(header=scan.header[:end] + patient + scan.header[end:])


def log_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_file_of_sessions_is_for_the_server_s_user_alone_whatever_the_umask(running_server, tmp_path, small_scan):
    before = os.umask(0)
    try:
        with running_server(tmp_path / "sessions", "--log", str(tmp_path / "log")) as server:
            first, _ = play(server, small_scan(noise=0.02), "fft")
            with GadgetronClient(server.mrd) as client:
                play_mrd(client, small_scan(), "rss")
            with pytest.raises(EchotrainError):
                play(server, small_scan(), STUMBLE)
            retry = ["sessions", "retry", first, "--sessions", str(server.sessions)]
            assert main(retry) == 0
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in [tmp_path / "log", *(tmp_path / "sessions").rglob("*")]}
    names = {"session.json", "header.xml", "chain.xml", "input.mrd", "output.mrd", "events.jsonl", "worker.log"}
    assert names <= {path.name for path in found}
    assert any(path.suffix == ".npz" for path in found)
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}
    assert (tmp_path / "sessions").stat().st_mode & 0o777 == 0o700


def test_what_is_over_is_archived_and_removed_and_what_failed_or_was_left_is_kept(
    running_server, tmp_path, small_scan, eventually
):
    scan, sessions, archive = named(small_scan(repetitions=2)), tmp_path / "sessions", tmp_path / "archive"
    with running_server(sessions) as server:
        done, images = play(server, scan)
        with open_scan("rss", scan.header, server=server.address) as parked:
            parked.send(scan.batches[0])
        with pytest.raises(EchotrainError):
            play(server, scan, STUMBLE)
    (failed,) = {folder.id for folder in all_sessions(sessions)} - {done, parked.session}
    options = ["--keep", "failed", "--patience", "0", "--archive", str(archive)]
    options += ["--log", str(tmp_path / "log"), "--log-format", "json", "--log-level", "info"]
    with running_server(sessions, *options):
        eventually(lambda: len(all_sessions(sessions)) == 2)
        eventually(lambda: f"session {done} is removed, as it went well" in (tmp_path / "log").read_text())
    assert {folder.id for folder in all_sessions(sessions)} == {parked.session, failed}
    (file,) = archive.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"{done}.h5", 0o600)
    assert archive.stat().st_mode & 0o777 == 0o700
    stored = np.concatenate([batch.data for batch in read_items(file)])
    assert np.array_equal(stored, np.concatenate([batch.data for batch in scan.batches]))
    for image, wanted in zip(read_images(file), images, strict=True):
        assert np.array_equal(image.data, wanted.data)
    events = [line for line in log_of(tmp_path / "log") if line.get("session") == done]
    assert [(line["event"], line.get("dataset/images")) for line in events] == [("archiving", None), ("archived", 4)]


def test_a_session_whose_client_still_takes_its_output_is_not_removed(running_server, tmp_path, small_scan, eventually):
    """The look at the start finds it over, but in the server's hands."""
    scan = small_scan()
    torn = tmp_path / "20240102-030405-0000000a"
    torn.mkdir()
    (torn / "events.jsonl").write_text('{"time": 1e9, "event": "opened"}\n{"time": 1e9, "event": "done"}\n')
    with running_server(tmp_path, "--keep", "none", "--patience", "0") as server:
        with open_scan("rss", scan.header, server=server.address) as opened:
            for batch in scan.batches:
                opened.send(batch)
            opened.end()
            eventually(lambda: not torn.exists())
            assert sum(isinstance(item, Image) for item in opened.items()) == 2
        assert (tmp_path / opened.session).is_dir()


def test_what_a_killed_server_left_half_removed_is_gone_after_the_next_start(running_server, tmp_path, eventually):
    torn = tmp_path / ".20240102-030405-0000000a.removed"
    torn.mkdir()
    (torn / "input.mrd").write_bytes(b"of somebody")
    with running_server(tmp_path):
        eventually(lambda: not torn.exists())


def test_the_log_has_a_line_for_each_event_and_nothing_of_the_patient(running_server, tmp_path, small_scan):
    options = ["--log", str(tmp_path / "log"), "--log-format", "json", "--log-level", "info"]
    with running_server(tmp_path / "sessions", *options) as server:
        session, _ = play(server, named(small_scan()))
        with GadgetronClient(server.mrd) as client:
            play_mrd(client, named(small_scan()), "count")
    assert SECRET not in (tmp_path / "log").read_text()
    lines = [line for line in log_of(tmp_path / "log") if line.get("session") == session]
    (opened,) = [line for line in lines if line["event"] == "opened"]
    assert {name: opened[name] for name in ("config", "label", "door")} == {
        "config": "rss",
        "label": "knee\n\x1b[2J",
        "door": "native",
    }
    (done,) = [line for line in lines if line["event"] == "done"]
    assert (done["lines"], done["images"]) == (40, 2)
    assert done["seconds"] > 0
    (other,) = [line for line in log_of(tmp_path / "log") if line.get("config") == "count"]
    assert (other["door"], other["label"]) == ("mrd", "MRD client at 127.0.0.1")


def test_a_native_client_that_falls_silent_is_told_and_given_what_its_lines_make(running_server, tmp_path, small_scan):
    scan = small_scan(repetitions=2)
    with (
        running_server(tmp_path, "--idle", "0.5") as server,
        open_scan("rss", scan.header, server=server.address) as opened,
    ):
        for line in [line for batch in scan.batches for line in batch][:45]:
            opened.send(line)
        items = list(opened.items())
    assert sum(isinstance(item, Image) for item in items) >= 2
    assert any(isinstance(item, Text) and "nothing came for 0.5 s" in item.text for item in items)


def test_a_log_that_cannot_be_written_is_one_line_and_no_server(tmp_path):
    command = [sys.executable, "-m", "echotrain.clients.main", "serve", "--bind", "tcp://127.0.0.1:*", "--mrd", "off"]
    options = ["--sessions", str(tmp_path), "--log", str(tmp_path / "none" / "log")]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "none/log" in line
