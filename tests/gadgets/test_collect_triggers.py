"""Lines collected into k-space: when it is given on, and with which calibration."""

import numpy as np
import pytest
from collecting import (
    AVERAGED,
    N_CHANNELS,
    N_KY,
    counters_of,
    encoding,
    finished,
    flagged,
    joined,
    lines,
    processed,
    started,
    texts,
    units,
)
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from echotrain.gadgets.collect import CollectKSpace
from echotrain.gadgets.kspace_units import as_slice
from echotrain.mrd import (
    Flag,
    Text,
    parse_header,
)
from echotrain.mrd.hdf5_read import read_header, read_items


def test_k_space_is_given_on_with_the_last_line_that_the_limits_announce():
    gadget = started(encoding(kspace_encoding_step_1=(1, 4, 3)))
    assert not processed(gadget, lines([4, 0, 2, 3]))
    assert len(units(processed(gadget, lines([1])))) == 1
    assert not list(gadget.finish())


def test_k_space_waits_for_all_announced_averages():
    gadget = started(AVERAGED)
    assert not processed(gadget, lines(np.tile(range(N_KY), 3)[:-1], average=np.repeat([0, 1, 2], N_KY)[:-1]))
    assert len(processed(gadget, lines([5], average=2))) == 1


def test_interleaved_slices_are_given_on_each_with_its_own_last_line():
    batch = lines(np.repeat([0, 1, 2, 3, 4, 5], 4), slice=np.tile([0, 2, 1, 3], N_KY))
    gadget = started()
    assert not processed(gadget, batch[:20])
    assert counters_of(processed(gadget, batch[20:]), "slice") == [0, 2, 1, 3]


@pytest.mark.parametrize("flag", [Flag.LAST_IN_SLICE, Flag.LAST_IN_REPETITION])
def test_a_line_that_is_the_last_of_its_slice_or_repetition_ends_its_k_space(flag):
    batch = joined(lines([0, 2], slice=7), flagged(lines([0, 2, 4]), 2, flag))
    gadget = started()
    items = processed(gadget, batch)
    assert counters_of(items, "slice") == [0]
    assert units(items)[0].sampled.tolist() == [[True, False, True, False, True, False]]
    assert counters_of(list(gadget.finish()), "slice") == [7]


def test_the_last_line_of_a_segment_or_average_does_not_end_the_k_space_of_all():
    several = encoding(average=(0, 1, 0), segment=(0, 1, 0), kspace_encoding_step_1=None)
    parts = [
        flagged(lines([0, 1], average=average, segment=segment), 1, Flag.LAST_IN_SLICE)
        for average in (0, 1)
        for segment in (0, 1)
    ]
    gadget = started(several)
    assert not processed(gadget, *parts[:3])
    assert len(processed(gadget, parts[3])) == 1


def test_the_last_line_of_an_axis_does_not_end_the_k_space_of_all():
    gadget = started(encoding(phase=(0, 1, 0), kspace_encoding_step_1=None), split="slice")
    assert not processed(gadget, flagged(lines([0, 1], phase=0), 1, Flag.LAST_IN_SLICE))
    assert len(processed(gadget, flagged(lines([0, 1], phase=1), 1, Flag.LAST_IN_SLICE))) == 1


def test_the_last_line_of_the_measurement_ends_all_k_spaces_in_order_of_their_first_lines():
    batch = joined(lines([0, 1], slice=4), lines([0], slice=2), lines([1], slice=3), lines([2], slice=4))
    gadget = started()
    assert counters_of(processed(gadget, flagged(batch, 4, Flag.LAST_IN_MEASUREMENT)), "slice") == [4, 2, 3]
    assert not list(gadget.finish())


def test_a_line_of_a_later_repetition_ends_the_earlier_ones_in_order_of_their_first_lines():
    gadget = started()
    assert not processed(gadget, lines([0, 1, 2, 3], slice=[5, 1, 5, 3]))
    items = processed(gadget, lines([0], slice=1, repetition=1))
    assert counters_of(items, "slice") == [5, 1, 3]
    assert counters_of(list(gadget.finish()), "repetition") == [1]


def test_what_is_left_is_given_on_at_the_end_in_order_of_first_lines():
    items = finished(started(), lines([0, 1, 2, 3], slice=[5, 1, 5, 3]))
    assert counters_of(items, "slice") == [5, 1, 3]


