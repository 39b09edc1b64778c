"""Lines are due by their time stamps; the clock here is one that the test turns."""

import numpy as np
import pytest

from echotrain.clients import pace
from echotrain.clients.pace import TICK, in_batches, parse_speed, play
from echotrain.mrd import Acquisitions, Text, Waveforms, acquisition_headers
from echotrain.mrd.errors import DataError
from echotrain.mrd.records import WAVEFORM_HEADER


def lines(*stamps):
    head = acquisition_headers(len(stamps), 1, 2)
    head["acquisition_time_stamp"] = stamps
    head["scan_counter"] = np.arange(len(stamps))
    return Acquisitions(head, np.zeros((len(stamps), 1, 2), np.complex64))


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only where someone waits."""

    class Clock:
        now = 50.0

        def wait(self, seconds):
            assert seconds > 0
            self.now += seconds + 1e-12  # sums of floats may fall short

    made = Clock()
    monkeypatch.setattr(pace.time, "monotonic", lambda: made.now)
    return made


def played(items, speed, clock):
    """When each line went [ticks of the recording], by its counter or text."""
    start = clock.now
    times = []
    for item, late in play(items, speed, clock.wait):
        assert late >= 0
        if item is None:
            continue
        at = round((clock.now - start) * speed / TICK, 6)
        if isinstance(item, Acquisitions):
            times += [(int(counter), at) for counter in item.head["scan_counter"]]
        else:
            times.append((item, at))
    return times


def test_without_a_speed_nothing_waits_and_nothing_is_cut(clock):
    items = [lines(0, 100, 200), Text("x")]
    assert [item for item, _ in play(items, 0, clock.wait)] == items
    assert clock.now == 50.0


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
def test_lines_go_when_their_time_stamps_say_at_any_speed(clock, speed):
    assert played([lines(1000, 1002, 1005)], speed, clock) == [(0, 0.0), (1, 2.0), (2, 5.0)]


def test_lines_of_one_tick_are_spread_over_it(clock):
    assert played([lines(10, 10, 11, 11, 11, 11)], 1, clock) == [
        *[(0, 0.0), (1, 0.5)],
        *[(2, 1.0), (3, 1.25), (4, 1.5), (5, 1.75)],
    ]


def test_time_stamps_that_fall_do_not_stop_the_play(clock):
    assert played([lines(10, 14, 3, 15)], 1, clock) == [(0, 0.0), (1, 4.0), (2, 4.0), (3, 5.0)]


def test_later_batches_go_on_with_the_first_ones_clock_and_texts_with_the_line_before(clock):
    text = Text("x")
    assert played([lines(10, 13), text, lines(17)], 1, clock) == [(0, 0.0), (1, 3.0), (text, 3.0), (0, 7.0)]


def test_a_line_that_was_held_up_goes_with_all_that_are_due_meanwhile(clock):
    sizes, lateness = [], []
    for item, late in play([lines(0, 1, 2, 3, 40)[1:]], 1, clock.wait):
        if item is None:
            continue
        sizes.append(len(item))
        lateness.append(round(late / TICK, 6))
        if len(sizes) == 1:
            clock.now += 2.5 * TICK  # sending the first took long
    assert sizes == [1, 2, 1]
    assert lateness == [0, 1.5, 0]


def test_waveforms_go_by_their_time_stamps_too(clock):
    head = np.zeros(2, WAVEFORM_HEADER)
    head["time_stamp"] = [12, 16]
    waveforms = Waveforms(head, np.zeros((2, 1, 3), np.uint32))
    start = clock.now
    times = [
        (clock.now - start) / TICK
        for item, _ in play([lines(10), waveforms], 1, clock.wait)
        if isinstance(item, Waveforms)
    ]
    np.testing.assert_allclose(times, [2, 6])


def test_lines_without_time_stamps_are_refused(clock):
    with pytest.raises(DataError, match="--speed max"):
        list(play([lines(0, 0)], 1, clock.wait))


@pytest.mark.parametrize(("text", "factor"), [("max", 0.0), ("realtime", 1.0), ("2.5", 2.5), ("1e3", 1000.0)])
def test_speeds_are_read(text, factor):
    assert parse_speed(text) == factor


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "nan", "inf"])
def test_what_is_no_speed_is_refused(text):
    with pytest.raises(ValueError, match=r"float|speed"):
        parse_speed(text)


@pytest.mark.parametrize(("n_lines", "sizes"), [(0, [5, 2]), (1, [1] * 7), (2, [2, 2, 1, 2]), (9, [5, 2])])
def test_batches_are_cut_and_keep_their_order(n_lines, sizes):
    text = Text("x")
    cut = list(in_batches([lines(*range(5)), text, lines(5, 6)], n_lines))
    assert [len(item) for item in cut if isinstance(item, Acquisitions)] == sizes
    stamps = [item.head["acquisition_time_stamp"] for item in cut if isinstance(item, Acquisitions)]
    assert np.concatenate(stamps).tolist() == list(range(7))
    assert len(cut[cut.index(text) - 1]) == sizes[cut.index(text) - 1]
    assert sum(sizes[: cut.index(text)]) == 5
