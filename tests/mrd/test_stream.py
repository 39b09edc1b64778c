"""The byte stream: what is encoded comes out again, whatever the pieces in which it arrives."""

import struct
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from echotrain.mrd import (
    Acquisitions,
    Array,
    Close,
    ConfigName,
    ConfigText,
    Decoder,
    DependencyQuery,
    Dicom,
    ErrorText,
    HeaderText,
    Image,
    Query,
    Response,
    Text,
    Waveforms,
    acquisition_headers,
    decode,
    encode,
    image_header,
)
from echotrain.mrd.errors import StreamError
from echotrain.mrd.messages import DEPRECATED_IDS
from echotrain.mrd.records import ACQUISITION_HEADER, DATA_TYPES, IMAGE_HEADER, WAVEFORM_HEADER

COUNTS = ("number_of_samples", "active_channels", "trajectory_dimensions")


def lines_of(n_lines, n_channels, n_samples, n_dims=0, seed=0):
    """Lines with random bytes wherever the protocol lets them be."""
    rng = np.random.default_rng(seed)
    head = np.frombuffer(rng.bytes(n_lines * ACQUISITION_HEADER.itemsize), ACQUISITION_HEADER).copy()
    head["flags"] &= np.uint64(0xFF0F_FFFF_FFFF_FFFF)  # not compressed
    for name, count in zip(COUNTS, (n_samples, n_channels, n_dims), strict=True):
        head[name] = count
    data = np.frombuffer(rng.bytes(8 * n_lines * n_channels * n_samples), np.complex64)
    trajectory = np.frombuffer(rng.bytes(4 * n_lines * n_samples * n_dims), np.float32)
    return Acquisitions(
        head,
        data.reshape(n_lines, n_channels, n_samples),
        trajectory.reshape(n_lines, n_samples, n_dims) if n_dims else None,
    )


def waveforms_of(n, n_channels, n_samples, seed=0):
    rng = np.random.default_rng(seed)
    head = np.frombuffer(rng.bytes(n * WAVEFORM_HEADER.itemsize), WAVEFORM_HEADER).copy()
    head["channels"], head["number_of_samples"] = n_channels, n_samples
    return Waveforms(head, rng.integers(0, 1 << 32, (n, n_channels, n_samples), np.uint32))


def image_of(data, meta=None, seed=0):
    head = np.frombuffer(np.random.default_rng(seed).bytes(IMAGE_HEADER.itemsize), IMAGE_HEADER)[0, ...].copy()
    return Image(data, head, meta or {})


def stream_of(items):
    return b"".join(bytes(encode(item)) for item in items)


def decoded(stream, *cuts):
    """The items of `stream` when it arrives cut at `cuts`."""
    decoder = Decoder()
    edges = [0, *cuts, len(stream)]
    items = [item for a, b in pairwise(edges) for item in decoder.feed(stream[a:b])]
    decoder.close()
    return items


def huge(dtype, **fields):
    """A header that announces more than anyone sends."""
    head = np.zeros((), dtype)
    for name, value in fields.items():
        head[name] = value
    return head.tobytes()


def fields_of(array, names):
    return [array[name].tobytes() for name in names]


def small_session():
    return [
        ConfigName("default.xml"),
        HeaderText(b"<ismrmrdHeader/>"),
        Text("begin"),
        lines_of(2, 2, 3, seed=1),
        waveforms_of(1, 2, 5, seed=2),
        lines_of(3, 2, 3, n_dims=2, seed=3),
        image_of(np.arange(24, dtype=np.uint16).reshape(1, 2, 3, 4), {"DataRole": "Image"}),
        Array(np.arange(6, dtype=np.float64).reshape(2, 3)),
        Query(7, "ismrmrd::version"),
        Close(),
    ]


texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
extents = st.integers(1, 5)


@given(extents, st.integers(0, 4), st.integers(0, 6), st.integers(0, 3), st.integers(0, 1000))
def test_lines_come_out_as_they_went_in(n_lines, n_channels, n_samples, n_dims, seed):
    lines = lines_of(n_lines, n_channels, n_samples, n_dims, seed)
    (out,) = decoded(stream_of([lines]))
    assert out.head.tobytes() == lines.head.tobytes()
    assert out.data.shape == lines.data.shape
    assert out.data.tobytes() == lines.data.tobytes()
    if n_dims:
        assert out.trajectory.shape == lines.trajectory.shape
        assert out.trajectory.tobytes() == lines.trajectory.tobytes()
    else:
        assert out.trajectory is None


