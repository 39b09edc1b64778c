"""The page on methods: its snippet runs, its chains exist, and pictures, errors and messages are what chains give."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.simulate import Scan
from echotrain.mrd import Image, Text
from echotrain.mrd.errors import DataError
from echotrain.server.configs import config_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "methods.md").read_text()
QUOTES = [" ".join(block.replace("\n>", " ").split()) for block in re.findall(r"^> ((?:.+\n)(?:>.*\n)*)", PAGE, re.M)]


@pytest.fixture(scope="module")
def script():
    """The script that makes the pictures."""
    spec = importlib.util.spec_from_file_location("method_pictures", ROOT / "examples" / "method_pictures.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_snippet_runs_and_its_images_are_near_the_whole_one():
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S)[1], names)
    assert set(names["errors"]) == {"grappa", "sense", "cg_sense", "spirit", "pocs"}
    assert max(names["errors"].values()) < 0.06


def test_every_link_leads_somewhere():
    paths = re.findall(r"\]\(([\w./]+)\)", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not (DOCS / path).is_file()] == []
    headings = re.findall(r"^## (.+)$", PAGE, re.M)
    sections = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= sections


def test_the_chains_of_the_page_are_those_that_ship(script):
    linked = set(re.findall(r"gadgets/configs/(\w+)\.xml", PAGE))
    assert linked == chains(script)
    assert linked <= set(config_names())


def test_pictures_are_those_of_the_script_and_small(script):
    files = sorted((DOCS / "pictures").iterdir())
    assert [path.stem for path in files] == sorted(script.METHODS) == sorted(NAMES)
    assert all(path.stat().st_size < 40_000 for path in files)
    assert all(f"(pictures/{path.name})" in PAGE for path in files)


NAMES = ["fft", "adaptive", "partial_fourier", "grappa", "grappa_unfiltered", "tgrappa", "compressed", "sense"]
NAMES += ["cg_sense", "linear_spirit", "l1_spirit", "cs_tv", "cs_wavelet", "cs_low_rank"]


@pytest.mark.parametrize("name", NAMES)
def test_errors_and_pictures_are_what_the_chain_gives(script, name):
    picture, error = script.compared(script.METHODS[name])
    shown = name.split("_unfiltered")[0]
    row = re.search(rf"^\| \[(.*\]\(#{shown}\)|`{shown}`\]).*$", PAGE, re.M)[0]
    stated = [float(figure) / 100 for figure in re.findall(r"([\d.]+)%", row)]
    assert min(abs(error - figure) for figure in stated) < 0.002
    drawn = np.asarray(PIL.Image.open(DOCS / "pictures" / f"{name}.png"))
    np.testing.assert_array_equal(drawn[:, :128], picture[:, :128])
    assert np.abs(drawn.astype(float) - picture).mean() < 1


def irregular(head):
    return np.isin(head["idx"]["kspace_encode_step_1"], [0, 3, 5, 8, 12, 13, *range(16, 32), 35, 37, 42, 47])


def chains(script):
    return {method.chain for method in script.METHODS.values()}


@pytest.fixture(scope="module")
def said(script):
    """Everything that the page's chains say of scans that do not suit them."""
    bare = Scan(matrix=(40, 48), coils=6, noise=0.01, acceleration=3, calibration=0)
    few, half, whole = (
        replace(bare, calibration=4),
        Scan(matrix=48, partial_fourier=0.52),
        replace(bare, acceleration=1),
    )
    frames = replace(bare, acceleration=4, repetitions=5)
    methods = [script.Method(chain=name, scan=scan) for name in chains(script) for scan in (bare, few, half)]
    methods += [script.Method(chain=name, scan=whole, keep=irregular) for name in ("Generic_Cartesian_Grappa", "sense")]
    methods.append(script.Method(chain=script.METHODS["tgrappa"].chain, scan=frames, keep=script.in_turn))
    texts = []
    for method in methods:
        header, lines = script.acquired(method)
        try:
            texts += [item.text for item in reconstruct(lines, header, method.chain) if isinstance(item, Text)]
        except DataError as error:
            texts.append(str(error))
    return texts


@pytest.mark.parametrize("quote", QUOTES)
def test_chains_say_what_the_page_quotes(said, quote):
    pattern = ".*".join(map(re.escape, quote.split("...")))
    assert any(re.fullmatch(pattern, text) for text in said), said


def test_chains_for_any_pattern_give_an_image_of_irregular_lines(script):
    scan = Scan(matrix=(40, 48), coils=6, noise=0.01)
    for chain in ("cg_sense", "linear_spirit", "l1_spirit"):
        header, lines = script.acquired(script.Method(chain=chain, scan=scan, keep=irregular))
        assert any(isinstance(item, Image) for item in reconstruct(lines, header, chain))
