"""The `ismrmrd` package and this one read each other's streams."""

import io
import struct

import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigFile, ProtocolDeserializer, ProtocolSerializer
from ismrmrd.serialization import ConfigText as TheirConfigText

from echotrain.mrd import (
    Acquisitions,
    Array,
    Close,
    ConfigName,
    ConfigText,
    Decoder,
    HeaderText,
    Image,
    Text,
    Waveforms,
    acquisition_headers,
    encode,
    image_header,
    parse_header,
)
from echotrain.mrd.records import DATA_TYPES, IMAGE_HEADER, WAVEFORM_HEADER

XML = b"""<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>
<fieldOfView_mm><x>400</x><y>300</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>4</x><y>6</y><z>1</z></matrixSize>
<fieldOfView_mm><x>200</x><y>300</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits/><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""

DTYPES = [dtype for number, dtype in DATA_TYPES.items() if number != 4]  # the package takes 4 for a 64-bit integer


def complex_noise(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def read_theirs(*objects):
    """What we make of what the package writes."""
    stream = io.BytesIO()
    with ProtocolSerializer(stream) as serializer:
        for item in objects:
            serializer.serialize(item)
    decoder = Decoder()
    *items, close = decoder.feed(stream.getvalue())
    decoder.close()
    assert close == Close()
    return items


def read_ours(*items):
    """What the package makes of what we write."""
    stream = b"".join(bytes(encode(item)) for item in (*items, Close()))
    with ProtocolDeserializer(io.BytesIO(stream)) as deserializer:
        return list(deserializer.deserialize())


@pytest.mark.parametrize("n_dims", [0, 2])
def test_lines_of_the_package_arrive(n_dims):
    rng = np.random.default_rng(1)
    theirs = []
    for number in range(3):
        line = ismrmrd.Acquisition.from_array(
            complex_noise(rng, (2, 5)), rng.random((5, n_dims), np.float32) if n_dims else None, scan_counter=number
        )
        line.setFlag(ismrmrd.ACQ_LAST_IN_SLICE)
        line.idx.kspace_encode_step_1 = 7 + number
        theirs.append(line)
    (lines,) = read_theirs(*theirs)
    assert lines.head["scan_counter"].tolist() == [0, 1, 2]
    assert lines.head["idx"]["kspace_encode_step_1"].tolist() == [7, 8, 9]
    np.testing.assert_array_equal(lines.data, [line.data for line in theirs])
    if n_dims:
        np.testing.assert_array_equal(lines.trajectory, [line.traj for line in theirs])
    assert [head.tobytes() for head in lines.head] == [bytes(line.getHead()) for line in theirs]


@pytest.mark.parametrize("n_dims", [0, 3])
def test_lines_of_ours_arrive_at_the_package(n_dims):
    rng = np.random.default_rng(2)
    head = acquisition_headers(3, 2, 5)
    head["trajectory_dimensions"] = n_dims
    head["flags"] = [1, 1 << 62, 1 << 18]
    head["position"] = rng.random((3, 3))
    trajectory = rng.random((3, 5, n_dims), np.float32) if n_dims else None
    lines = Acquisitions(head, complex_noise(rng, (3, 2, 5)), trajectory)
    theirs = read_ours(lines)
    assert [bytes(line.getHead()) for line in theirs] == [one.tobytes() for one in head]
    np.testing.assert_array_equal([line.data for line in theirs], lines.data)
    if n_dims:
        np.testing.assert_array_equal([line.traj for line in theirs], trajectory)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_images_of_the_package_arrive(dtype):
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    theirs = ismrmrd.Image.from_array(data, image_series_index=3, image_index=9)
    theirs.meta = {"DataRole": "Image", "Window": ["1", "2"]}
    (image,) = read_theirs(theirs)
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, data)
    assert image.meta == {"DataRole": "Image", "Window": ["1", "2"]}
    assert (image.head["image_series_index"], image.head["image_index"]) == (3, 9)


@pytest.mark.parametrize("meta", [{"DataRole": "Image", "Window": ["1", "2"]}, {}])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_images_of_ours_arrive_at_the_package(dtype, meta):
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    head = image_header()
    head["field_of_view"] = (200, 150, 7)
    (theirs,) = read_ours(Image(data, head, meta))
    assert theirs.data.dtype == dtype
    np.testing.assert_array_equal(theirs.data, data)
    assert dict(theirs.meta) == meta
    assert list(theirs.field_of_view) == [200, 150, 7]
    assert theirs.matrix_size == (5, 4, 3)


META = """<?xml version="1.0"?>
<ismrmrdMeta>
	<meta>
		<name>GADGETRON_SeqDescription</name>
		<value>_GRAPPA</value>
		<value>_SNR</value>
	</meta>
