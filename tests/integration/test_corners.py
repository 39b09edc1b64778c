"""Scans that are odd but not wrong, and some that are, at the corners of what a server is sent."""

import numpy as np
import pytest

from echotrain.clients.client import open_scan
from echotrain.mrd import (
    Acquisitions,
    Array,
    Close,
    Flag,
    HeaderText,
    Image,
    Text,
    Waveforms,
    acquisition_headers,
    encode,
)
from echotrain.mrd.errors import DataError, EchotrainError
from echotrain.mrd.records import WAVEFORM_HEADER

pytestmark = pytest.mark.usefixtures("bounded")

COUNT = '<chain><gadget name="Count"/></chain>'
NEGATE = '<chain><gadget name="Negate"/></chain>'


@pytest.fixture
def play(server, small_scan):
    """`play(items, chain)`: everything that comes of sending `items`."""

    def run(items, chain="rss", header=None):
        with open_scan(chain, header or small_scan().header, server=server.address) as opened:
            for item in items:
                opened.send(item)
            opened.end()
            return list(opened.items())

    return run


def images(items):
    return [item for item in items if isinstance(item, Image)]


@pytest.mark.parametrize("chain", ["rss", "fft", "adaptive", "short", NEGATE])
def test_an_empty_scan_gives_no_images(play, chain):
    assert images(play([], chain)) == []


def test_an_empty_scan_is_counted(play):
    assert play([], COUNT) == [Text("0 lines, 0 bytes")]


@pytest.mark.parametrize("chain", ["rss", "fft", "short"])
def test_lines_of_noise_alone_give_no_images(play, small_scan, chain):
    (noise,) = [batch for batch in small_scan(noise=0.02).batches if batch.has(Flag.IS_NOISE_MEASUREMENT).any()]
    assert images(play([noise], chain)) == []


@pytest.mark.parametrize("chain", ["rss", "fft", "adaptive", "short"])
def test_one_line_gives_an_image_or_an_error_that_says_why(play, small_scan, chain):
    try:
        given = images(play([small_scan().batches[0][7:8]], chain))
    except DataError as error:
        assert error.gadget  # noqa: PT017 - either is right
    else:
        assert {image.data.shape[1:] for image in given} == {(1, 20, 24)}
        assert all(np.isfinite(image.data).all() for image in given)


def test_images_go_through_a_chain_of_image_gadgets(play):
    sent = [Image(np.full((2, 1, 4, 5), value, np.float32), meta={"name": "x"}) for value in (1, 2)]
    given = play(sent, NEGATE)
    assert [float(image.data.max()) for image in given] == [-1, -2]
    assert [image.meta for image in given] == [{"name": "x"}] * 2
    assert {image.data.shape for image in given} == {(2, 1, 4, 5)}


def test_images_pass_a_chain_of_lines_by(play, small_scan):
    image = Image(np.arange(20, dtype=np.int16).reshape(1, 1, 4, 5))
    first, *_ = play([image, *small_scan().batches], '<chain><gadget name="RemoveOversampling"/></chain>')
    np.testing.assert_array_equal(first.data, image.data)


def test_texts_waveforms_and_arrays_pass_by_in_order(play, small_scan):
    head = np.zeros(2, WAVEFORM_HEADER)
    head["channels"], head["number_of_samples"], head["waveform_id"] = 3, 4, [0, 2]
    waveforms = Waveforms(head, np.arange(24, dtype=np.uint32).reshape(2, 3, 4))
    array = Array(np.arange(6, dtype=np.complex64).reshape(1, 2, 3))
    text = Text("caf\u00e9")
    lines = small_scan().batches[0]
    items = play([text, waveforms, lines[:20], array, lines[20:], text])
    kinds = [type(item) for item in items]
    assert kinds == [Text, Waveforms, Image, Array, Image, Text]
    assert (items[0], items[-1]) == (text, text)
    np.testing.assert_array_equal(items[1].data, waveforms.data)
    np.testing.assert_array_equal(items[1].head["waveform_id"], [0, 2])
    np.testing.assert_array_equal(items[3].data, array.data)


def test_lines_before_and_after_a_text_are_one_scan(play, small_scan):
    lines = small_scan().batches[0]
    items = play([lines[:9], Text("half way"), lines[9:20]])
    assert [type(item) for item in items] == [Text, Image]


def test_the_same_repetition_twice_gives_its_image_twice_or_says_so(play, small_scan):
    lines = small_scan(slices=1).batches[0]
    given = play([lines, lines], header=small_scan(slices=1).header)
    assert len(images(given)) == 2
    first, second = images(given)
    np.testing.assert_allclose(first.data, second.data, atol=1e-6 * first.data.max())
    assert any("came after it was given on" in item.text for item in given if isinstance(item, Text))


@pytest.mark.parametrize("shape", [(3, 0), (0, 48)])
def test_lines_without_samples_are_counted(play, shape):
    lines = Acquisitions(acquisition_headers(4, *shape), np.zeros((4, *shape), np.complex64))
    (text,) = play([lines], COUNT)
    assert text.text.startswith("4 lines")


@pytest.mark.parametrize("shape", [(3, 0), (0, 48)])
def test_lines_without_samples_make_no_image_and_no_crash(play, shape):
    lines = Acquisitions(acquisition_headers(4, *shape), np.zeros((4, *shape), np.complex64))
    try:
        given = images(play([lines]))
    except EchotrainError as error:
        assert error.gadget  # noqa: PT017 - either is right
        assert "worker process" not in error.message  # noqa: PT017
    else:
        assert given == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_end_in_an_image_or_an_error_and_no_crash(play, small_scan, value):
    lines = small_scan(slices=1).batches[0]
    data = lines.data.copy()
    data[3, 1, 5] = value
    try:
        assert len(images(play([lines.with_data(data)], "short", small_scan(slices=1).header))) == 1
    except EchotrainError as error:
        assert error.gadget  # noqa: PT017 - either is right
        assert "worker process" not in error.message  # noqa: PT017


def test_a_whole_stream_with_header_and_end_in_one_message(play, small_scan):
    scan = small_scan()
    stream = b"".join(bytes(encode(item)) for item in (HeaderText(scan.header), *scan.batches, Close()))
    assert len(images(play([stream]))) == 2


def test_bytes_cut_anywhere_are_one_stream(play, small_scan):
    stream = b"".join(bytes(encode(batch)) for batch in small_scan().batches)
    pieces = [stream[start : start + 777] for start in range(0, len(stream), 777)]
    assert len(images(play(pieces))) == 2


def test_messages_without_bytes_change_nothing(play, small_scan):
    (batch,) = small_scan().batches
    assert len(images(play([b"", batch[:11], b"", batch[11:], b""]))) == 2


def test_the_header_may_be_text_in_any_encoding_that_it_says(play, small_scan):
    scan = small_scan()
    header = scan.header.decode().partition("?>")[2]
    assert len(images(play(scan.batches, header=header))) == 2
    utf16 = ('<?xml version="1.0" encoding="utf-16"?>' + header).encode("utf-16")
    assert len(images(play(scan.batches, header=utf16))) == 2
