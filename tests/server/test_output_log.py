"""The output log holds everything once, in the order in which it was first made, however often a chain runs."""

import os

import numpy as np
import pytest

from echotrain.mrd import Acquisitions, Array, Close, HeaderText, Image, Text, decode, encode
from echotrain.mrd.acquisitions import acquisition_headers
from echotrain.mrd.errors import StorageError
from echotrain.server import output_log
from echotrain.server.folder import create_session
from echotrain.server.output_log import OutputLog

XML = b"<ismrmrdHeader/>"


class HeaderOfThisXml:
    xml = XML


def image(number):
    return Image(np.full((1, 1, 3, 5), number, np.float32))


def lines(*counters):
    head = acquisition_headers(len(counters), 2, 7)
    head["scan_counter"] = counters
    return Acquisitions(head, np.asarray(counters, np.complex64)[:, None, None].repeat(2, 1).repeat(7, 2))


@pytest.fixture
def folder(tmp_path):
    return create_session(tmp_path, {}, XML)


@pytest.fixture
def run(folder):
    """`run(*items)`: open the log as a worker does, write the items, and give the log."""

    def write(*items, after=None, grown=lambda size: None):
        def never():
            raise AssertionError("the disk is not full")

        log = OutputLog(folder, HeaderOfThisXml, never, grown, after)
        for item in items:
            log.write(item)
        os.close(log._file)
        return log

    return write


def stream(*items):
    return b"".join(bytes(encode(item)) for item in (HeaderText(XML), *items))


def test_a_new_log_opens_with_the_header_and_its_size_is_told_after_each_item(folder, run):
    sizes = []
    log = run(image(1), Text("two"), grown=sizes.append)
    assert folder.output.read_bytes() == stream(image(1), Text("two"))
    assert sizes == [len(stream()), len(stream(image(1))), log.size]
    assert log.size == folder.output.stat().st_size


def test_what_was_made_before_is_not_made_twice(folder, run):
    items = [Text("a"), image(1), lines(0, 1, 2), image(2), Text("a"), Text("b"), Array(np.arange(6.0))]
    run(*items[:4])
    run(*items, Close())
    assert folder.output.read_bytes() == stream(*items, Close())


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_record_that_was_cut_off_is_made_anew(folder, run, cut):
    whole = stream(image(1), image(2))
    folder.output.write_bytes(whole[:-cut])
    run(image(1), image(2))
    assert folder.output.read_bytes() == whole


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_header_that_was_cut_off_is_written_anew(folder, run, size):
    folder.output.write_bytes(stream()[:size])
    run(image(1))
    assert folder.output.read_bytes() == stream(image(1))


def test_items_of_each_type_are_counted_for_themselves(folder, run):
    """Since a chain hands lines on in batches that depend on when they came, so may images fall between others."""
    run(image(1), lines(0, 1), lines(2))
    run(lines(0), lines(1, 2, 3), image(1), image(2))
    found = folder.output.read_bytes()[len(stream()) :]
    assert found == b"".join(bytes(encode(item)) for item in (image(1), lines(0, 1), lines(2), lines(3), image(2)))


def test_texts_are_left_out_as_often_as_they_are_held_in_any_order(folder, run):
    run(Text("a"), Text("b"), Text("a"))
    run(Text("b"), Text("a"), Text("a"), Text("a"), Text("c"))
    assert folder.output.read_bytes() == stream(*map(Text, "abaac"))


def test_a_difference_is_told_once_and_what_was_given_first_stays(folder, run):
    run(image(1), image(2), image(3))
    run(image(1), image(9), image(8), image(4))
    texts = [item.text for item, _ in decode(memoryview(folder.output.read_bytes())) if isinstance(item, Text)]
    assert texts == [
        "warning: Image came out otherwise when the scan was run again; what was given first stays as it is"
    ]
    assert folder.output.read_bytes() == stream(image(1), image(2), image(3), Text(*texts), image(4))
    run(image(1), image(9), image(8), image(4))  # nor a second time
    assert folder.output.read_bytes() == stream(image(1), image(2), image(3), Text(*texts), image(4))


def test_records_larger_than_what_is_compared_at_once_are_compared_to_their_end(folder, run, monkeypatch):
    monkeypatch.setattr(output_log, "_COMPARED_AT_ONCE", 16)
    other = image(1)
    other.data[0, 0, 2, 4] = 7
    run(image(1))
    before = folder.output.read_bytes()
    run(image(1))
    assert folder.output.read_bytes() == before
    run(other)
    assert b"came out otherwise" in folder.output.read_bytes()


def test_a_log_that_is_closed_is_complete(folder, run):
    run(image(1), image(2), Close())
    log = run(image(1), image(2), image(3), Text("more"), Close())
    assert log.closed
    assert log.n_images == 2
    assert folder.output.read_bytes() == stream(image(1), image(2), Close())


def test_what_is_held_is_told_record_by_record(run):
    run(image(1), Text("a"), image(2))
    sizes = []
    run(grown=sizes.append)
    items = (image(1), Text("a"), image(2))
    assert sizes == [len(stream(*items[:count])) for count in range(4)]


def test_a_fallback_chain_has_all_its_items_kept_after_those_of_the_first(folder, run):
    turn = Text("turn")
    run(Text("a"), image(1), image(2))
    run(turn, Text("a"), image(1), after=turn)
    assert folder.output.read_bytes() == stream(Text("a"), image(1), image(2), turn, Text("a"), image(1))
    run(turn, Text("a"), image(1), image(5), after=turn)
    assert folder.output.read_bytes() == stream(Text("a"), image(1), image(2), turn, Text("a"), image(1), image(5))


def test_a_log_that_is_damaged_goes_on_before_the_damage_and_says_so(folder, run):
    folder.output.write_bytes(stream(image(1)) + b"\xff" * 50)
    run(image(1), image(2))
    assert folder.output.read_bytes() == stream(image(1), image(2))
    (event,) = folder.events()
    assert (event["event"], event["kept"]) == ("output damaged", len(stream(image(1))))


def test_a_full_disk_is_waited_for_and_another_failure_is_an_error(folder, monkeypatch):
    failures = [OSError(28, "No space left on device"), OSError(28, "No space left on device")]
    waits = []

    def write(file, data):
        if failures:
            raise failures.pop()
        return real(file, data[:100])  # as the last of a disk may be

    real = os.write
    log = OutputLog(folder, HeaderOfThisXml, lambda: waits.append(True))
    monkeypatch.setattr(output_log.os, "write", write)
    log.write(image(1))
    assert len(waits) == 2
    assert folder.output.read_bytes() == stream(image(1))
    failures.append(OSError(5, "Input/output error"))
    with pytest.raises(StorageError, match="Input/output error"):
        log.write(image(2))
    os.close(log._file)