@given(extents, st.integers(0, 4), st.integers(0, 6), st.integers(0, 1000))
def test_waveforms_come_out_as_they_went_in(n, n_channels, n_samples, seed):
    waveforms = waveforms_of(n, n_channels, n_samples, seed)
    (out,) = decoded(stream_of([waveforms]))
    names = WAVEFORM_HEADER.names
    assert fields_of(out.head, names) == fields_of(waveforms.head, names)
    np.testing.assert_array_equal(out.data, waveforms.data)


metas = st.dictionaries(
    st.text("abcXYZ_", min_size=1, max_size=9),
    st.one_of(
        st.text("abc <&>\"'é", max_size=8),
        st.lists(st.text("de<&>", min_size=1, max_size=4), min_size=2, max_size=3),
    ),
    max_size=4,
)


@given(
    hnp.arrays(
        st.sampled_from(list(DATA_TYPES.values())),
        hnp.array_shapes(min_dims=4, max_dims=4, max_side=4),
        fill=st.just(1),
    ),
    metas,
    st.integers(0, 1000),
)
def test_images_come_out_as_they_went_in(data, meta, seed):
    image = image_of(data, meta, seed)
    (out,) = decoded(stream_of([image]))
    assert out.data.dtype == data.dtype
    assert out.data.shape == data.shape
    assert out.data.tobytes() == data.tobytes()
    assert out.meta == meta
    described = {"version", "data_type", "matrix_size", "channels", "attribute_string_len"}
    names = [name for name in IMAGE_HEADER.names if name not in described]
    assert fields_of(out.head, names) == fields_of(image.head, names)
    assert out.head["matrix_size"].tolist() == list(data.shape[:0:-1])


@given(
    hnp.arrays(st.sampled_from(list(DATA_TYPES.values())), hnp.array_shapes(min_dims=0, max_side=4), fill=st.just(2))
)
def test_arrays_come_out_as_they_went_in(data):
    (out,) = decoded(stream_of([Array(data)]))
    assert out.data.dtype == data.dtype
    assert out.data.shape == data.shape
    assert out.data.tobytes() == data.tobytes()


@given(texts, st.binary(max_size=30), st.integers(0, 2**64 - 1))
def test_small_items_come_out_as_they_went_in(text, raw, number):
    items = [
        ConfigName(text),
        ConfigText(text),
        HeaderText(raw.rstrip(b"\0")),
        Text(text),
        Query(number, text),
        Response(number, text),
        ErrorText(text),
        Dicom(raw, text, text),
        DependencyQuery(text),
        Close(),
    ]
    assert decoded(stream_of(items)) == items


def test_a_session_decodes_to_the_same_wherever_it_is_cut():
    stream = stream_of(small_session())
    kinds = [type(item) for item in small_session()]
    for cut in range(len(stream) + 1):
        items = decoded(stream, cut)
        assert stream_of(items) == stream, f"cut at byte {cut}"
        distinct = [type(item) for i, item in enumerate(items) if not i or type(item) is not type(items[i - 1])]
        assert distinct == kinds, f"cut at byte {cut}"


def test_a_session_decodes_to_the_same_byte_by_byte():
    stream = stream_of(small_session())
    assert stream_of(decoded(stream, *range(len(stream)))) == stream


def test_items_stay_true_after_more_bytes_were_fed():
    first, second = lines_of(2, 2, 3, seed=8), lines_of(4, 2, 3, seed=9)
    stream, rest = stream_of([first]), stream_of([second])
    decoder = Decoder()
    kept = list(decoder.feed(stream[:100])) + list(decoder.feed(stream[100:] + rest[:50]))
    kept += list(decoder.feed(rest[50:]))
    assert stream_of(kept) == stream + rest


def test_a_run_of_equal_lines_is_one_batch_that_shares_memory_with_the_bytes():
    buffer = bytearray(stream_of([lines_of(7, 3, 5, n_dims=2)]))
    ((batch, end),) = decode(memoryview(buffer))
    raw = np.frombuffer(buffer, np.uint8)
    assert len(batch) == 7
    assert end == len(buffer)
    for part in (batch.head, batch.data, batch.trajectory):
        assert np.shares_memory(part, raw)


@pytest.mark.parametrize("other", [(3, 2, 3, 0), (3, 4, 2, 0), (4, 2, 2, 0), (3, 2, 2, 1)])
def test_a_change_of_shape_ends_a_batch(other):
    stream = stream_of([lines_of(4, 3, 2), lines_of(*other), lines_of(2, 3, 2)])
    batches = [item for item, _ in decode(memoryview(stream))]
    assert [len(batch) for batch in batches] == [4, other[0], 2]
    assert batches[1].data.shape == other[:3]


