"""Branches of a chain on a real server: the images of each are those of a chain of its own, bit for bit."""

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.clients.main import main
from echotrain.mrd import Image, Text, Waveforms
from echotrain.mrd.errors import ConfigError, GadgetError
from echotrain.mrd.records import WAVEFORM_HEADER

pytestmark = pytest.mark.usefixtures("bounded")

LINES = '<gadget name="Prewhiten"/><gadget name="RemoveOversampling"/>'
COLLECT = '<gadget name="CollectKSpace"/>'
TRANSFORM = '<gadget name="FourierTransform"/>'
SUM = '<gadget name="CombineCoils"/>'
MAPS = '<gadget name="CombineCoils" method="adaptive"/><gadget name="ComplexParts" parts="magnitude phase"/>'
FORKS = {
    "lines": ("", LINES + COLLECT + TRANSFORM),
    "collection": (LINES, COLLECT + TRANSFORM),
    "k-space": (LINES + COLLECT, TRANSFORM),
    "images": (LINES + COLLECT + TRANSFORM, ""),
}


def parallel(**branches):
    return "<parallel>" + "".join(f'<branch name="{k}">{xml}</branch>' for k, xml in branches.items()) + "</parallel>"


@pytest.fixture(scope="module")
def scan(small_scan):
    return small_scan(repetitions=2, noise=0.02)


@pytest.fixture(scope="module")
def play(server, scan):
    """`play(gadgets, messages)`: everything that a chain gives for a scan."""

    def run(gadgets, messages=None, **parameters):
        config = f"<chain>{gadgets}</chain>"
        with open_scan(config, scan.header, server=server.address, parameters=parameters) as opened:
            for message in scan.batches if messages is None else messages:
                opened.send(message)
            opened.end()
            return list(opened.items())

    return run


def images(items):
    return [item for item in items if isinstance(item, Image)]


def of(branch, images):
    return [image for image in images if image.meta["Branch"] == branch]


def assert_alike(given, wanted, branch):
    assert len(given) == len(wanted) > 0
    for image, apart in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(image.data, apart.data)
        head = image.head.copy()
        head["attribute_string_len"] = apart.head["attribute_string_len"]
        assert head == apart.head
        assert image.meta == {**apart.meta, "Branch": branch}


@pytest.mark.parametrize("size", ["a line", "a batch"])
@pytest.mark.parametrize("fork", FORKS)
def test_branches_give_the_same_bits_as_chains_run_apart(play, scan, fork, size):
    messages = [line for batch in scan.batches for line in batch] if size == "a line" else scan.batches
    before, within = FORKS[fork]
    given = images(play(before + parallel(sum=within + SUM, maps=within + MAPS), messages))
    assert len(given) == 4 + 8
    for name, last in (("sum", SUM), ("maps", MAPS)):
        wanted = images(play(before + within + last, messages))
        assert_alike(of(name, given), wanted, name)


@pytest.mark.parametrize("fork", ["k-space", "images"])
def test_what_is_made_of_one_item_comes_together_in_the_order_of_the_branches(play, fork):
    before, within = FORKS[fork]
    given = images(play(before + parallel(sum=within + SUM, maps=within + MAPS)))
    assert [image.meta["Branch"] for image in given] == ["sum", "maps", "maps"] * 4


def test_branches_lie_within_branches_and_may_be_without_gadgets(play):
    inner = parallel(magnitude='<gadget name="ComplexParts"/>', complex="")
    given = images(play(LINES + COLLECT + TRANSFORM + parallel(sum=SUM, maps=MAPS.partition("/>")[0] + "/>" + inner)))
    assert [image.meta["Branch"] for image in given] == ["sum", "magnitude", "complex"] * 4
    alone = images(play(LINES + COLLECT + TRANSFORM + MAPS.partition("/>")[0] + "/>"))
    assert_alike(of("complex", given), alone, "complex")


def test_what_no_branch_takes_comes_once(play, scan):
    waveforms = Waveforms(np.zeros(1, WAVEFORM_HEADER), np.zeros((1, 1, 5), np.uint32))
    waveforms.head["channels"], waveforms.head["number_of_samples"] = 1, 5
    within = LINES + COLLECT + TRANSFORM + SUM
    middle = len(scan.batches) // 2
    messages = [*scan.batches[:middle], waveforms, Text("hello"), *scan.batches[middle:]]
    given = play(parallel(a=within, b=within), messages)
    passed = [item for item in given if isinstance(item, Waveforms) or item == Text("hello")]
    assert [type(item) for item in passed] == [Waveforms, Text]
    assert len(images(given)) == 8


def test_a_setting_reaches_the_branch_that_it_names(play):
    given = images(play(LINES + COLLECT + TRANSFORM + parallel(a=SUM, b=SUM), **{"b/CombineCoils.method": "adaptive"}))
    assert [image.data.dtype.kind for image in given] == ["f", "c"] * 4


def test_a_gadget_that_no_item_reaches_is_refused_with_its_branch(play):
    with pytest.raises(ConfigError) as caught:
        play(LINES + parallel(a=COLLECT + TRANSFORM, b=SUM))
    assert caught.value.gadget == "CombineCoils"
    assert "branch 'b'" in caught.value.message


@pytest.mark.parametrize("how", ["raise", "segfault"])
def test_a_gadget_that_fails_in_a_branch_is_named(play, how):
    tell = '<gadget name="TellLines"/>'
    stumble = f'<gadget name="Stumble" how="{how}" after="5"/>'
    with pytest.raises(GadgetError) as caught:
        play(parallel(well=tell, badly=stumble + tell))
    assert caught.value.gadget == "Stumble"


def test_check_shows_branches_and_what_lies_in_them(tmp_path, capsys):
    path = tmp_path / "two.xml"
    path.write_text(f'<chain name="two">{LINES + COLLECT + TRANSFORM + parallel(sum=SUM, raw="")}</chain>')
    assert main(["check", str(path), "--set", "sum/CombineCoils.width=7"]) == 0
    shown = capsys.readouterr().out.splitlines()
    at = shown.index("  parallel")
    assert shown[at + 1 : at + 3] == ["    branch sum", "      CombineCoils: Image to Image"]
    assert "        width = 7 pixels  (set)" in shown
    assert shown[-1] == "    branch raw: gives what it is given"
