"""Chains built, checked for fit and run, with gadgets made for the purpose."""

import sys
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest

from echotrain.gadgets import Gadget, parameter
from echotrain.mrd import Acquisitions, Header, Image, KSpace, Text, Waveforms, acquisition_headers
from echotrain.mrd.errors import ConfigError, DataError, GadgetError, ParameterError
from echotrain.server.chain import Chain, build_chain
from echotrain.server.chain_xml import parse_chain
from echotrain.server.registry import Registry

HEADER = Header(xml=b"")
LINES = Acquisitions(acquisition_headers(5, 2, 7), np.ones((5, 2, 7), np.complex64))


class ToImage(Gadget[Acquisitions, Image]):
    def process(self, lines, /):
        return [Image(np.full((1, 1, 2, 3), float(len(lines)), np.float32))]


class Negate(Gadget[Image, Image]):
    def process(self, image, /):
        yield image.with_data(-image.data)


class ToKSpace(Gadget[Acquisitions, KSpace]):
    def process(self, lines, /):
        return []


class Hold(Gadget[Acquisitions, Acquisitions]):
    def start(self, header, /):
        self.held = []

    def process(self, lines, /):
        self.held.append(lines)

    def finish(self):
        yield from self.held


class Tuned(Gadget[Acquisitions, Acquisitions]):
    width: int = parameter(3, "Width.", low=1, high=9)
    strength: float = parameter(0.5, "Strength.")
    mode: Literal["soft", "hard"] = parameter("soft", "Mode.")
    axes: tuple[Literal["x", "y"], ...] = parameter(("x",), "Axes.")
    loud: bool = parameter(False, "Loud.")

    def process(self, lines, /):
        return [lines]


@pytest.fixture
def build(monkeypatch):
    """`build(xml)` with the gadgets of this file."""
    own = {cls.__name__: cls for cls in (ToImage, Negate, ToKSpace, Hold, Tuned)}
    monkeypatch.setattr(Registry, "gadgets", own)
    return lambda xml: build_chain(parse_chain(xml), Registry())


def run(chain, *items):
    return list(chain.run(HEADER, items))


def test_items_go_through_all_gadgets_and_come_out_as_they_are_made():
    images = run(Chain("c", [ToImage(), Negate()]), LINES, LINES[:2])
    assert [float(image.data[0, 0, 0, 0]) for image in images] == [-5.0, -2.0]


def test_what_a_gadget_does_not_take_passes_it_by_in_order():
    text, waveforms = Text("hello"), Waveforms(np.zeros(1), np.zeros((1, 1, 1), np.uint32))
    first, *others, last = run(Chain("c", [ToImage(), Negate()]), LINES, text, waveforms, LINES)
    assert others == [text, waveforms]
    assert isinstance(first, Image)
    assert isinstance(last, Image)


def test_what_a_gadget_holds_goes_through_those_after_it_at_the_end():
    chain = Chain("c", [Hold(), Hold(), ToImage()])
    chain.start(HEADER)
    assert list(chain.process(LINES)) == []
    held = [given for item, at in chain.finish(0) for given, _ in chain.process(item, at)]
    assert [type(item) for item in held] == [Image]


def test_a_chain_run_in_two_stages_gives_the_same():
    chain = Chain("c", [Hold(), ToImage(), Negate()])
    assert chain.stages == [0, 0, 1]
    chain.start(HEADER)
    between = [*chain.process(LINES, stage=0), *chain.finish(0)]
    assert [float(image.data[0, 0, 0, 0]) for image, _ in between] == [5.0]
    given = [given for item, at in between for given, _ in chain.process(item, at)]
    assert list(chain.finish(1)) == []
    assert [float(image.data[0, 0, 0, 0]) for image in given] == [-5.0]


@pytest.mark.parametrize(
    ("gadgets", "words"),
    [
        ([], ["no gadgets"]),
        ([ToImage, ToKSpace], ["ToKSpace", "takes Acquisitions", "only Image and Waveforms"]),
        ([Hold, Negate], ["Negate", "takes Image", "Acquisitions"]),
        ([ToKSpace], ["ToKSpace", "ends with KSpace", "FourierTransform"]),
    ],
)
def test_gadgets_that_do_not_fit_are_refused_before_any_data(gadgets, words):
    with pytest.raises(ConfigError) as caught:
        Chain("c", [gadget() for gadget in gadgets])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_chain_of_image_gadgets_takes_images():
    image = Image(np.ones((1, 1, 2, 3), np.float32))
    (negated,) = run(Chain("c", [Negate()]), image)
    np.testing.assert_array_equal(negated.data, -image.data)