def test_lines_of_one_size_but_another_shape_are_told_apart():
    stream = stream_of([lines_of(3, 2, 6), lines_of(5, 6, 2), lines_of(1, 3, 4)])
    assert [item.data.shape for item, _ in decode(memoryview(stream))] == [(3, 2, 6), (5, 6, 2), (1, 3, 4)]


def test_another_kind_of_record_ends_a_batch_and_order_is_kept():
    session = [lines_of(2, 2, 3), Text("now"), lines_of(3, 2, 3), waveforms_of(2, 1, 4), lines_of(1, 2, 3)]
    items = decoded(stream_of(session))
    assert [type(item) for item in items] == [Acquisitions, Text, Acquisitions, Waveforms, Acquisitions]
    assert [len(item) for item in items if not isinstance(item, Text)] == [2, 3, 2, 1]


def test_batches_stay_within_their_bound():
    lines = lines_of(40, 32, 512)
    sizes = [item.data.nbytes for item, _ in decode(memoryview(stream_of([lines])))]
    assert sum(sizes) == lines.data.nbytes
    assert 1 < len(sizes) < 40
    assert max(sizes) <= 4 << 20


@pytest.mark.parametrize("nul", [b"", b"\0", b"\0\0"])
def test_strings_may_end_with_counted_nuls(nul):
    config, header, text = b"<chain/>" + nul, b"<ismrmrdHeader/>" + nul, b"a line" + nul
    stream = b"".join(struct.pack("<HI", i, len(raw)) + raw for i, raw in ((2, config), (3, header), (5, text)))
    assert decoded(stream) == [ConfigText("<chain/>"), HeaderText(b"<ismrmrdHeader/>"), Text("a line")]


@pytest.mark.parametrize("nul", [b"", b"\0"])
def test_image_attributes_may_end_with_a_counted_nul(nul):
    attributes = b"<ismrmrdMeta><meta><name>DataRole</name><value>Image</value></meta></ismrmrdMeta>" + nul
    head = image_of(np.ones((1, 1, 2, 3), np.float32)).described()
    record = struct.pack("<H", 1022) + head.tobytes() + struct.pack("<Q", len(attributes)) + attributes
    (image,) = decoded(record + np.ones(6, np.float32).tobytes())
    assert image.meta == {"DataRole": "Image"}


def test_a_config_name_fills_its_1024_bytes_and_ignores_what_follows_the_nul():
    record = struct.pack("<H", 1) + b"default.xml\0rubbish".ljust(1024, b"?")
    assert decoded(record) == [ConfigName("default.xml")]
    assert len(encode(ConfigName("x" * 1023))) == 1026
    with pytest.raises(StreamError, match="1023 bytes, not 1024"):
        encode(ConfigName("x" * 1024))


@pytest.mark.parametrize("item", [item for item in small_session() if not isinstance(item, Close)])
def test_a_record_that_is_cut_off_gives_nothing_but_an_error_at_the_end(item):
    stream = bytes(encode(item))
    whole = [item for item, _ in decode(memoryview(stream[:-1]))]
    assert all(isinstance(item, Acquisitions) for item in whole)
    decoder = Decoder()
    assert len(list(decoder.feed(stream[:-1]))) == len(whole)
    with pytest.raises(StreamError, match="ends within a record"):
        decoder.close()


def test_one_odd_byte_at_the_end_is_an_error():
    decoder = Decoder()
    assert list(decoder.feed(stream_of([Close()]) + b"\x04")) == [Close()]
    with pytest.raises(StreamError, match="1 bytes are left over at byte 2"):
        decoder.close()


@pytest.mark.parametrize("number", [0, 9, 1000, 1013, 4242, 0xFFFF])
def test_an_unknown_message_is_refused_with_number_and_place(number):
    stream = stream_of([Text("hello")]) + struct.pack("<HI", number, 0)
    items = decode(memoryview(stream))
    assert next(items)[0] == Text("hello")
    with pytest.raises(StreamError, match=rf"number {number} \(record at byte 11 of the stream"):
        next(items)


@pytest.mark.parametrize("number", sorted(DEPRECATED_IDS))
def test_a_deprecated_message_is_refused_as_such(number):
    with pytest.raises(StreamError, match=f"message {number} is deprecated"):
        list(decode(memoryview(struct.pack("<H", number))))