</ismrmrdMeta>
"""


def as_gadgetron_writes(data, attributes, number):
    """An image's record: the NUL of its attributes is counted, in the header as well; none where there are none."""
    head = np.zeros((), IMAGE_HEADER)
    head["version"], head["data_type"], head["image_index"] = 1, number, 4
    head["matrix_size"], head["channels"] = data.shape[:0:-1], data.shape[0]
    raw = attributes.encode() + b"\0" if attributes else b""
    head["attribute_string_len"] = len(raw)
    return struct.pack("<H", 1022) + head.tobytes() + struct.pack("<Q", len(raw)) + raw + data.tobytes()


@pytest.mark.parametrize(("attributes", "meta"), [(META, {"GADGETRON_SeqDescription": ["_GRAPPA", "_SNR"]}), ("", {})])
@pytest.mark.parametrize(("number", "dtype"), DATA_TYPES.items(), ids=str)
def test_images_as_gadgetron_writes_them_arrive(number, dtype, attributes, meta):
    data = (np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) * 7 - 40).astype(dtype)
    record = as_gadgetron_writes(data, attributes, number)
    decoder = Decoder()
    first, second = decoder.feed(record + record)
    decoder.close()
    for image in (first, second):
        assert image.data.dtype == dtype
        np.testing.assert_array_equal(image.data, data)
        assert image.meta == meta
        assert image.head["image_index"] == 4


@pytest.mark.parametrize("meta", [{"GADGETRON_SeqDescription": ["_GRAPPA", "_SNR"]}, {}])
@pytest.mark.parametrize(("number", "dtype"), DATA_TYPES.items(), ids=str)
def test_images_of_ours_lie_as_gadgetrons_client_reads_them(number, dtype, meta):
    data = (np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) * 7 - 40).astype(dtype)
    record = bytes(encode(Image(data, image_header(), meta)))
    (head,) = np.frombuffer(record, IMAGE_HEADER, 1, offset=2)
    assert head["data_type"] == number
    assert (*head["matrix_size"], head["channels"]) == (5, 4, 3, 2)
    (length,) = struct.unpack_from("<Q", record, 200)
    assert head["attribute_string_len"] == length
    assert dict(ismrmrd.Meta.deserialize(record[208 : 208 + length].decode()) if length else {}) == meta
    assert record[208 + length :] == data.tobytes()


def test_waveforms_arrive_both_ways():
    data = np.arange(10, dtype=np.uint32).reshape(2, 5)
    theirs = ismrmrd.Waveform.from_array(data, time_stamp=99, waveform_id=2, sample_time_us=2500.0)
    (ours,) = read_theirs(theirs)
    np.testing.assert_array_equal(ours.data, [data])
    assert (ours.head["time_stamp"][0], ours.head["waveform_id"][0], ours.head["sample_time_us"][0]) == (99, 2, 2500)
    head = np.zeros(2, WAVEFORM_HEADER)
    head["channels"], head["number_of_samples"], head["time_stamp"] = 2, 5, [4, 8]
    first, second = read_ours(Waveforms(head, np.stack([data, data + 1])))
    np.testing.assert_array_equal(first.data, data)
    np.testing.assert_array_equal(second.data, data + 1)
    assert (first.time_stamp, second.time_stamp) == (4, 8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_arrive_both_ways(dtype):
    data = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    (ours,) = read_theirs(data)
    (theirs,) = read_ours(Array(data))
    for array in (ours.data, theirs):
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, data)


def test_texts_and_configurations_arrive_both_ways():
    items = [ConfigName("grappa.xml"), ConfigText("<chain>ä</chain>"), Text("schön")]
    assert read_theirs(ConfigFile("grappa.xml"), TheirConfigText("<chain>ä</chain>"), "schön") == items
    theirs = read_ours(*items)
    assert theirs == ["grappa.xml", "<chain>ä</chain>", "schön"]
    assert [type(item) for item in theirs] == [ConfigFile, TheirConfigText, str]


def test_headers_arrive_both_ways():
    document = ismrmrd.xsd.CreateFromDocument(XML)
    (ours,) = read_theirs(document)
    assert parse_header(ours.xml).encodings == parse_header(XML).encodings
    (theirs,) = read_ours(HeaderText(XML))
    assert theirs == document
    assert parse_header(XML).document == document