def test_parameters_come_as_text_and_are_typed(build):
    (gadget,) = build(
        '<chain><gadget name="Tuned" width="4" strength="1e-3" mode="hard" axes="x,y" loud="yes"/></chain>'
    ).gadgets
    assert (gadget.width, gadget.strength, gadget.mode, gadget.axes, gadget.loud) == (
        4,
        0.001,
        "hard",
        ("x", "y"),
        True,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"widht": "4"}, ["'widht'", "did you mean width?"]),
        ({"width": "wide"}, ["width='wide'", "an integer"]),
        ({"width": "2.5"}, ["width='2.5'", "an integer"]),
        ({"width": "0"}, ["width='0'", "at least 1"]),
        ({"width": "10"}, ["width='10'", "at most 9"]),
        ({"strength": "nan"}, ["strength='nan'", "a number"]),
        ({"mode": "sofd"}, ["mode='sofd'", "soft, hard"]),
        ({"axes": "x z"}, ["axes='x z'", "x, y"]),
        ({"loud": "maybe"}, ["loud='maybe'", "true or false"]),
        ({"width": "0", "modus": "soft"}, ["width='0'", "'modus'", "did you mean mode?"]),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_what_was_wanted(build, given, words):
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items())
    with pytest.raises(ParameterError) as caught:
        build(f'<chain><gadget name="Tuned" {attributes}/></chain>')
    assert caught.value.gadget == "Tuned"
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_everything_that_is_wrong_with_a_chain_is_told_at_once(build):
    with pytest.raises(ConfigError) as caught:
        build('<chain><gadget name="Tunned"/><gadget name="Tuned" width="x"/><gadget name="Tuned" mode="x"/></chain>')
    for word in ("'Tunned'", "did you mean Tuned?", "width='x'", "mode='x'"):
        assert word in str(caught.value)


class Fails(Gadget[Acquisitions, Acquisitions]):
    place: str = parameter("process", "Where it fails.")
    error: str = parameter("ValueError", "With what.")

    def fail(self, place):
        if place == self.place:
            if self.error == "exit":
                sys.exit(3)
            raise {"ValueError": ValueError("seven is wrong"), "DataError": DataError("two many")}[self.error]

    def connect(self, following, /):
        self.fail("connect")

    def start(self, header, /):
        self.fail("start")

    def process(self, lines, /) -> Iterator[Acquisitions]:
        yield lines
        self.fail("process")

    def finish(self):
        self.fail("finish")


@pytest.mark.parametrize("place", ["connect", "start", "process", "finish"])
def test_whatever_a_gadget_raises_names_it_with_file_and_line(place):
    with pytest.raises(GadgetError) as caught:
        run(Chain("c", [Hold(), Fails(place=place)]), LINES)
    assert caught.value.gadget == "Fails"
    assert "ValueError: seven is wrong" in caught.value.message
    assert "test_chain.py:" in caught.value.message
    assert "Traceback" in caught.value.detail


def test_errors_of_ours_keep_their_kind_and_gain_the_gadget():
    with pytest.raises(DataError, match="Fails: two many"):
        run(Chain("c", [Fails(error="DataError")]), LINES)


def test_a_gadget_that_calls_exit_is_an_error_like_any_other():
    with pytest.raises(GadgetError, match="Fails: SystemExit: 3"):
        run(Chain("c", [Fails(error="exit")]), LINES)


def test_a_gadget_that_gives_what_its_class_line_does_not_say_is_told_so():
    class Lies(Gadget[Acquisitions, Image]):
        def process(self, lines, /):
            return [lines]

    with pytest.raises(GadgetError, match="Lies: gave Acquisitions, but its class line says Image"):
        run(Chain("c", [Lies()]), LINES)


def test_a_gadget_may_return_its_one_item():
    class Whole(Gadget[Acquisitions, Acquisitions]):
        def process(self, lines, /):
            return lines

    (given,) = run(Chain("c", [Whole()]), LINES)
    assert given is LINES


def test_a_gadget_may_always_give_text():
    class Talks(Gadget[Acquisitions, Image]):
        def process(self, lines, /):
            return [Text(f"{len(lines)} lines")]

    assert run(Chain("c", [Talks()]), LINES) == [Text("5 lines")]


def test_the_chain_says_which_gadget_runs():
    chain, marks = Chain("c", [Hold(), ToImage()]), []
    chain.entered = marks.append
    run(chain, LINES)
    assert marks[0] == 0
    assert marks[-1] == 1
    assert set(marks) == {0, 1}
