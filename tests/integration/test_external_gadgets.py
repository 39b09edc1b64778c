"""A server with gadgets of the public `gadgetron` package: their processes fail alone and end with their session."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, Text, read_images, write_acquisitions
from echotrain.mrd.errors import ConfigError, GadgetError
from echotrain.server.wire import Open

pytestmark = pytest.mark.usefixtures("bounded")

EXAMPLE = Path(__file__).parents[2] / "examples" / "external_gadget"
SITE = """
import os, signal, sys, time
import ismrmrd

def double(connection):
    print("doubling")
    connection.filter(ismrmrd.Image)
    for image in connection:
        image.data[:] *= 2
        connection.send(image)

def raises(connection):
    next(iter(connection))
    raise ValueError("a stone")

def exits(connection):
    next(iter(connection))
    sys.exit(3)

def killed(connection):
    next(iter(connection))
    os.kill(os.getpid(), signal.SIGKILL)

def hangs(connection):
    next(iter(connection))
    while True:
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of gadgets, and an interpreter that notes its process, and hangs where a target has that name."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "gadgets").mkdir()
    (folder / "gadgets" / "site_gadget.py").write_text(SITE)
    (folder / "python").write_text(
        f'#!/bin/sh\necho $$ > {folder}/$5.pid\n[ "$5" = too_late ] && exec sleep 100\nexec {sys.executable} "$@"\n'
    )
    (folder / "python").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(running_server, site, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOTRAIN_EXTERNAL_PYTHON", str(site / "python"))
        options = ["--gadgets", str(site / "gadgets"), "--gadgets", str(EXAMPLE)]
        with running_server(tmp_path_factory.mktemp("sessions"), *options) as running:
            yield running


@pytest.fixture
def process_of(site):
    """`process_of("hangs")`: the number of the process that ran it last, while it is there."""

    def find(target):
        try:
            number = int((site / f"{target}.pid").read_text())
            status = Path(f"/proc/{number}/status").read_text()
        except (OSError, ValueError):
            return None
        return None if re.search(r"^State:\s+Z", status, re.MULTILINE) else number

    return find


def chain(target, module="site_gadget"):
    return (
        '<chain><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/><gadget name="FourierTransform"/>'
        f'<gadget name="CombineCoils"/><gadget name="ExternalPython" module="{module}" target="{target}"/></chain>'
    )


def play(server, scan, config):
    with open_scan(config, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return [item for item in opened.items() if not isinstance(item, Text)], opened.session


def test_images_go_through_a_process_of_their_own(server, small_scan, good_neighbour):
    scan = small_scan()
    plain, _ = play(server, scan, "rss")
    doubled, _ = play(server, scan, chain("double"))
    assert len(doubled) == len(plain) == 2
    for image, before in zip(doubled, plain, strict=True):
        np.testing.assert_allclose(image.data, 2 * before.data, rtol=1e-5, atol=1e-7)
        assert image.head["slice"] == before.head["slice"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("raises", "failed with status 1: ValueError: a stone"),
        ("exits", "failed with status 3"),
        ("killed", "was killed by signal 9"),
        ("nothing", "failed with status 1: TypeError"),
    ],
)
def test_a_process_that_fails_is_told_to_the_client(server, small_scan, good_neighbour, target, words):
    with pytest.raises(GadgetError) as caught:
        play(server, small_scan(), chain(target))
    assert caught.value.gadget == "ExternalPython"
    assert f"site_gadget:{target} {words}" in caught.value.message


def test_what_the_process_prints_is_in_the_sessions_log(server, small_scan):
    _, session = play(server, small_scan(), chain("double"))
    assert "doubling" in (server.sessions / session / "worker.log").read_text()


def test_the_process_ends_with_a_session_that_is_given_up(server, small_scan, good_neighbour, process_of, eventually):
    scan = small_scan()
    with open_scan(chain("hangs"), scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        eventually(lambda: process_of("hangs"))
        opened.abort()
        eventually(lambda: not process_of("hangs"))


def test_a_process_that_does_not_connect_holds_up_no_other_session(
    server, small_scan, good_neighbour, raw_client, process_of, eventually
):
    scan = small_scan()
    raw_client.say(Open(config=chain("too_late"), header=scan.header))
    eventually(lambda: process_of("too_late"))
    assert len(play(server, scan, chain("double"))[0]) == 2
    os.kill(process_of("too_late"), signal.SIGKILL)


def test_a_client_cannot_name_any_module_it_likes(server, small_scan):
    for module in ("os", "gadgetron.examples", "../site_gadget"):
        with pytest.raises(ConfigError):
            open_scan(chain("system", module=module), small_scan().header, server=server.address)


def test_the_process_ends_with_a_command_that_is_killed(site, small_scan, tmp_path, process_of, eventually):
    scan = small_scan()
    write_acquisitions(tmp_path / "scan.h5", scan.header, scan.batches)
    (tmp_path / "chain.xml").write_text(chain("hangs"))
    command = [sys.executable, "-m", "echotrain.clients.main", "recon", str(tmp_path / "scan.h5")]
    command += ["--config", str(tmp_path / "chain.xml"), "--gadgets", str(site / "gadgets")]
    command += ["--output", str(tmp_path / "out.h5")]
    environment = {**os.environ, "ECHOTRAIN_EXTERNAL_PYTHON": str(site / "python")}
    (site / "hangs.pid").unlink(missing_ok=True)
    with subprocess.Popen(command, env=environment) as process:
        eventually(lambda: process_of("hangs"))
        process.kill()
    eventually(lambda: not process_of("hangs"))


def test_the_example_smooths_images(small_scan, tmp_path, capsys):
    scan = small_scan()
    write_acquisitions(tmp_path / "scan.h5", scan.header, scan.batches)
    made = []
    for config in ("rss", str(EXAMPLE / "smooth.xml")):
        arguments = ["recon", str(tmp_path / "scan.h5"), "--config", config, "--gadgets", str(EXAMPLE)]
        assert main([*arguments, "--output", str(tmp_path / "out.h5")]) == 0, capsys.readouterr().err
        made.append([image for image in read_images(tmp_path / "out.h5") if isinstance(image, Image)])
    plain, smooth = made
    for image, before in zip(smooth, plain, strict=True):
        np.testing.assert_allclose(image.data.mean(), before.data.mean(), rtol=1e-4)
        assert np.abs(np.diff(image.data)).sum() < 0.7 * np.abs(np.diff(before.data)).sum()
