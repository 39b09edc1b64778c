"""Lines collected into k-space: where they go, and when it is given on."""

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from echotrain.gadgets.collect import CollectKSpace
from echotrain.gadgets.kspace_units import as_slice
from echotrain.mrd import (
    Acquisitions,
    Encoding,
    Flag,
    Header,
    KSpace,
    Limit,
    Space,
    Text,
    acquisition_headers,
    parse_header,
)
from echotrain.mrd.errors import DataError, HeaderError
from echotrain.mrd.records import ACQUISITION_HEADER

DATA = Path(os.environ.get("ECHOTRAIN_DATA", Path(__file__).parents[3] / "shared" / "data"))
N_CHANNELS, N_KY, N_KZ, N_KX = 3, 6, 4, 5
STEP_1, STEP_2 = "kspace_encode_step_1", "kspace_encode_step_2"


def encoding(n_kz=1, trajectory="cartesian", **limits):
    """An encoding of which the limits announce all of ky (and kz), unless `limits` say otherwise."""
    steps = {"kspace_encoding_step_1": (0, N_KY - 1, N_KY // 2)}
    if n_kz > 1:
        steps["kspace_encoding_step_2"] = (0, n_kz - 1, n_kz // 2)
    known = {name: Limit(*limit) for name, limit in {**steps, **limits}.items() if limit}
    space = Space((N_KX, N_KY, n_kz), (100.0, 100.0, 20.0))
    return Encoding(space, space, known, trajectory)


PLANE = encoding()
UNKNOWN = encoding(kspace_encoding_step_1=None)


def lines(steps, seed=0, flags=0, n_samples=N_KX, **counters):
    """Lines of noise at `steps` along ky; counters and flags for all, or for each."""
    rng = np.random.default_rng(seed)
    shape = (len(steps), N_CHANNELS, n_samples)
    data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    head = acquisition_headers(*shape)
    head["idx"][STEP_1] = steps
    head["flags"] = flags
    head["scan_counter"] = np.arange(len(steps)) + 1000 * seed
    for name, value in counters.items():
        head["idx"][name] = value
    return Acquisitions(head, data)


def joined(*batches):
    return Acquisitions(np.concatenate([b.head for b in batches]), np.concatenate([b.data for b in batches]))


def flagged(batch, index, flag):
    batch.head["flags"][index] |= np.uint64(flag)
    return batch


def started(*encodings, **parameters):
    gadget = CollectKSpace(**parameters)
    gadget.connect([])
    gadget.start(Header(b"", encodings or (PLANE,)))
    return gadget


def processed(gadget, *batches):
    return [item for batch in batches for item in gadget.process(batch) or ()]


def finished(gadget, *batches):
    return processed(gadget, *batches) + list(gadget.finish() or ())


def units(items):
    return [item for item in items if isinstance(item, KSpace)]


def texts(items):
    return [item.text for item in items if isinstance(item, Text)]


def counters_of(items, name):
    return [int(unit.head["idx"][name]) for unit in units(items)]


# Where lines go


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [0, 2, 4, 1, 3, 5], [3, 2, 4, 1, 5, 0]])
def test_lines_stand_at_their_step(order):
    batch = lines(order)
    (unit,) = processed(started(), batch)
    assert unit.data.shape == (N_CHANNELS, 1, N_KY, N_KX)
    assert unit.data.dtype == np.complex64
    for line, ky in zip(batch.data, order, strict=True):
        np.testing.assert_array_equal(unit.data[:, 0, ky], line)
    assert unit.sampled.shape == (1, N_KY)
    assert unit.sampled.all()
    assert (unit.axes, unit.calibration, unit.readout_in_image_space) == ((), None, False)


@pytest.mark.parametrize("seed", range(6))
def test_a_volume_in_any_order_and_any_batches_is_the_array_it_came_from(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(N_KY * N_KZ)
    batch = lines(order % N_KY, seed, kspace_encode_step_2=order // N_KY)
    cuts = np.sort(rng.integers(1, len(order), 3))
    parts = [batch[i:j] for i, j in zip([0, *cuts], [*cuts, None], strict=True) if i != j]
    (unit,) = processed(started(encoding(N_KZ)), *parts)
    np.testing.assert_array_equal(unit.data[:, order // N_KY, order % N_KY], batch.data.transpose(1, 0, 2))


def test_partial_fourier_is_filled_with_zeros_on_the_side_that_the_centre_says():
    partial = encoding(kspace_encoding_step_1=(0, 3, 1))
    batch = lines([0, 1, 2, 3])
    (unit,) = processed(started(partial), batch)
    np.testing.assert_array_equal(unit.data[:, 0, 2:], batch.data.transpose(1, 0, 2))
    assert unit.sampled.tolist() == [[False, False, True, True, True, True]]
    assert not unit.data[:, 0, :2].any()


def test_step_2_is_ignored_where_the_grid_has_one_plane():
    (unit,) = processed(started(), lines(range(N_KY), kspace_encode_step_2=9))
    assert unit.sampled.all()


def test_without_limits_the_centre_is_the_middle_of_the_matrix():
    (unit,) = finished(started(UNKNOWN), lines([0, 5]))
    assert unit.sampled.tolist() == [[True, False, False, False, False, True]]


def test_reversed_lines_are_turned_forward():
    batch = lines(range(N_KY), flags=Flag.IS_REVERSE)
    (unit,) = processed(started(encoding(trajectory="epi")), batch)
    np.testing.assert_array_equal(unit.data[:, 0], batch.data.transpose(1, 0, 2)[..., ::-1])
    assert unit.head["flags"] == 0


def test_the_header_is_that_of_the_first_line_nearest_to_the_centre():
    steps = [(1, 2), (3, 0), (3, 3), (2, 2), (3, 1), (0, 0)]
    batch = lines([step for step, _ in steps], kspace_encode_step_2=[step for _, step in steps])
    for parts in ([batch], list(batch)):
        (unit,) = finished(started(encoding(N_KZ)), *parts)
        assert unit.head["scan_counter"] == 2
        assert unit.head.shape == ()


def test_units_own_their_memory():
    batch = lines(range(N_KY))
    (unit,) = processed(started(), batch)
    batch.data[:] = 0
    batch.head["scan_counter"] = 77
    assert unit.data.all()
    assert unit.head["scan_counter"] == 3


def test_lines_transformed_along_the_readout_give_k_space_that_says_so():
    batch = replace(lines(range(N_KY)), readout_in_image_space=True)
    (unit,) = processed(started(), batch)
    assert unit.readout_in_image_space
    with pytest.raises(DataError, match="in image space"):
        processed(started(UNKNOWN), batch, lines([1]))


def test_strided_unaligned_lines_are_placed():
    batch = lines(range(N_KY))
    size = 342 + batch.data[0].nbytes
    raw = np.zeros(size * N_KY, np.uint8)
    head = np.ndarray((N_KY,), batch.head.dtype, raw, 2, (size,))
    data = np.ndarray(batch.data.shape, "<c8", raw, 342, (size, 8 * N_KX, 8))
    head[:], data[:] = batch.head, batch.data
    raw.flags.writeable = False
    for order in ([0, 1, 2, 3, 4, 5], [0, 2, 1, 5, 3, 4]):
        (unit,) = processed(started(), Acquisitions(head, data)[np.array(order)])
        np.testing.assert_array_equal(unit.data[:, 0], batch.data.transpose(1, 0, 2))


# Counters


@pytest.mark.parametrize("name", ["slice", "contrast", "phase", "repetition", "set"])
def test_each_value_of_a_split_counter_is_a_k_space_of_its_own(name):
    first, second = lines(range(N_KY), 1, **{name: 1}), lines(range(N_KY), 2, **{name: 3})
    items = processed(started(), first, second)
    assert counters_of(items, name) == [1, 3]
    for unit, batch in zip(units(items), (first, second), strict=True):
        np.testing.assert_array_equal(unit.data[:, 0], batch.data.transpose(1, 0, 2))


def test_a_counter_that_is_not_split_becomes_an_axis_as_long_as_its_limits():
    phases = encoding(phase=(1, 3, 0), contrast=(0, 1, 0))
    batch = lines(np.tile(range(N_KY), 6), phase=np.repeat([1, 2, 3], 2 * N_KY), contrast=np.arange(36) // N_KY % 2)
    for parts in ([batch], list(batch)):
        (unit,) = processed(started(phases, split="slice repetition set"), *parts)
        assert unit.axes == ("contrast", "phase")
        assert unit.data.shape == (2, 3, N_CHANNELS, 1, N_KY, N_KX)
        assert unit.sampled.shape == (2, 3, 1, N_KY)
        ordered = batch.data.reshape(3, 2, N_KY, N_CHANNELS, N_KX).transpose(1, 0, 3, 2, 4)
        np.testing.assert_array_equal(unit.data[:, :, :, 0], ordered)
        assert unit.head["idx"]["phase"].tolist() == [[1, 2, 3], [1, 2, 3]]
        assert unit.head["idx"][STEP_1].tolist() == [[3, 3, 3], [3, 3, 3]]


def test_a_segment_only_says_when_a_line_was_acquired():
    batch = lines([0, 2, 4, 1, 3, 5], segment=[0, 0, 0, 1, 1, 1])
    (unit,) = processed(started(encoding(segment=(0, 1, 0))), batch)
    assert unit.sampled.all()
    items = finished(started(encoding(segment=(0, 1, 0)), split="slice repetition segment"), batch)
    assert [unit.sampled.sum() for unit in units(items)] == [3, 3]


AVERAGED = encoding(average=(0, 2, 0))


def test_averages_become_their_mean_by_line_or_their_sum_or_an_axis():
    batch = lines(np.repeat(range(N_KY), 3), average=np.tile([0, 1, 2], N_KY))
    separate = batch.data.reshape(N_KY, 3, N_CHANNELS, N_KX).transpose(1, 2, 0, 3)  # (average, channel, ky, kx)
    (mean,) = processed(started(AVERAGED), batch)
    (total,) = processed(started(AVERAGED, averages="sum"), batch)
    (kept,) = processed(started(AVERAGED, averages="keep"), batch)
    np.testing.assert_allclose(mean.data[:, 0], separate.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(total.data[:, 0], separate.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(kept.data[:, :, 0], separate)
    assert (mean.axes, kept.axes) == ((), ("average",))


def test_a_line_averaged_more_often_than_others_weighs_no_more():
    ones = [Acquisitions(b.head, np.ones_like(b.data)) for b in (lines(range(N_KY)), lines([2, 3], average=2))]
    (unit,) = finished(started(AVERAGED), joined(*ones))
    np.testing.assert_array_equal(unit.data, 1)


def test_averages_can_be_split():
    batch = lines(np.tile(range(N_KY), 3), average=np.repeat([0, 1, 2], N_KY))
    gadget = started(AVERAGED, split="slice contrast phase repetition set average")
    assert counters_of(processed(gadget, batch), "average") == [0, 1, 2]


def test_each_encoding_has_its_own_grid():
    wide = Encoding(Space((N_KX, 8, 1), (100.0,) * 3), PLANE.recon, {"kspace_encoding_step_1": Limit(0, 7, 4)})
    second = lines(range(8))
    second.head["encoding_space_ref"] = 1
    items = processed(started(PLANE, wide), joined(lines(range(N_KY)), second))
    assert [unit.data.shape[-2] for unit in units(items)] == [N_KY, 8]


# What does not fit


def test_lines_that_are_not_k_space_of_an_image_are_left_out_and_counted():
    batch = lines(range(N_KY))
    others = joined(
        lines([0, 1], flags=Flag.IS_NAVIGATION_DATA),
        lines([0, 1, 2], flags=Flag.IS_PHASECORR_DATA | Flag.IS_REVERSE | Flag.LAST_IN_MEASUREMENT),
        lines([60], flags=Flag.IS_DUMMYSCAN_DATA, repetition=9),
    )
    noise = lines([0], n_samples=9, flags=Flag.IS_NOISE_MEASUREMENT)
    items = finished(started(), noise, joined(batch[:2], others, batch[2:]))
    (unit,) = units(items)
    np.testing.assert_array_equal(unit.data[:, 0], batch.data.transpose(1, 0, 2))
    (text,) = texts(items)
    assert text.endswith("1 noise, 2 navigation, 3 phase correction, 1 dummy")


def test_a_step_outside_the_grid_names_the_line_and_the_range():
    with pytest.raises(DataError, match=r"line 1002 has kspace_encode_step_1 6, which lies outside 0 to 5"):
        processed(started(), lines([0, 1, 6], seed=1))
    shifted = encoding(kspace_encoding_step_1=(2, 4, 4))
    with pytest.raises(DataError, match="kspace_encode_step_1 0, which lies outside 1 to 6"):
        processed(started(shifted), lines([1, 0]))
    with pytest.raises(DataError, match="kspace_encode_step_2 4, which lies outside 0 to 3"):
        processed(started(encoding(N_KZ)), lines([1], kspace_encode_step_2=4))


def test_a_counter_outside_its_limits_names_the_line_and_the_range():
    with pytest.raises(DataError, match="line 1 has phase 4, which lies outside 1 to 3"):
        processed(started(encoding(phase=(1, 3, 0)), split="slice"), lines([0, 1], phase=[1, 4]))
    with pytest.raises(DataError, match="average 3, which lies outside 0 to 2"):
        processed(started(AVERAGED), lines([0], average=3))


def test_lines_of_other_shape_in_one_k_space_are_refused_with_a_hint():
    with pytest.raises(DataError, match=r"line 1000 has 3 channels x 4 samples.* 3 x 5.*PadAsymmetricEcho"):
        processed(started(), lines([0]), lines([1], seed=1, n_samples=4))


def test_headers_that_describe_no_cartesian_grid_are_refused():
    with pytest.raises(HeaderError, match="radial"):
        started(encoding(trajectory="radial"))
    with pytest.raises(HeaderError, match="no encoding"):
        CollectKSpace().start(Header(b""))
    batch = lines([0])
    batch.head["encoding_space_ref"] = 1
    with pytest.raises(HeaderError, match="encoding 1"):
        processed(started(), batch)


# When k-space is given on


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
        (unit,) = finished(started(), *parts)
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
    assert not texts(items)


def test_calibration_that_ends_its_slice_waits_for_the_imaging_lines():
    parts = [flagged(lines([ky], flags=Flag.IS_PARALLEL_CALIBRATION), 0, Flag.LAST_IN_SLICE) for ky in (2, 4)]
    batch = joined(*parts, flagged(lines([0, 3]), 1, Flag.LAST_IN_SLICE))
    for cut in ([batch], list(batch)):
        (unit,) = finished(started(), *cut)
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
    (unit,) = items
    assert np.flatnonzero(unit.calibration.sampled[0]).tolist() == [2, 3]


def test_calibration_without_imaging_lines_gives_no_k_space_but_a_word():
    items = finished(started(), lines(range(N_KY), flags=Flag.IS_PARALLEL_CALIBRATION))
    (text,) = texts(items)
    assert len(items) == 1
    assert "met no imaging lines" in text


def test_a_scan_with_embedded_calibration_becomes_one_k_space_with_it():
    path = DATA / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    if not path.exists():
        pytest.skip("the shared scanner data are not here: ismrmrd-grappa3")
    with h5py.File(path) as file:
        header = parse_header(file["dataset/xml"][0])
        records = file["dataset/data"][:]
    gadget = CollectKSpace()
    gadget.start(header)
    batches = [
        Acquisitions(np.array([head], ACQUISITION_HEADER), data.view(np.complex64).reshape(1, 14, 384))
        for head, _, data in records
    ]
    items = finished(gadget, *batches)
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


@settings(max_examples=150, deadline=None, derandomize=True)
@for_all(st.integers(0, 10**6))
def test_any_cutting_into_batches_gives_the_same_items_in_the_same_order(seed):
    batch, parts, parameters = stream(seed)
    whole, cut = (finished(started(FEW, **parameters), *batches) for batches in ([batch], parts))
    assert [describe(item) for item in whole] == [describe(item) for item in cut]


@settings(max_examples=80, deadline=None, derandomize=True)
@for_all(st.integers(0, 10**6))
def test_no_imaging_line_is_lost(seed):
    batch, parts, parameters = stream(seed)
    batch.data[:] = 1
    items = finished(started(FEW, **{**parameters, "averages": "sum"}), *parts)
    alone = batch.has(Flag.IS_PARALLEL_CALIBRATION) & ~batch.has(Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING)
    imaging = ~batch.has(Flag.IS_NAVIGATION_DATA) & ~alone
    assert sum(unit.data[..., 0].real.sum() for unit in units(items)) == imaging.sum() * N_CHANNELS


@for_all(st.lists(st.integers(0, 8), min_size=1, max_size=6))
@settings(derandomize=True)
def test_a_slice_stands_for_the_indices_it_was_made_of(index):
    found = as_slice(np.array(index))
    equal_steps = len(index) == 1 or (len(set(np.diff(index))) == 1 and index[1] != index[0])
    assert (found is not None) == equal_steps
    if found is not None:
        assert np.arange(9)[found].tolist() == index