def test_trigger_end_waits_for_the_end():
    batch = flagged(lines(np.tile(range(N_KY), 2), repetition=np.repeat([0, 1], N_KY)), 11, Flag.LAST_IN_MEASUREMENT)
    gadget = started(trigger="end")
    assert not processed(gadget, batch)
    assert counters_of(list(gadget.finish()), "repetition") == [0, 1]


def test_lines_that_come_too_late_begin_another_k_space_and_the_client_is_told_once():
    late = lines([1, 2], seed=1, slice=2)
    items = finished(started(), lines(range(N_KY), slice=2), late, lines(range(N_KY)), lines([3]))
    assert counters_of(items, "slice") == [2, 0, 2, 0]
    np.testing.assert_array_equal(units(items)[2].data[:, 0, 1:3], late.data.transpose(1, 0, 2))
    told = texts(items)
    assert "slice 2, contrast 0" in told[0]
    assert "trigger" in told[0]
    assert items[1] == Text(told[0])
    assert "2 k-spaces" in told[1]
    assert len(told) == 2


# Calibration


def test_calibration_lines_stand_apart_and_those_for_both_in_both():
    both = Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING
    batch = lines(range(N_KY), flags=[0, Flag.IS_PARALLEL_CALIBRATION, both, both | Flag.IS_PARALLEL_CALIBRATION, 0, 0])
    for parts in ([batch], list(batch)):
        (unit,) = units(finished(started(), *parts))
        assert np.flatnonzero(unit.sampled[0]).tolist() == [0, 2, 3, 4, 5]
        assert np.flatnonzero(unit.calibration.sampled[0]).tolist() == [1, 2, 3]
        np.testing.assert_array_equal(unit.calibration.data[:, 0, 1:4], batch.data[1:4].transpose(1, 0, 2))
        assert not unit.data[:, 0, 1].any()
        assert unit.calibration.data.shape == unit.data.shape


def test_calibration_acquired_once_serves_all_repetitions_of_its_slice():
    calibration = flagged(lines([2, 3], flags=Flag.IS_PARALLEL_CALIBRATION, slice=1), 1, Flag.LAST_IN_SLICE)
    imaging = [lines([0, 2, 4], repetition=r, slice=1) for r in (0, 1, 2)]
    items = finished(started(), calibration, *imaging, lines([0], repetition=2, slice=3))
    assert counters_of(items, "repetition") == [0, 1, 2, 2]
    assert [unit.calibration is not None for unit in units(items)] == [True, True, True, False]
    np.testing.assert_array_equal(units(items)[2].calibration.data[:, 0, 2:4], calibration.data.transpose(1, 0, 2))
    assert not any("met no imaging lines" in text for text in texts(items))


def test_calibration_that_ends_its_slice_waits_for_the_imaging_lines():
    parts = [flagged(lines([ky], flags=Flag.IS_PARALLEL_CALIBRATION), 0, Flag.LAST_IN_SLICE) for ky in (2, 4)]
    batch = joined(*parts, flagged(lines([0, 3]), 1, Flag.LAST_IN_SLICE))
    for cut in ([batch], list(batch)):
        (unit,) = units(finished(started(), *cut))
        assert np.flatnonzero(unit.calibration.sampled[0]).tolist() == [2, 4]
        assert np.flatnonzero(unit.sampled[0]).tolist() == [0, 3]


def test_calibration_lines_do_not_stand_for_announced_imaging_lines():
    gadget = started()
    calibration = lines([4, 5], flags=Flag.IS_PARALLEL_CALIBRATION)
    assert not processed(gadget, joined(lines([0, 1, 2, 3]), calibration))
    assert len(processed(gadget, joined(lines([4]), calibration, lines([5])))) == 1


def test_calibration_in_a_repetition_before_the_images_serves_them():
    calibration = flagged(lines([2, 3], flags=Flag.IS_PARALLEL_CALIBRATION), 1, Flag.LAST_IN_MEASUREMENT)
    items = finished(started(), calibration, lines([0, 2], repetition=1))
    (unit,) = units(items)
    assert np.flatnonzero(unit.calibration.sampled[0]).tolist() == [2, 3]


