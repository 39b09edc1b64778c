"""The log reader gives the same items however the log grows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echotrain.mrd import Acquisitions, Close, HeaderText, Text, acquisition_headers, encode
from echotrain.mrd.errors import StreamError
from echotrain.server import log_reader
from echotrain.server.log_reader import LogReader


def lines(n, n_channels, n_samples, start=0):
    head = acquisition_headers(n, n_channels, n_samples)
    head["scan_counter"] = np.arange(start, start + n)
    data = (head["scan_counter"][:, None, None] + np.arange(n_channels)[:, None] * 1j + np.zeros(n_samples)).astype(
        "c8"
    )
    return Acquisitions(head, data)


ITEMS = [HeaderText(b"<xml/>"), lines(3, 2, 5), Text("between"), lines(4, 1, 7, 3), lines(2, 3, 4, 7)]
STREAM = b"".join(bytes(encode(item)) for item in [*ITEMS, Close()])


def described(items):
    """What was read, whatever the batches."""
    for item in items:
        if isinstance(item, Acquisitions):
            for line in item:
                yield int(line.head["scan_counter"][0]), line.data.tobytes()
        else:
            yield item


EXPECTED = list(described(ITEMS))


class Log:
    """A log that grows, and its reader."""

    def __init__(self, path):
        self.file = path.open("wb", buffering=0)
        self.reader = LogReader(path)

    def grow(self, data):
        self.file.write(data)
        return list(described(self.reader.read(self.reader.size())))

    def close(self):
        self.file.close()
        self.reader.close()


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path / "input.mrd")
    yield made
    made.close()


def test_a_whole_log_is_read_at_once(log):
    assert log.grow(STREAM) == EXPECTED
    assert log.reader.closed
    assert log.reader.position == len(STREAM)
    log.reader.check_whole(len(STREAM))


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_steps_of_growth_give_the_same_lines(tmp_path_factory, cuts):
    log = Log(tmp_path_factory.mktemp("log") / "input.mrd")
    places = [0, *sorted(cuts), len(STREAM)]
    items = [item for a, b in pairwise(places) for item in log.grow(STREAM[a:b])]
    log.close()
    assert items == EXPECTED
    assert log.reader.closed


@pytest.mark.parametrize("window", [1, 700, 4096, 5000])
def test_records_larger_than_the_window_are_read(log, monkeypatch, window):
    monkeypatch.setattr(log_reader, "WINDOW_BYTES", window)
    large = lines(2, 3, 2000)
    assert large.data[0].nbytes > 5000
    assert log.grow(bytes(encode(large)) + STREAM) == [*described([large]), *EXPECTED]


def test_nothing_new_gives_nothing(log):
    assert log.grow(b"") == []
    log.grow(STREAM[:-2])
    assert log.grow(b"") == []
    assert not log.reader.closed


def test_a_torn_record_waits_and_is_told_at_the_end(log):
    assert log.grow(STREAM[:-30]) == EXPECTED[:-1]
    with pytest.raises(StreamError, match=f"at byte {log.reader.position}"):
        log.reader.check_whole(log.reader.size())
    assert log.grow(STREAM[-30:]) == EXPECTED[-1:]
    log.reader.check_whole(log.reader.size())


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("more", [bytes(encode(lines(1, 1, 2))), b"no record at all"])
def test_what_comes_after_the_end_is_not_read(log, at_once, more):
    if at_once:
        assert log.grow(STREAM + more) == EXPECTED
    else:
        assert log.grow(STREAM) == EXPECTED
        assert log.grow(more) == []
    assert log.reader.position == len(STREAM)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_end_that_is_said_twice_is_an_end(log, at_once):
    twice = bytes(encode(Close()))
    if at_once:
        assert log.grow(STREAM + twice) == EXPECTED
    else:
        assert log.grow(STREAM) == EXPECTED
        assert log.grow(twice) == []
    assert log.reader.closed


def test_bytes_that_are_no_record_are_told_with_their_place(log):
    log.grow(STREAM[:-2])
    with pytest.raises(StreamError, match=rf"no message has the number 4660 .record at byte {len(STREAM) - 2}"):
        log.grow(b"\x34\x12 what is this")


def test_lines_are_views_of_the_file_and_stay_good(log):
    log.file.write(STREAM)
    (batch,) = [item for item in log.reader.read(log.reader.size()) if isinstance(item, Acquisitions)][:1]
    assert not batch.data.flags.owndata
    assert not batch.data.flags.writeable
    log.reader.close()
    np.testing.assert_array_equal(batch.data, lines(3, 2, 5).data)
