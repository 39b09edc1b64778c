"""Noise that came as a measurement of its own: kept by a server, and found again after its restart."""

import re
import subprocess
import sys

import numpy as np
import pytest
from ismrmrd import xsd

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import (
    Acquisitions,
    Close,
    Decoder,
    Flag,
    HeaderText,
    Image,
    Text,
    encode,
    read_images,
    write_acquisitions,
)
from echotrain.mrd.errors import DataError
from echotrain.server.folder import all_sessions

pytestmark = pytest.mark.usefixtures("bounded")

SCAN = Scan(matrix=(24, 20), coils=5, slices=2, noise=0.02, correlation=0.6, repetitions=2)
NOISE_ID = "45_1_2_17"
STRICT = {"Prewhiten.missing": "fail"}


def renamed(header, measurement_id, noise_id="", coils=None):
    """The header with other names in it, and scanner and room where coils may be known by."""
    document = xsd.CreateFromDocument(header)
    information = document.measurementInformation
    information.measurementID = measurement_id or None
    if noise_id:
        information.measurementDependency = [
            xsd.measurementDependencyType(dependencyType="Noise", measurementID=noise_id)
        ]
    system = document.acquisitionSystemInformation
    system.stationName = "Room 5"
    if coils:
        labels = [system.coilLabel[coil] for coil in coils]
        system.coilLabel = [
            xsd.coilLabelType(coilNumber=22 - i, coilName=label.coilName) for i, label in enumerate(labels)
        ]
    return xsd.ToXML(document, encoding="utf-8").encode()


class Measured:
    """A scan whose noise lines were sent with it, and its parts."""

    def __init__(self):
        self.header, batches = simulate(SCAN)
        self.all = list(batches)
        self.noise = [batch for batch in self.all if batch.has(Flag.IS_NOISE_MEASUREMENT).all()]
        self.lines = [batch for batch in self.all if not batch.has(Flag.IS_NOISE_MEASUREMENT).any()]
        assert 0 < len(self.noise) == len(self.all) - len(self.lines)


@pytest.fixture(scope="module")
def measured():
    return Measured()


def of_coils(batches, coils):
    """The lines of some channels, in another order."""
    chosen = [Acquisitions(batch.head.copy(), np.ascontiguousarray(batch.data[:, coils])) for batch in batches]
    for batch in chosen:
        batch.head["active_channels"] = len(coils)
    return chosen


@pytest.fixture
def send(server):
    """`send(header, batches)`: what the server gives for a scan."""

    def run(header, batches, chain="fft", address=server.address, **parameters):
        with open_scan(chain, header, server=address, **parameters) as scan:
            for batch in batches:
                scan.send(batch)
            scan.end()
            return list(scan.items())

    return run


def images(items):
    return [item.data for item in items if isinstance(item, Image)]


def texts(items):
    return [item.text for item in items if isinstance(item, Text)]


def assert_same(made, wanted):
    assert len(made) == len(wanted) == 4
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max())


