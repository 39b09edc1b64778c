"""Image attributes: several values under one name, special characters, and what is not meta XML."""

import struct
import time

import ismrmrd
import numpy as np
import pytest

from echotrain.mrd import decode
from echotrain.mrd.errors import StreamError
from echotrain.mrd.meta import meta_xml, parse_meta
from echotrain.mrd.records import IMAGE_HEADER


def test_several_values_under_one_name_are_a_list_in_their_order():
    meta = {"Window": ["40", "400", "4"], "DataRole": "Image"}
    assert parse_meta(meta_xml(meta).decode()) == meta


def test_a_name_that_is_repeated_gathers_its_values():
    one = "<meta><name>History</name><value>{}</value></meta>"
    assert parse_meta(f"<ismrmrdMeta>{one.format('fft')}{one.format('crop')}{one.format('scale')}</ismrmrdMeta>") == {
        "History": ["fft", "crop", "scale"]
    }


def test_names_that_are_repeated_without_end_are_gathered_in_one_pass():
    count = 60_000
    text = "<ismrmrdMeta>" + "<meta><name>a</name><value>b</value></meta>" * count + "</ismrmrdMeta>"
    begun = time.process_time()
    assert parse_meta(text) == {"a": ["b"] * count}
    assert time.process_time() - begun < 5  # it was a minute where each copied those before it


def test_numbers_arrive_as_text():
    assert parse_meta(meta_xml({"Series": 3, "Scale": [0.5, 2.0]}).decode()) == {"Series": "3", "Scale": ["0.5", "2.0"]}


@pytest.mark.parametrize("value", ['a < b & c > "d"\'', "größer", "", " two  spaces "])
def test_any_text_survives(value):
    assert parse_meta(meta_xml({"Comment": value}).decode()) == {"Comment": value}


def test_characters_that_xml_cannot_hold_are_replaced():
    written = meta_xml({"Na\x00me": ["a\x01b", "\ud800", "\ufffe", "tab\tline\n\U0001f600"]}).decode()
    assert parse_meta(written) == {"Na\ufffdme": ["a\ufffdb", "\ufffd", "\ufffd", "tab\tline\n\U0001f600"]}


@pytest.mark.parametrize("empty", ["", "  \n", "<ismrmrdMeta/>"])
def test_no_attributes_are_an_empty_dict(empty):
    assert parse_meta(empty) == {}
    assert meta_xml({}) == b""


def test_the_package_reads_what_is_written_and_the_other_way_round():
    meta = {"DataRole": "Image", "Window": ["1", "2"]}
    theirs = ismrmrd.Meta.deserialize(meta_xml(meta).decode())
    assert dict(theirs) == meta
    assert parse_meta(theirs.serialize()) == meta


def test_what_is_not_xml_is_refused():
    with pytest.raises(StreamError, match="meta attributes is not XML"):
        parse_meta("<ismrmrdMeta>")


def test_entities_are_refused():
    with pytest.raises(StreamError, match="not accepted"):
        parse_meta('<!DOCTYPE m [<!ENTITY a "b">]><ismrmrdMeta>&a;</ismrmrdMeta>')


def test_an_image_with_attributes_beyond_any_use_is_refused_at_their_length():
    head = np.zeros((), IMAGE_HEADER)
    head["matrix_size"], head["channels"], head["data_type"] = 2, 1, 5
    with pytest.raises(StreamError, match="says 4194305 bytes; at most 4194304"):
        list(decode(memoryview(struct.pack("<H", 1022) + head.tobytes() + struct.pack("<Q", (4 << 20) + 1))))
