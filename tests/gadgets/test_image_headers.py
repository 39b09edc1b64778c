"""Headers and meta of images: from a header made by hand, and beside those that Gadgetron gave for the same lines."""

import os
from pathlib import Path

import numpy as np
import pytest

from echotrain.gadgets import CombineCoils, ComplexParts, FourierTransform, ScaleIntensity
from echotrain.gadgets.fourier import centred_ifft
from echotrain.gadgets.image_headers import HISTORY, image_head, image_meta, image_type, is_map
from echotrain.mrd import (
    Acquisitions,
    Flag,
    HeaderText,
    Image,
    ImageType,
    KSpace,
    acquisition_headers,
    decode,
    encode,
    parse_header,
)
from echotrain.mrd.errors import HeaderError

HEADER = """<ismrmrdHeader>
<measurementInformation><protocolName>cine_sax</protocolName>{series}</measurementInformation>
<encoding>
  <encodedSpace><matrixSize><x>16</x><y>6</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>640</x><y>300</y><z>8</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>320</x><y>300</y><z>8</z></fieldOfView_mm></reconSpace>
</encoding>
<sequenceParameters><TE>2.5</TE><TE>4.75</TE><TI>900</TI></sequenceParameters>
</ismrmrdHeader>"""


def scan_header(series=""):
    return parse_header(HEADER.format(series=series))


def line():
    head = acquisition_headers(1, 3, 8)[0]
    head["measurement_uid"] = 77
    head["position"] = 1, 2, 3
    head["read_dir"] = 0, 1, 0
    head["phase_dir"] = 0, 0, -1
    head["slice_dir"] = -1, 0, 0
    head["patient_table_position"] = 4, 5, 6
    head["acquisition_time_stamp"] = 123456
    head["physiology_time_stamp"] = 7, 8, 9
    for value, name in enumerate(("average", "slice", "contrast", "phase", "repetition", "set")):
        head["idx"][name] = value + 2
    head["idx"]["contrast"] = 1
    head["user_int"] = range(8)
    head["user_float"] = np.arange(8) / 4
    return head


def test_the_image_takes_place_counters_and_times_from_the_line():
    given, made = line(), image_head(line(), scan_header(), n_x=8)
    for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position", "user_int", "user_float"):
        np.testing.assert_array_equal(made[name], given[name])
    for name in ("measurement_uid", "acquisition_time_stamp"):
        assert made[name] == given[name]
    assert made["physiology_time_stamp"].tolist() == [7, 8, 9]
    names = ("average", "slice", "contrast", "phase", "repetition", "set")
    assert [int(made[name]) for name in names] == [2, 3, 1, 5, 6, 7]
    assert made["image_type"] == ImageType.COMPLEX
    assert made["image_series_index"] == 1


def test_the_field_of_view_along_the_readout_follows_its_samples():
    assert image_head(line(), scan_header(), n_x=16)["field_of_view"].tolist() == [640, 300, 8]
    assert image_head(line(), scan_header(), n_x=8)["field_of_view"].tolist() == [320, 300, 8]


def test_a_line_of_an_encoding_space_that_the_header_lacks_is_refused():
    head = line()
    head["encoding_space_ref"] = 1
    with pytest.raises(HeaderError, match="encoding 1"):
        image_head(head, scan_header(), n_x=8)


def test_meta_names_directions_times_and_series():
    head = line()
    meta = image_meta(image_head(head, scan_header(), n_x=8), head, scan_header(), by="FourierTransform")
    assert meta["DataRole"] == meta["GADGETRON_DataRole"] == "Image"
    assert meta["ImageRowDir"] == [0.0, 1.0, 0.0]
    assert meta["ImageColumnDir"] == [0.0, 0.0, -1.0]
    assert meta["EchoTime"] == 4.75
    assert "InversionTime" not in meta  # the header names none for the second contrast
    assert meta["SeriesDescription"] == "cine_sax"
    head["idx"]["contrast"] = 0
    header = scan_header("<seriesDescription>cine_sax_rest</seriesDescription>")
    meta = image_meta(image_head(head, header, n_x=8), head, header, by="FourierTransform")
    assert (meta["EchoTime"], meta["InversionTime"]) == (2.5, 900)
    assert meta["SeriesDescription"] == "cine_sax_rest"


