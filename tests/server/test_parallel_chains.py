"""Parallel branches: what goes which way, in what order, and that each gives what it gives as a chain of its own."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest

from echotrain.gadgets import CollectKSpace, FourierTransform, Gadget, RemoveOversampling
from echotrain.mrd import Acquisitions, Header, Image, KSpace, Text, Waveforms, acquisition_headers, parse_header
from echotrain.mrd.errors import ConfigError, GadgetError
from echotrain.server.chain import Chain, build_chain
from echotrain.server.chain_xml import parse_chain
from echotrain.server.registry import Registry

HEADER = Header(xml=b"")
LINES = Acquisitions(acquisition_headers(5, 2, 7), np.ones((5, 2, 7), np.complex64))
WAVEFORMS = Waveforms(np.zeros(1), np.zeros((1, 1, 1), np.uint32))


class Scale(Gadget[Acquisitions, Acquisitions]):
    def __init__(self, by=1):
        self.by = by

    def process(self, lines, /):
        return lines.with_data(lines.data * self.by)


class ToImage(Gadget[Acquisitions, Image]):
    """The first sample of each line as an image of its own."""

    def process(self, lines, /) -> Iterator[Image]:
        for line in lines:
            yield Image(np.full((1, 1, 2, 3), line.data[0, 0, 0].real, np.float32), meta={"Made": "here"})


class Negate(Gadget[Image, Image]):
    def process(self, image, /):
        return image.with_data(-image.data)


class Hold(Gadget[Acquisitions, Acquisitions]):
    def start(self, header, /):
        self.held = []

    def process(self, lines, /):
        self.held.append(lines)

    def finish(self):
        yield from self.held


class HoldImages(Gadget[Image, Image]):
    def start(self, header, /):
        self.held = []

    def process(self, image, /):
        self.held.append(image)

    def finish(self):
        yield from self.held


class ToKSpace(Gadget[Acquisitions, KSpace]):
    def process(self, lines, /):
        return []


class KSpaceToImage(Gadget[KSpace, Image]):
    def process(self, kspace, /):
        return []


class CountWaveforms(Gadget[Waveforms, Waveforms | Text]):
    def process(self, waveforms, /):
        yield Text("a waveform")
        yield waveforms


def run(parts, *items):
    return list(Chain("c", parts).run(HEADER, items))


def told(items):
    """Images as branch and pixel, all else as it is."""
    return [(item.meta.get("Branch"), float(item.data.flat[0])) if isinstance(item, Image) else item for item in items]


def test_every_branch_is_given_every_item_and_what_leaves_them_comes_in_their_order():
    parts = [{"as they are": [ToImage()], "doubled": [Scale(2), ToImage()]}, Negate()]
    assert told(run(parts, LINES[:2], LINES[:1])) == [
        *[("as they are", -1.0)] * 2,
        *[("doubled", -2.0)] * 2,
        ("as they are", -1.0),
        ("doubled", -2.0),
    ]


def test_an_image_is_named_for_the_innermost_branch_and_nothing_else_of_it_changes():
    inner = {"inside": [Negate()], "untouched": []}
    given = run([ToImage(), {"outside": [inner, Negate()], "beside": []}], LINES[:1])
    assert told(given) == [("inside", 1.0), ("untouched", -1.0), ("beside", 1.0)]
    assert all(set(image.meta) == {"Made", "Branch"} for image in given)


def test_an_image_that_goes_through_two_parallel_parts_is_named_for_the_second():
    parts = [ToImage(), {"a": [], "b": [Negate()]}, {"c": [], "d": [Negate()]}]
    assert told(run(parts, LINES[:1])) == [("c", 1.0), ("d", -1.0), ("c", -1.0), ("d", 1.0)]


def test_an_image_keeps_what_it_holds_though_its_name_is_added():
    image = Image(np.ones((1, 1, 2, 3), np.float32), meta={"Made": "there"})
    one, other = run([{"a": [], "b": [Negate()]}], image)
    assert one.data is image.data
    assert other.head is image.head
    assert image.meta == {"Made": "there"}


def test_waveforms_and_texts_that_no_branch_takes_come_once_and_in_order():
    fork = {"a": [ToImage()], "b": [Scale(2), ToImage()]}
    given = run([{"c": [fork], "d": [ToImage()]}], LINES[:1], WAVEFORMS, Text("hello"), LINES[:1])
    assert [type(item).__name__ for item in given] == [*["Image"] * 3, "Waveforms", "Text", *["Image"] * 3]


def test_waveforms_and_texts_come_once_through_a_branch_without_gadgets():
    fork = {"a": [], "b": [], "c": [Scale(2)]}
    given = run([fork], WAVEFORMS, LINES, Text("hello"))
    assert [type(item).__name__ for item in given] == ["Waveforms", *["Acquisitions"] * 3, "Text"]


def test_waveforms_go_into_the_branches_that_take_them():
    given = run([{"a": [ToImage()], "b": [CountWaveforms()], "c": [CountWaveforms()]}], WAVEFORMS)
    assert given == [Text("a waveform"), WAVEFORMS] * 2


def test_a_branch_without_gadgets_gives_what_it_is_given():
    first, second = run([{"as they are": [], "doubled": [Scale(2)]}], LINES)
    assert first is LINES
    np.testing.assert_array_equal(second.data, 2 * LINES.data)


def test_what_branches_hold_goes_through_what_follows_at_the_end():
    parts = [Hold(), {"a": [ToImage(), HoldImages()], "b": [Hold(), Scale(2), ToImage()]}, HoldImages(), Negate()]
    assert told(run(parts, LINES[:1])) == [("b", -2.0), ("a", -1.0)]


def test_a_gadget_belongs_to_the_second_stage_if_it_takes_no_lines_or_one_before_it_does_not():
    recon = [Scale(), ToKSpace(), KSpaceToImage()]
    assert Chain("c", [Scale(), {"a": recon, "b": [Scale(), ToImage(), Negate()]}, Negate()]).stages == [
        *(0, 0, 0, 1),
        *(0, 0, 1),
        1,
    ]
    mixed = [Scale(), {"a": [], "b": [ToKSpace(), KSpaceToImage()]}, Scale(), Negate()]
    assert Chain("c", mixed).stages == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([{"a": [], "b": []}], ["no gadgets"]),
        ([{"a": [ToImage()], "b": [KSpaceToImage()]}], ["KSpaceToImage", "branch 'b'", "takes KSpace", "Acquisitions"]),
        ([{"a": [{"c": [Scale()], "d": [Negate()]}], "b": []}], ["Negate", "branch 'a/d'", "takes Image"]),
        ([ToImage(), {"a": [Negate()], "b": [Negate(), ToKSpace()]}], ["ToKSpace", "branch 'b'", "Image"]),
        ([{"a": [ToImage()], "b": [ToImage()]}, ToKSpace()], ["ToKSpace", "takes Acquisitions", "Image and Waveforms"]),
        ([{"a": [ToImage()], "b": [ToKSpace()]}, Negate()], ["ToKSpace", "ends with KSpace"]),
    ],
)
def test_gadgets_that_do_not_fit_are_refused_with_their_branch(parts, words):
    with pytest.raises(ConfigError) as caught:
        Chain("c", parts)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_comes_out_of_branches_is_all_that_they_give():
    parts = [{"a": [ToImage()], "b": [ToKSpace()], "c": []}, Negate(), KSpaceToImage(), Scale()]
    assert len(Chain("c", parts).gadgets) == 5


def test_a_gadget_that_fails_in_a_branch_is_named_and_so_is_what_ran():
    class Fails(Gadget[Acquisitions, Acquisitions]):
        def process(self, lines, /):
            raise ValueError("seven is wrong")

    chain, marks = Chain("c", [Scale(), {"a": [Scale(), ToImage()], "b": [Fails(), ToImage()]}]), []
    chain.start(HEADER)
    chain.entered = marks.append
    with pytest.raises(GadgetError, match="Fails: ValueError: seven is wrong"):
        list(chain.process(LINES))
    assert chain.gadgets[marks[-1]].__class__ is Fails
    assert set(marks) == {0, 1, 2, 3}


def test_a_gadget_sees_those_after_it_once_for_every_way_to_the_end():
    class Looks(Gadget[Acquisitions, Acquisitions]):
        def start(self, header, /):
            self.seen = getattr(self, "seen", [])

        def connect(self, following, /):
            self.seen = [*getattr(self, "seen", []), [type(gadget).__name__ for gadget in following]]

        def process(self, lines, /):
            return lines

    first, inside, last = Looks(), Looks(), Looks()
    run([first, {"a": [Scale(), inside], "b": [], "c": [{"d": [Hold()], "e": []}]}, last, ToImage()], LINES)
    end = ["Looks", "ToImage"]
    assert first.seen == [["Scale", "Looks", *end], end, ["Hold", *end], end]
    assert inside.seen == [end]
    assert last.seen == [["ToImage"]]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"a": [CollectKSpace(), FourierTransform()], "b": [CollectKSpace(), FourierTransform()]}, True),
        ({"a": [CollectKSpace(), FourierTransform()], "b": [Scale(), CollectKSpace(), FourierTransform()]}, False),
        ({"a": [Scale(), CollectKSpace(), FourierTransform()], "b": [CollectKSpace(), FourierTransform()]}, False),
        ({"a": [CollectKSpace(), FourierTransform()], "b": []}, False),
    ],
)
def test_lines_are_left_in_image_space_only_where_every_branch_allows_it(small_scan, parts, expected):
    class Spy(Gadget[Acquisitions, Acquisitions]):
        takes_image_space_readout = True
        seen: ClassVar = set()

        def process(self, lines, /):
            self.seen.add(lines.readout_in_image_space)
            return lines

    scan = small_scan()
    assert list(Chain("c", [RemoveOversampling(), Spy(), parts]).run(parse_header(scan.header), scan.batches))
    assert Spy.seen == {expected}


BEFORE = '<gadget name="Prewhiten"/><gadget name="RemoveOversampling"/>'
COLLECT = '<gadget name="CollectKSpace"/>'
TRANSFORM = '<gadget name="FourierTransform"/>'
ONE = '<gadget name="CombineCoils"/>'
OTHER = '<gadget name="CombineCoils" method="adaptive"/><gadget name="ComplexParts" parts="magnitude phase"/>'
FORKS = {
    "lines": ("", BEFORE + COLLECT + TRANSFORM),
    "collection": (BEFORE, COLLECT + TRANSFORM),
    "k-space": (BEFORE + COLLECT, TRANSFORM),
    "images": (BEFORE + COLLECT + TRANSFORM, ""),
}


def parallel(**branches):
    return "<parallel>" + "".join(f"<branch name='{k}'>{xml}</branch>" for k, xml in branches.items()) + "</parallel>"


def images(xml, scan, batches):
    chain = build_chain(parse_chain(f"<chain>{xml}</chain>"), Registry())
    return [item for item in chain.run(parse_header(scan.header), batches) if isinstance(item, Image)]


def in_pieces(batches, size):
    for batch in batches:
        for start in range(0, len(batch), size):
            yield batch[start : start + size]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("fork", FORKS)
def test_branches_give_the_same_bits_as_chains_run_apart(small_scan, fork, size):
    scan = small_scan(repetitions=2, noise=0.02)
    batches = list(in_pieces(scan.batches, size))
    before, within = FORKS[fork]
    given = images(before + parallel(one=within + ONE, other=within + OTHER), scan, batches)
    assert len(given) == 4 + 8
    for name, last in (("one", ONE), ("other", OTHER)):
        apart = images(before + within + last, scan, batches)
        mine = [image for image in given if image.meta["Branch"] == name]
        assert len(mine) == len(apart)
        for image, wanted in zip(mine, apart, strict=True):
            np.testing.assert_array_equal(image.data, wanted.data)
            assert image.data.dtype == wanted.data.dtype
            assert image.head == wanted.head
            assert image.meta == {**wanted.meta, "Branch": name}


def test_images_of_a_unit_come_together_in_the_order_of_the_branches(small_scan):
    scan = small_scan(repetitions=2)
    given = images(BEFORE + COLLECT + TRANSFORM + parallel(b=ONE, a=OTHER), scan, scan.batches)
    assert [image.meta["Branch"] for image in given] == ["b", "a", "a"] * 4
