"""Lines collected into k-space: where they go."""

from dataclasses import replace

import numpy as np
import pytest
from collecting import (
    AVERAGED,
    N_CHANNELS,
    N_KX,
    N_KY,
    N_KZ,
    PLANE,
    STEP_1,
    UNKNOWN,
    counters_of,
    encoding,
    finished,
    joined,
    lines,
    processed,
    started,
    texts,
    units,
)

from echotrain.gadgets.collect import CollectKSpace
from echotrain.mrd import (
    Acquisitions,
    Encoding,
    Flag,
    Header,
    Limit,
    Space,
)
from echotrain.mrd.errors import DataError, HeaderError


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
    (unit,) = units(finished(started(UNKNOWN), lines([0, 5])))
    assert unit.sampled.tolist() == [[True, False, False, False, False, True]]


def test_reversed_lines_are_turned_forward():
    batch = lines(range(N_KY), flags=Flag.IS_REVERSE)
    (unit,) = processed(started(encoding(trajectory="epi")), batch)
    np.testing.assert_array_equal(unit.data[:, 0], batch.data.transpose(1, 0, 2)[..., ::-1])
    assert unit.head["flags"] == 0


def test_samples_to_be_discarded_stay_zero_unless_the_readout_is_in_image_space():
    batch = lines(range(N_KY))
    batch.head["discard_pre"], batch.head["discard_post"][2] = 1, 2
    (unit,) = units(finished(started(), batch))
    assert not unit.data[..., 0].any()
    assert not unit.data[:, 0, 2, 3:].any()
    np.testing.assert_array_equal(unit.data[:, 0, 3, 1:], batch.data[3, :, 1:])
    (unit,) = units(finished(started(), replace(batch, readout_in_image_space=True)))
    np.testing.assert_array_equal(unit.data[:, 0].transpose(1, 0, 2), batch.data)


def test_the_header_is_that_of_the_first_line_nearest_to_the_centre():
    steps = [(1, 2), (3, 0), (3, 3), (2, 2), (3, 1), (0, 0)]
    batch = lines([step for step, _ in steps], kspace_encode_step_2=[step for _, step in steps])
    for parts in ([batch], list(batch)):
        (unit,) = units(finished(started(encoding(N_KZ)), *parts))
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


@pytest.mark.parametrize("limit", [(3, 1, 0), (-1, 2, 0), (0, 1 << 80, 0)])
@pytest.mark.parametrize("name", ["slice", "average"])
def test_limits_that_are_no_range_of_a_counter_are_refused(name, limit):
    with pytest.raises(HeaderError, match=f"limits of {name} are {limit[0]} to {limit[1]}"):
        started(encoding(**{name: limit}), split="repetition")


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