def test_the_history_names_the_gadgets_in_order_and_survives_the_stream():
    transform = FourierTransform()
    transform.start(scan_header())
    data = np.ones((3, 1, 6, 8), np.complex64)
    (one,) = transform.process(KSpace(data, np.ones((1, 6), bool), line()))
    (one,) = CombineCoils(method="adaptive").process(one)
    (one,) = ComplexParts().process(one)
    assert one.meta[HISTORY] == ["FourierTransform", "CombineCoils", "ComplexParts"]
    ((read, _),) = decode(memoryview(bytes(encode(one))))
    scale = ScaleIntensity()
    scale.start(scan_header())
    (read,) = scale.process(read)
    assert read.meta[HISTORY] == ["FourierTransform", "CombineCoils", "ComplexParts", "ScaleIntensity"]


def test_a_silent_header_means_magnitude_and_complex_pixels_are_complex():
    assert image_type(Image(np.ones((1, 1, 2, 3), np.float32))) == ImageType.MAGNITUDE
    assert image_type(Image(np.ones((1, 1, 2, 3), np.complex64))) == ImageType.COMPLEX
    phase = Image(np.ones((1, 1, 2, 3), np.float32))
    assert image_type(phase.with_data(phase.data, image_type=ImageType.PHASE)) == ImageType.PHASE


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, False),
        ({"DataRole": "Image"}, False),
        ({"DataRole": ["Image", "Mean"]}, False),
        ({"GADGETRON_DataRole": "ImageRetro"}, False),
        ({"GADGETRON_DataRole": "Gfactor"}, True),
        ({"DataRole": "SNR_MAP"}, True),
        ({"DataRole": "Image", "GADGETRON_DataRole": "STD_MAP"}, True),
    ],
)
def test_an_image_is_a_map_where_its_role_says_so(meta, expected):
    assert is_map(Image(np.ones((1, 1, 2, 3), np.float32), meta=meta)) == expected


DATA = Path(os.environ.get("ECHOTRAIN_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SENT = DATA / "recordings" / "default_m64_c4_r2.client_to_server.bin"
ANSWERED = DATA / "recordings" / "default_m64_c4_r2.server_to_client.bin"


@pytest.mark.skipif(not SENT.exists(), reason="recordings of Gadgetron sessions are not here (ECHOTRAIN_DATA)")
def test_gadgetron_gave_the_same_headers_and_pixels_for_the_same_lines():
    sent = [item for item, _ in decode(memoryview(SENT.read_bytes()))]
    header = parse_header(next(item.xml for item in sent if isinstance(item, HeaderText)))
    transform = FourierTransform()
    transform.start(header)
    made = []
    lines = [item[~item.has(Flag.IS_NOISE_MEASUREMENT)] for item in sent if isinstance(item, Acquisitions)]
    for repetition in (0, 1):
        data = np.zeros((4, 1, 64, 64), np.complex64)
        for batch in lines:
            mine = batch[batch.head["idx"]["repetition"] == repetition]
            readout = centred_ifft(mine.data, [2])[:, :, 32:96]  # the oversampled half cut off
            data[:, 0, mine.head["idx"]["kspace_encode_step_1"]] = readout.swapaxes(0, 1)
            head = mine.head[len(mine) // 2]
        (image,) = transform.process(KSpace(data, np.ones((1, 64), bool), head, readout_in_image_space=True))
        made.extend(CombineCoils().process(image))
    theirs = [item for item, _ in decode(memoryview(ANSWERED.read_bytes())) if isinstance(item, Image)]
    assert len(made) == len(theirs) == 2
    for our, their in zip(made, theirs, strict=True):
        np.testing.assert_allclose(our.data, their.data, rtol=1e-4, atol=1e-5)
        head = our.described()
        differ = [name for name in head.dtype.names if not np.array_equal(head[name], their.head[name])]
        # Its old default chain numbers series from 0, its generic ones, as we do, from 1.
        assert differ == ["image_series_index"]
