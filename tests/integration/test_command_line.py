"""Commands with a real server: what a user types, one after the other."""

import subprocess
import sys
import time

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, read_images
from echotrain.server.folder import all_sessions

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    options = ["--matrix", "24,20", "--coils", "3", "--slices", "2", "--noise", "0.02", "--repetitions", "2"]
    assert main(["simulate", str(path), *options]) == 0
    return path


@pytest.fixture
def replay(server, scan_file, tmp_path, capsys):
    """`replay("--lines", "1")`: exit status, what was printed, and the images."""

    def run(*options, config="fft", source=scan_file):
        capsys.readouterr()
        output = tmp_path / "replayed.h5"
        arguments = ["replay", str(source), "--config", config, "--server", server.address, "--output", str(output)]
        status = main([*arguments, *options])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines(), list(read_images(output)) if output.exists() else []

    return run


@pytest.fixture
def reconstructed(scan_file, tmp_path):
    assert main(["recon", str(scan_file), "--config", "fft", "--output", str(tmp_path / "recon.h5")]) == 0
    return list(read_images(tmp_path / "recon.h5"))


@pytest.mark.parametrize("options", [[], ["--lines", "1"], ["--lines", "7"], ["--speed", "500", "--lines", "3"]])
def test_a_replay_gives_what_recon_gives(replay, reconstructed, options):
    status, out, _, images = replay(*options)
    assert status == 0
    assert out[-1].startswith("4 images in ")
    assert len(images) == len(reconstructed) == 4
    for image, wanted in zip(images, reconstructed, strict=True):
        assert isinstance(image, Image)
        assert np.abs(image.data - wanted.data).max() <= 1e-6 * wanted.data.max()
        assert image.head == wanted.head
        assert image.meta == wanted.meta


def test_a_factor_of_real_time_takes_its_time(replay):
    start = time.monotonic()
    assert replay("--speed", "2")[0] == 0
    assert time.monotonic() - start > 0.2  # half of 96 lines of 5 ms each


def test_replayed_images_are_exported(replay, tmp_path, capsys):
    assert replay()[0] == 0
    assert main(["export", str(tmp_path / "replayed.h5"), "--png", str(tmp_path / "png")]) == 0
    assert list((tmp_path / "png").glob("*.png"))
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"config": "ffft"}, ["'ffft'", "did you mean fft?"]),
        ({"config": '<chain><gadget name="Stumble"/><gadget name="Count"/></chain>'}, ["Stumble", "upside down"]),
    ],
)
def test_what_the_server_refuses_is_one_line_and_status_1(replay, tmp_path, options, words):
    config = options["config"]
    if config.startswith("<"):
        (tmp_path / "chain.xml").write_text(config)
        config = str(tmp_path / "chain.xml")
    status, out, err, images = replay(config=config)
    assert (status, out, images) == (1, [], [])
    (line,) = err
    assert line.startswith("echotrain replay: ")
    assert all(word in line for word in words)


def test_settings_reach_the_server(replay):
    status, _, err, _ = replay("--set", "CombineCoils.metod=x")
    assert status == 1
    assert "did you mean method?" in err[-1]


def test_a_server_that_is_not_there_is_one_line(scan_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(open_scan.__kwdefaults__, "timeout", 0.1)
    arguments = ["--config", "rss", "--server", "tcp://127.0.0.1:9", "--output", str(tmp_path / "o.h5")]
    assert main(["replay", str(scan_file), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "tcp://127.0.0.1:9" in line
    assert "is it running?" in line


def test_sessions_of_the_server_are_listed_shown_run_again_and_deleted(replay, server, reconstructed, tmp_path, capsys):
    before = {session.id for session in all_sessions(server.sessions)}
    replay()
    (folder,) = [session.path for session in all_sessions(server.sessions) if session.id not in before]
    places = ["--sessions", str(server.sessions)]

    assert main(["sessions", "list", *places]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(folder.name)]
    assert all(word in line for word in ("done", "MB", "fft", "scan.h5")), line

    assert main(["sessions", "show", folder.name, *places]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("opened", "ended", "done", "images=4", '<gadget name="CombineCoils"'))

    again = tmp_path / "again.h5"
    assert main(["sessions", "retry", folder.name, *places, "--output", str(again)]) == 0
    for image, wanted in zip(read_images(again), reconstructed, strict=True):
        assert np.abs(image.data - wanted.data).max() <= 1e-6 * wanted.data.max()

    assert main(["sessions", "delete", folder.name, *places]) == 0
    assert not folder.exists()


def test_the_installed_command_ends_with_the_status_of_what_it_did():
    command = [sys.executable, "-m", "echotrain.clients.main"]
    for arguments, status, n_lines in ((["configs", "count"], 0, 0), (["configs", "cuont"], 1, 1)):
        ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (status, n_lines)
    assert subprocess.run([*command, "dance"], capture_output=True, check=False).returncode == 2


def test_output_that_nobody_reads_is_no_traceback():
    command = f"{sys.executable} -m echotrain.clients.main gadgets | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