def test_calibration_without_imaging_lines_gives_no_k_space_but_a_word():
    items = finished(started(), lines(range(N_KY), flags=Flag.IS_PARALLEL_CALIBRATION))
    (text,) = texts(items)
    assert len(items) == 1
    assert "met no imaging lines" in text


def test_a_scan_with_embedded_calibration_becomes_one_k_space_with_it(data_folder):
    path = data_folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    gadget = CollectKSpace()
    gadget.start(parse_header(read_header(path)))
    items = finished(gadget, *read_items(path))
    (unit,) = units(items)
    assert "1 noise" in texts(items)[0]
    assert unit.data.shape == (14, 1, 144, 384)
    shift = 144 // 2 - 54
    assert np.flatnonzero(unit.calibration.sampled[0]).tolist() == list(range(30 + shift, 78 + shift))
    assert np.flatnonzero(unit.sampled[0]).tolist() == list(range(shift, 106 + shift, 3))
    energy = (np.abs(unit.data) ** 2).sum(axis=(0, 1, 3))
    assert abs(int(energy.argmax()) - 72) <= 1


# Laws


def describe(item):
    if isinstance(item, Text):
        return item.text
    own = (item.data.tobytes(), item.sampled.tobytes(), item.head.tobytes(), item.axes)
    return own if item.calibration is None else (own, describe(item.calibration))


def stream(seed):
    """Lines in a plausible or an odd order, with flags and repeats; how they may be cut into batches; parameters."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 90))
    counters = {name: rng.integers(0, rng.integers(1, 4), n) for name in ("slice", "average", "phase", "segment")}
    steps = np.arange(n) % N_KY if rng.random() < 0.5 else rng.integers(0, N_KY, n)
    repetition = rng.integers(0, 3, n)
    if rng.random() < 0.5:
        repetition.sort()
    batch = lines(steps, seed, repetition=repetition, **counters)
    for flag, share in (
        (Flag.LAST_IN_SLICE, 0.1),
        (Flag.LAST_IN_MEASUREMENT, 0.03),
        (Flag.IS_PARALLEL_CALIBRATION, rng.choice([0, 0.2])),
        (Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING, rng.choice([0, 0.2])),
        (Flag.IS_NAVIGATION_DATA, rng.choice([0, 0.1])),
        (Flag.IS_REVERSE, rng.choice([0, 0.3])),
    ):
        flagged(batch, rng.random(n) < share, flag)
    cuts = sorted({0, *rng.integers(0, n, int(rng.integers(0, n))).tolist()})
    parts = [batch[i:j] for i, j in zip(cuts, [*cuts[1:], n], strict=True)]
    split = str(rng.choice(["slice contrast phase repetition set", "slice", "phase repetition", ""]))
    return batch, parts, {"split": split, "averages": str(rng.choice(["mean", "sum", "keep"]))}


FEW = encoding(**dict.fromkeys(("slice", "average", "phase", "repetition"), (0, 2, 0)))


@settings(max_examples=150)
@for_all(st.integers(0, 10**6))
def test_any_cutting_into_batches_gives_the_same_items_in_the_same_order(seed):
    batch, parts, parameters = stream(seed)
    whole, cut = (finished(started(FEW, **parameters), *batches) for batches in ([batch], parts))
    assert [describe(item) for item in whole] == [describe(item) for item in cut]


@settings(max_examples=80)
@for_all(st.integers(0, 10**6))
def test_no_imaging_line_is_lost(seed):
    batch, parts, parameters = stream(seed)
    batch.data[:] = 1
    items = finished(started(FEW, **{**parameters, "averages": "sum"}), *parts)
    alone = batch.has(Flag.IS_PARALLEL_CALIBRATION) & ~batch.has(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
    imaging = ~batch.has(Flag.IS_NAVIGATION_DATA) & ~alone
    assert sum(unit.data[..., 0].real.sum() for unit in units(items)) == imaging.sum() * N_CHANNELS


@for_all(st.lists(st.integers(0, 8), min_size=1, max_size=6))
def test_a_slice_stands_for_the_indices_it_was_made_of(index):
    found = as_slice(np.array(index))
    equal_steps = len(index) == 1 or (len(set(np.diff(index))) == 1 and index[1] != index[0])
    assert (found is not None) == equal_steps
    if found is not None:
        assert np.arange(9)[found].tolist() == index
