"""Sessions recorded between Gadgetron's own client and server decode, in both directions."""

import os
from pathlib import Path

import numpy as np
import pytest

from echotrain.mrd import (
    Acquisitions,
    Close,
    ConfigName,
    ConfigText,
    Decoder,
    Flag,
    HeaderText,
    Image,
    Query,
    Response,
    Text,
    encode,
    parse_header,
    read_images,
)
from echotrain.mrd.records import IMAGE_HEADER

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("ECHOTRAIN_DATA", ROOT.parent / "shared" / "data")) / "recordings"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings: {FOLDER} does not exist")

SESSIONS = {  # configuration, lines besides the one of noise, images
    "default_m64_c4_r2": (ConfigName, 128, 2),
    "grappa_m64_c4_a2_r4": (ConfigName, 160, 4),
    "script_m64_c4_a2_r4": (ConfigText, 160, 4),
}


STREAMS = [
    (name, direction) for name in [*SESSIONS, "query_info"] for direction in ("client_to_server", "server_to_client")
]


def items_of(name, direction, chunk=10_007):
    stream = (FOLDER / f"{name}.{direction}.bin").read_bytes()
    decoder = Decoder()
    items = [item for start in range(0, len(stream), chunk) for item in decoder.feed(stream[start : start + chunk])]
    decoder.close()
    return items, stream


@pytest.mark.parametrize("name", SESSIONS)
def test_what_the_client_sent_is_config_header_lines_close(name):
    config, n_lines, _ = SESSIONS[name]
    (first, header, *lines, close), _ = items_of(name, "client_to_server")
    assert isinstance(first, config)
    assert isinstance(header, HeaderText)
    assert close == Close()
    assert all(isinstance(batch, Acquisitions) for batch in lines)
    noise = np.concatenate([batch.has(Flag.IS_NOISE_MEASUREMENT) for batch in lines])
    assert noise.tolist() == [True] + [False] * n_lines
    assert {batch.data.shape[1:] for batch in lines} == {(4, 128)}
    encoding = parse_header(header.xml).encoding()
    assert encoding.encoded.matrix == (128, 64, 1)
    assert encoding.recon.matrix == (64, 64, 1)
    steps = np.concatenate([batch.head["idx"]["kspace_encode_step_1"] for batch in lines])
    assert set(steps.tolist()) <= set(range(64))
    assert np.bincount(steps[1:]).max() == SESSIONS[name][2]


@pytest.mark.parametrize("name", SESSIONS)
def test_what_the_client_sent_is_encoded_to_the_same_bytes(name):
    items, stream = items_of(name, "client_to_server")
    assert b"".join(bytes(encode(item)) for item in items) == stream


@pytest.mark.parametrize("name", SESSIONS)
def test_what_the_server_answered_is_images_and_close(name):
    *images, close = items_of(name, "server_to_client")[0]
    assert close == Close()
    assert all(isinstance(image, Image) for image in images)
    assert len(images) == SESSIONS[name][2]
    assert {image.data.shape for image in images} == {(1, 1, 64, 64)}


@pytest.mark.parametrize("name", SESSIONS)
def test_the_images_are_those_that_the_client_stored(name):
    received = [item for item in items_of(name, "server_to_client")[0] if isinstance(item, Image)]
    stored = list(read_images(FOLDER / f"{name}.out.h5"))
    assert len(stored) == len(received)
    for mine, theirs in zip(sorted(received, key=lambda image: int(image.head["image_index"])), stored, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
        for field in set(IMAGE_HEADER.names) - {"attribute_string_len"}:  # with and without the NUL
            np.testing.assert_array_equal(mine.head[field], theirs.head[field])
        assert mine.meta == theirs.meta


def test_the_questions_about_the_server_and_its_answers_decode():
    questions = [item for item in items_of("query_info", "client_to_server")[0] if isinstance(item, Query)]
    answers = items_of("query_info", "server_to_client")[0]
    assert [query.key for query in questions] == ["gadgetron::info"]
    (response,) = [item for item in answers if isinstance(item, Response)]
    assert response.correlation_id == questions[0].correlation_id
    assert "Gadgetron" in response.text
    assert not any(isinstance(item, Text) for item in answers)


def described(item):
    """All that an item holds, for comparison."""
    match item:
        case Acquisitions():
            return [(line.head.tobytes(), line.data.tobytes()) for line in item]
        case Image():
            return [(item.head.tobytes(), item.data.tobytes(), item.data.dtype, item.data.shape, item.meta)]
    return [item]


@pytest.mark.parametrize(("name", "direction"), STREAMS)
@pytest.mark.parametrize("chunk", [1, 7, 341, 65_537])
def test_a_recording_decodes_to_the_same_in_pieces_of_any_size(name, direction, chunk):
    """Pieces of one byte show it for a cut at every position: what stands before each is looked at then."""
    whole = items_of(name, direction, chunk=1 << 30)[0]
    pieces = items_of(name, direction, chunk)[0]
    assert [part for item in pieces for part in described(item)] == [part for item in whole for part in described(item)]
