"""The worked examples of a user's own gadgets run as their READMEs say."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, Text, read_images, write_acquisitions

pytestmark = pytest.mark.usefixtures("bounded")

EXAMPLES = Path(__file__).parents[2] / "examples"
OWN, SITE = EXAMPLES / "own_gadgets", EXAMPLES / "site_gadgets"


@pytest.fixture(scope="module")
def server(running_server, tmp_path_factory):
    """A server of a site that allows the package and has the folder, installed nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(OWN))
        options = ["--allow", "own_gadgets", "--gadgets", str(SITE)]
        with running_server(tmp_path_factory.mktemp("sessions"), *options) as running:
            yield running


def play(server, scan, chain, **options):
    with open_scan(chain, scan.header, server=server.address, **options) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return list(opened.items())


def images(items):
    return [item for item in items if isinstance(item, Image)]


@pytest.fixture
def scan(small_scan):
    return small_scan(noise=0.02)


def test_a_gadget_of_an_allowed_package_runs_by_its_path(server, scan):
    bright = (OWN / "bright.xml").read_text().replace('"Gamma"', '"own_gadgets.Gamma"')
    plain = images(play(server, scan, "fft"))
    for power in (0.5, 2.0):
        given = images(play(server, scan, bright, parameters={"Gamma.power": str(power)}))
        for image, before in zip(given, plain, strict=True):
            peak = before.data.max()
            np.testing.assert_allclose(image.data, peak * (before.data / peak) ** power, rtol=1e-4)
            assert image.data.dtype == np.float32


def test_a_gadget_of_a_sites_folder_runs_by_its_name(server, scan):
    chain = '<chain><gadget name="TellProgress" every="20"/><gadget name="Count"/></chain>'
    with open_scan(chain, scan.header, server=server.address) as opened:
        for batch in scan.batches:
            for line in batch:
                opened.send(line)
        opened.end()
        texts = [item.text for item in opened.items() if isinstance(item, Text)]
    counts = [int(match[1]) for text in texts if (match := re.match(r"(\d+) lines have come", text))]
    assert counts
    assert [count // 20 for count in counts] == sorted({count // 20 for count in counts})
    assert counts[-1] >= 40
    assert texts[-1].startswith("56 lines, ")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as `pip install` would leave it, made of what its pyproject.toml says."""
    project = tomllib.loads((OWN / "pyproject.toml").read_text())["project"]
    folder = tmp_path / "site" / "own_gadgets-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]" + "".join(f"\n{name} = {value}" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.syspath_prepend(OWN)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_makes_its_gadget_known_by_name(scan, tmp_path, capsys):
    write_acquisitions(tmp_path / "scan.h5", scan.header, scan.batches)
    assert main(["gadgets", "Gamma"]) == 0
    assert "power = '0.5'" in capsys.readouterr().out
    arguments = ["--config", str(OWN / "bright.xml"), "--set", "Gamma.power=0.7", "--output", str(tmp_path / "o.h5")]
    assert main(["recon", str(tmp_path / "scan.h5"), *arguments]) == 0
    assert len(list(read_images(tmp_path / "o.h5"))) == 2


def test_the_gadget_of_the_folder_is_listed(capsys):
    assert main(["gadgets", "TellProgress", "--gadgets", str(SITE)]) == 0
    assert "every = '100'  (integer, at least 1)" in capsys.readouterr().out


@pytest.mark.parametrize("folder", [OWN, SITE])
def test_the_readme_names_files_and_gadgets_that_are_there(folder):
    text = (folder / "README.md").read_text()
    for path in re.findall(r"examples/[\w./]+", text):
        assert (EXAMPLES.parent / path).exists(), path