@pytest.mark.parametrize(
    "record",
    [
        struct.pack("<HI", 2, 0xFFFF_FFFF),
        struct.pack("<HI", 3, 0x8000_0000),
        struct.pack("<HI", 5, 0x7FFF_FFFF),
        struct.pack("<HQQQ", 6, 0, 1, 1 << 63),
        struct.pack("<HQQ", 7, 1, 1 << 40),
        struct.pack("<HQ", 8, 1 << 62),
        struct.pack("<HQ", 1019, 1 << 62),
        struct.pack("<H", 1022) + image_of(np.zeros((1, 1, 2, 3))).described().tobytes() + struct.pack("<Q", 1 << 50),
        struct.pack("<H", 1022) + huge(IMAGE_HEADER, data_type=5, matrix_size=(1025, 1024, 1024), channels=1),
        struct.pack("<H", 1008) + huge(ACQUISITION_HEADER, number_of_samples=65535, active_channels=2049),
        struct.pack("<H", 1008) + huge(ACQUISITION_HEADER, number_of_samples=65535, trajectory_dimensions=4097),
        struct.pack("<H", 1026) + huge(WAVEFORM_HEADER, number_of_samples=65535, channels=4097),
        struct.pack("<HHHHQQ", 1030, 5, 0, 2, 1 << 40, 1 << 40),
    ],
)
def test_an_absurd_length_is_refused_before_any_memory_is_taken(record):
    with pytest.raises(StreamError, match=r"at most|larger than"):
        list(decode(memoryview(record)))


@pytest.mark.parametrize(
    "record",
    [
        struct.pack("<H", 1022) + huge(IMAGE_HEADER, data_type=5, matrix_size=1024, channels=1),
        struct.pack("<H", 1008) + huge(ACQUISITION_HEADER, number_of_samples=65535, active_channels=2047),
        struct.pack("<H", 1026) + huge(WAVEFORM_HEADER, number_of_samples=65535, channels=4096),
    ],
)
def test_the_largest_records_are_waited_for(record):
    assert list(decode(memoryview(record))) == []


@pytest.mark.parametrize("shape", [(1,) * 65, (0, 1 << 33, 1 << 33)])
def test_an_array_that_no_memory_can_hold_is_refused(shape):
    record = struct.pack(f"<HHHH{len(shape)}Q", 1030, 5, 0, len(shape), *shape) + bytes(64)
    with pytest.raises(StreamError, match="array of shape"):
        list(decode(memoryview(record)))


def test_an_array_of_a_type_that_ismrmrd_lacks_cannot_be_sent():
    with pytest.raises(StreamError, match="int64"):
        encode(Array(np.zeros(3, np.int64)))


@pytest.mark.parametrize("make", [Text, lambda text: Image(np.zeros((1, 1, 2, 3), np.float32), meta={"Note": text})])
def test_what_no_reader_would_accept_cannot_be_sent(monkeypatch, make):
    for bound in ("MAX_TEXT_BYTES", "MAX_META_BYTES"):
        monkeypatch.setattr(sys.modules["echotrain.mrd.encode"], bound, 200)
    assert decoded(stream_of([make("x" * 20)]))
    with pytest.raises(StreamError, match="at most 200"):
        encode(make("x" * 201))


def test_an_unknown_data_type_is_refused():
    with pytest.raises(StreamError, match="data type 9"):
        list(decode(memoryview(struct.pack("<HHHHQ", 1030, 9, 0, 1, 4) + bytes(64))))


def test_places_in_errors_count_from_the_beginning_of_the_stream():
    decoder = Decoder()
    assert len(list(decoder.feed(stream_of([Text("one"), Close()])))) == 2
    with pytest.raises(StreamError, match="record at byte 11 of the stream"):
        list(decoder.feed(b"\xff\xff"))


def test_lines_in_image_space_cannot_be_sent():
    lines = Acquisitions(acquisition_headers(2, 1, 3), np.zeros((2, 1, 3), np.complex64), readout_in_image_space=True)
    with pytest.raises(StreamError, match="image space"):
        encode(lines)


def test_samples_of_any_memory_order_are_encoded_alike():
    lines = lines_of(3, 4, 5)
    turned = Acquisitions(lines.head, np.asfortranarray(lines.data))
    every_second = lines_of(6, 4, 5)[::2]
    assert stream_of([turned]) == stream_of([lines])
    assert stream_of(decoded(stream_of([every_second]))) == stream_of([every_second])


def test_an_empty_image_header_is_filled_in_by_the_encoder():
    (image,) = decoded(stream_of([Image(np.zeros((2, 3, 4, 5), np.complex64), image_header())]))
    assert image.head["matrix_size"].tolist() == [5, 4, 3]
    assert (image.head["channels"], image.head["data_type"], image.head["version"]) == (2, 7, 1)