def test_the_noise_scan_outlives_the_server_and_whitens_as_if_it_had_been_in_the_file(
    running_server, tmp_path, measured, capsys
):
    files = {"noise": measured.noise, "scan": measured.lines, "together": measured.all}
    for name, batches in files.items():
        if name == "noise":
            header = renamed(measured.header, NOISE_ID)
        else:
            header = renamed(measured.header, f"45_1_2_{name}", NOISE_ID if name == "scan" else "")
        write_acquisitions(tmp_path / f"{name}.h5", header, batches)

    def replay(server, name):
        output = str(tmp_path / f"{name}_out.h5")
        arguments = ["--config", "fft", "--set", "Prewhiten.missing=fail", "--server", server.address]
        assert main(["replay", str(tmp_path / f"{name}.h5"), *arguments, "--output", output]) == 0
        return " ".join(capsys.readouterr().err.split())

    with running_server(tmp_path / "sessions") as server:
        told = replay(server, "noise")
    assert f"noise samples of {SCAN.coils} channels" in told
    assert "condition" in told
    assert f"for later scans that name measurement {NOISE_ID}" in told

    with running_server(tmp_path / "sessions") as server:
        told = replay(server, "scan")
        replay(server, "together")
    assert f"from measurement {NOISE_ID}" in told
    assert "s old" in told
    dependent, wanted = ([image.data for image in read_images(tmp_path / f"{n}_out.h5")] for n in ("scan", "together"))
    assert_same(dependent, wanted)

    places = ["--sessions", str(tmp_path / "sessions")]
    sessions = all_sessions(tmp_path / "sessions")
    assert main(["sessions", "list", *places]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [[session.id, "done"] for session in sessions]
    assert [line.split()[:2] for line in lines[3:]] == [["noise", NOISE_ID], ["noise", "45_1_2_together"]]
    assert all("old" in line and "5 channels" in line and "standard deviation" in line for line in lines[3:])
    shown = []
    for session in sessions[:2]:
        assert main(["sessions", "show", session.id, *places]) == 0
        shown.append(capsys.readouterr().out)
    assert f"noise kept  id={NOISE_ID}" in shown[0]
    assert f"noise  id={NOISE_ID}" in shown[1]
    assert "age=" in shown[1]

    again = str(tmp_path / "again.h5")
    assert main(["sessions", "retry", sessions[1].id, *places, "--output", again]) == 0
    assert_same([image.data for image in read_images(again)], wanted)
    capsys.readouterr()


def test_coils_in_another_order_are_matched_by_name(send, measured):
    send(renamed(measured.header, "order"), measured.noise)
    coils = [3, 0, 4, 2, 1]
    header = renamed(measured.header, "order 2", "order", coils)
    whitened = send(header, of_coils(measured.lines, coils), parameters=STRICT)
    # Whitening is by a triangular matrix, so that single channels differ by their order, but not the sum of squares.
    assert_same(images(whitened), images(send(renamed(measured.header, "order 3"), measured.all)))


def test_noise_without_an_id_is_found_by_scanner_and_coils(send, measured):
    coils = [4, 1, 2]
    noise, lines = of_coils(measured.noise, coils), of_coils(measured.lines, coils)
    told = send(renamed(measured.header, "", coils=coils), noise)
    assert "for later scans of these coils" in texts(told)[-1]
    whitened = send(renamed(measured.header, "unnamed 2", coils=coils), lines, parameters=STRICT)
    assert re.search(r"without an id, \d+ s old, found by its scanner and coils$", texts(whitened)[0])
    assert_same(images(whitened), images(send(renamed(measured.header, "unnamed 3", coils=coils), [*noise, *lines])))


def test_an_id_from_a_stranger_is_kept_and_found_like_any_other(send, server, measured):
    before = set(server.sessions.parent.rglob("*x*"))
    for strange in ("../../x", "/x", "x" * 10_000):
        send(renamed(measured.header, strange), measured.noise)
        told = send(renamed(measured.header, "y", strange), measured.lines, parameters=STRICT)
        assert f"from measurement {strange[:60]}" in texts(told)[0]
    assert set(server.sessions.parent.rglob("*x*")) - before <= set(server.sessions.rglob("*.xml"))


def test_noise_that_no_later_scan_could_find_is_told_to_be_lost(send, measured):
    header = renamed(measured.header, "").replace(b"stationName>", b"systemModel>")
    assert texts(send(header, measured.noise))[-1].startswith(
        "warning: Noise: not kept for later scans: the header has neither"
    )


def refused_and_passed(send, header, batches):
    """The words for lines that pass as they are, and the error where the chain does not want them."""
    passed = send(header, batches)
    with pytest.raises(DataError) as refused:
        send(header, batches, parameters=STRICT)
    assert refused.value.gadget == "Prewhiten"
    unwhitened = '<chain><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/>'
    unwhitened += '<gadget name="FourierTransform"/><gadget name="CombineCoils"/></chain>'
    assert_same(images(passed), images(send(header, batches, unwhitened)))
    return texts(passed), refused.value.message


def test_a_measurement_that_never_came_is_named_and_the_chain_chooses(send, measured):
    (warned,), refused = refused_and_passed(send, renamed(measured.header, "a", "never"), measured.lines)
    for words in (warned, refused):
        assert "noise of measurement never, which the header names, is not known here" in words
        assert "send both scans to one server" in words


def test_noise_of_other_coils_is_named_and_the_chain_chooses(send, measured):
    coils = [0, 1, 2]
    send(renamed(measured.header, "few", coils=coils), of_coils(measured.noise, coils))
    (warned,), refused = refused_and_passed(send, renamed(measured.header, "b", "few"), measured.lines)
    for words in (warned, refused):
        assert "noise from measurement few" in words
        assert "the noise lacks those of coils Simulated:1:C4, Simulated:1:C5" in words


def test_noise_whose_file_is_damaged_counts_as_absent(send, server, measured):
    before = set((server.sessions / "noise").glob("*"))
    send(renamed(measured.header, "hurt"), measured.noise)
    (path,) = set((server.sessions / "noise").glob("*")) - before
    path.write_bytes(path.read_bytes()[:-100])
    told, refused = refused_and_passed(send, renamed(measured.header, "c", "hurt"), measured.lines)
    assert f"the file of kept noise {path} is damaged" in told[0]
    assert "noise of measurement hurt, which the header names, is not known here" in told[1]
    assert "hurt" in refused
    path.unlink()


def test_without_a_server_the_client_is_told_where_noise_is_found(tmp_path, measured, capsys):
    write_acquisitions(tmp_path / "scan.h5", renamed(measured.header, "d", "elsewhere"), measured.lines)
    files = [str(tmp_path / "scan.h5"), "--config", "fft", "--output", str(tmp_path / "out.h5")]
    assert main(["recon", *files]) == 0
    assert "send both scans to one server" in capsys.readouterr().err
    assert main(["recon", *files, "--set", "Prewhiten.missing=fail"]) == 1
    assert "measurement elsewhere" in capsys.readouterr().err
    write_acquisitions(tmp_path / "scan.h5", renamed(measured.header, "d", "elsewhere"), measured.all)
    assert main(["recon", *files, "--set", "Prewhiten.missing=fail"]) == 0
    capsys.readouterr()


def test_a_pipe_gives_images_of_a_scan_with_noise_lines_and_keeps_no_noise(measured):
    records = [HeaderText(measured.header), *measured.all, Close()]
    command = [sys.executable, "-m", "echotrain.clients.main", "pipe", "--config", "fft"]
    stream = b"".join(bytes(encode(record)) for record in records)
    ended = subprocess.run(command, input=stream, capture_output=True, timeout=300, check=True)
    kinds = {type(item) for item in Decoder().feed(ended.stdout)}
    assert kinds == {HeaderText, Text, Image, Close}
