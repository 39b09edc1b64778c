"""Readout work: oversampling removed against the plain formula, partial echoes padded, reversed lines turned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from echotrain.gadgets.gadget import Gadget
from echotrain.gadgets.lines import runs, turn_forward
from echotrain.gadgets.readout import PadAsymmetricEcho, RemoveOversampling, crop_readout
from echotrain.mrd import Acquisitions, Encoding, Flag, Header, Image, KSpace, Space, acquisition_headers
from echotrain.mrd.errors import DataError, HeaderError

N_CHANNELS = 3


class Images(Gadget[KSpace, Image]):
    takes_image_space_readout = True


class Passes(Gadget[Acquisitions, KSpace]):
    takes_image_space_readout = True


class NeedsKSpace(Gadget[Acquisitions, KSpace]):
    pass


def noise(*shape, seed=3):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def lines(data, **fields):
    head = acquisition_headers(len(data), data.shape[1], data.shape[2])
    head["center_sample"] = data.shape[2] // 2
    head["scan_counter"] = np.arange(len(data)) + 100
    for name, value in fields.items():
        head[name] = value
    return Acquisitions(head, data)


def encoding(n=16, n_recon=8, field=400.0, recon_field=200.0):
    return Encoding(Space((n, 6, 1), (field, 100, 5)), Space((n_recon, 6, 1), (recon_field, 100, 5)), {})


def given(gadget, batches, *encodings, following=()):
    gadget.connect(following)
    gadget.start(Header(b"", encodings or (encoding(),)))
    items = [item for batch in batches for item in gadget.process(batch) or ()]
    return items + list(gadget.finish() or ())


def plain_ifft(x):
    return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(x, axes=-1), norm="ortho"), axes=-1)


def plain_fft(x):
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(x, axes=-1), norm="ortho"), axes=-1)


@pytest.mark.parametrize("n", [15, 16, 18, 21])
@pytest.mark.parametrize("n_kept", [5, 7, 8, 10, 14])
def test_cropping_follows_the_plain_formula_in_image_and_k_space(n, n_kept):
    samples = noise(4, N_CHANNELS, n)
    first = n // 2 - n_kept // 2
    image = plain_ifft(samples)[..., first : first + n_kept]
    cropped = crop_readout(torch.from_numpy(samples), n_kept, to_image=True)
    np.testing.assert_allclose(cropped.numpy(), image, rtol=1e-5, atol=1e-5)
    kspace = crop_readout(torch.from_numpy(samples), n_kept, to_image=False)
    np.testing.assert_allclose(kspace.numpy(), plain_fft(image), rtol=1e-5, atol=1e-5)
    assert kspace.dtype == cropped.dtype == torch.complex64


def test_an_object_within_the_field_of_view_is_that_sampled_without_oversampling():
    # Two shifted points seen at 12 samples, and at 24 over twice the field of view.
    def signal(n, positions):
        k = (np.arange(n) - n // 2) / 12 / (n // 12)
        wave = sum(weight * np.exp(-2j * np.pi * k * x) for x, weight in positions)
        return np.tile(wave.astype(np.complex64), (2, N_CHANNELS, 1))

    points = [(3, 1.0), (-6, 0.5j)]
    (fine,) = given(RemoveOversampling(), [lines(signal(24, points))], encoding(24, 12), following=[Passes(), Images()])
    np.testing.assert_allclose(fine.data, plain_ifft(signal(12, points)) * np.sqrt(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [16, 15])
def test_lines_stay_in_k_space_or_in_image_space_as_the_chain_takes_them(n):
    data = noise(5, N_CHANNELS, n)
    (kspace,) = given(RemoveOversampling(), [lines(data)], following=[NeedsKSpace(), Images()])
    (image,) = given(RemoveOversampling(), [lines(data)], following=[Passes(), Images(), NeedsKSpace()])
    assert (kspace.readout_in_image_space, image.readout_in_image_space) == (False, True)
    np.testing.assert_allclose(plain_fft(image.data), kspace.data, rtol=1e-5, atol=1e-5)
    assert kspace.n_samples == n // 2
    assert kspace.data.dtype == image.data.dtype == np.complex64


@pytest.mark.parametrize("following", [[], [Passes()], [Passes(), NeedsKSpace(), Images()]])
def test_lines_stay_in_k_space_unless_all_up_to_the_image_take_them_otherwise(following):
    (kept,) = given(RemoveOversampling(), [lines(noise(2, N_CHANNELS, 16))], following=following)
    assert not kept.readout_in_image_space


def test_headers_follow_the_crop_and_those_given_stay():
    given_lines = lines(noise(2, N_CHANNELS, 16), discard_pre=4, discard_post=2)
    (cropped,) = given(RemoveOversampling(), [given_lines])
    assert cropped.head["number_of_samples"].tolist() == [8, 8]
    assert cropped.head["center_sample"].tolist() == [4, 4]
    assert cropped.head["discard_pre"].tolist() == [2, 2]
    assert cropped.head["discard_post"].tolist() == [1, 1]
    assert cropped.head["scan_counter"].tolist() == [100, 101]
    assert given_lines.head["number_of_samples"].tolist() == [16, 16]
    assert given_lines.head["discard_pre"].tolist() == [4, 4]


@pytest.mark.parametrize(
    "unchanged",
    [
        {"flags": Flag.IS_NOISE_MEASUREMENT},
        {"encoding_space_ref": 1},
        {"center_sample": 16},
    ],
)
def test_lines_with_nothing_to_remove_pass_in_their_place(unchanged):
    batch = lines(noise(5, N_CHANNELS, 16))
    for name, value in unchanged.items():
        batch.head[name][2] = value
    items = given(RemoveOversampling(), [batch], encoding(), encoding(16, 16, 200.0), following=[Passes(), Images()])
    assert [(len(item), item.n_samples, item.readout_in_image_space) for item in items] == [
        (2, 8, True),
        (1, 16, False),
        (2, 8, True),
    ]
    np.testing.assert_array_equal(items[1].data, batch.data[2:3])


def test_each_encoding_has_its_own_ratio():
    batch = lines(noise(4, N_CHANNELS, 18), encoding_space_ref=[0, 0, 1, 1])
    items = given(RemoveOversampling(), [batch], encoding(), encoding(18, 6, 300.0, 100.0))
    assert [item.n_samples for item in items] == [9, 6]


def test_lines_of_an_encoding_that_the_header_lacks_are_refused():
    with pytest.raises(HeaderError, match="encoding 3"):
        given(RemoveOversampling(), [lines(noise(1, N_CHANNELS, 16), encoding_space_ref=3)])


def test_batches_of_any_size_give_the_same_lines():
    batch = lines(noise(9, N_CHANNELS, 16))
    batch.head["flags"][3:7:2] = Flag.IS_REVERSE
    batch.head["flags"][4] = Flag.IS_NOISE_MEASUREMENT
    whole, single = given(RemoveOversampling(), [batch]), given(RemoveOversampling(), list(batch))
    rows = [[row for item in items for row in item.data] for items in (whole, single)]
    assert len(rows[0]) == len(rows[1]) == 9
    for one, other in zip(*rows, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [2, 4, 8])
@pytest.mark.parametrize("gap", [6, 8])
@pytest.mark.parametrize("n", [1, 4])
def test_lines_as_views_of_the_bytes_that_arrived_are_cropped_alike(n, gap, offset):
    data = noise(n, N_CHANNELS, 16)
    size = gap + data[0].nbytes
    raw = np.zeros(offset + n * size, np.uint8)
    view = np.ndarray(data.shape, "<c8", raw, offset, (size, 128, 8))
    view[:] = data
    view.flags.writeable = False
    (from_view,), (direct,) = (given(RemoveOversampling(), [lines(x)]) for x in (view, data))
    np.testing.assert_array_equal(from_view.data, direct.data)


def test_a_trajectory_is_taken_at_the_samples_that_are_left():
    trajectory = np.stack([np.arange(16), -2.0 * np.arange(16)], axis=-1).astype(np.float32)[None]
    batch = lines(noise(1, N_CHANNELS, 16))
    (cropped,) = given(RemoveOversampling(), [Acquisitions(batch.head, batch.data, trajectory)])
    np.testing.assert_allclose(cropped.trajectory, trajectory[:, ::2])


def test_reversed_lines_run_forward_afterwards_and_say_so():
    batch = lines(noise(4, N_CHANNELS, 8), discard_pre=3)
    batch.head["flags"][1::2] = Flag.IS_REVERSE | Flag.LAST_IN_SLICE
    forward = turn_forward(batch)
    np.testing.assert_array_equal(forward.data[::2], batch.data[::2])
    np.testing.assert_array_equal(forward.data[1::2], batch.data[1::2, :, ::-1])
    assert forward.head["flags"].tolist() == [0, Flag.LAST_IN_SLICE] * 2
    assert forward.head["discard_post"].tolist() == [0, 3, 0, 3]
    assert batch.has(Flag.IS_REVERSE).tolist() == [False, True] * 2
    assert turn_forward(forward) is forward


def test_oversampling_of_reversed_lines_is_removed_as_of_forward_ones():
    data = noise(2, N_CHANNELS, 16)
    (forward,) = given(RemoveOversampling(), [lines(data)])
    (reverse,) = given(RemoveOversampling(), [lines(data[:, :, ::-1].copy(), flags=Flag.IS_REVERSE)])
    np.testing.assert_array_equal(forward.data, reverse.data)
    assert not reverse.has(Flag.IS_REVERSE).any()


@pytest.mark.parametrize("following", [(Passes(), Images()), (NeedsKSpace(),)])
def test_samples_to_be_discarded_do_not_reach_the_image(following):
    data = noise(3, N_CHANNELS, 16)
    clean = data.copy()
    clean[1, :, :5] = clean[2, :, 13:] = 0
    marked = lines(data, discard_pre=[0, 5, 0], discard_post=[0, 0, 3])
    (cropped,), (expected,) = (given(RemoveOversampling(), [x], following=following) for x in (marked, lines(clean)))
    np.testing.assert_array_equal(cropped.data, expected.data)
    reverse = lines(data[:, :, ::-1].copy(), discard_pre=[0, 0, 3], discard_post=[0, 5, 0], flags=Flag.IS_REVERSE)
    (turned,) = given(RemoveOversampling(), [reverse], following=following)
    np.testing.assert_array_equal(turned.data, expected.data)


def test_runs_are_the_longest_stretches_of_one_key():
    assert list(runs(np.array([4, 4, 7, 4]))) == [slice(0, 2), slice(2, 3), slice(3, 4)]
    assert list(runs(np.array([[1, 2], [1, 2], [1, 3]]))) == [slice(0, 2), slice(2, 3)]


@pytest.mark.parametrize(("centre", "n", "front"), [(3, 11, 5), (8, 11, 0), (5, 12, 3)])
def test_partial_echoes_are_padded_so_that_the_echo_stands_at_the_centre(centre, n, front):
    data = noise(3, N_CHANNELS, n)
    (padded,) = given(PadAsymmetricEcho(), [lines(data, center_sample=centre, discard_post=1)])
    np.testing.assert_array_equal(padded.data[:, :, front : front + n], data)
    assert np.count_nonzero(padded.data) == data.size
    assert padded.data.shape == (3, N_CHANNELS, 16)
    assert padded.head["center_sample"].tolist() == [8] * 3
    assert padded.head["number_of_samples"].tolist() == [16] * 3
    assert padded.head["discard_pre"].tolist() == [front] * 3
    assert padded.head["discard_post"].tolist() == [16 - n - front + 1] * 3
    np.testing.assert_array_equal(padded.data[:, :, 8], data[:, :, centre])


def test_reversed_partial_echoes_are_turned_forward_and_then_padded():
    data = noise(3, N_CHANNELS, 11)
    reverse = lines(data[:, :, ::-1].copy(), center_sample=3, flags=Flag.IS_REVERSE)
    (padded,) = given(PadAsymmetricEcho(), [reverse])
    (forward,) = given(PadAsymmetricEcho(), [lines(data, center_sample=3)])
    np.testing.assert_array_equal(turn_forward(padded).data, forward.data)


@pytest.mark.parametrize(("kind", "n_given"), [("cartesian", 16), ("epi", 16), ("radial", 11)])
def test_a_trajectory_keeps_partial_echoes_from_being_padded_only_where_it_places_samples(kind, n_given):
    batch = lines(noise(3, N_CHANNELS, 11), center_sample=3, trajectory_dimensions=2)
    batch = replace(batch, trajectory=np.zeros((3, 11, 2), np.float32))
    (padded,) = given(PadAsymmetricEcho(), [batch], replace(encoding(), trajectory=kind))
    padded.check()
    assert padded.n_samples == n_given


def test_echoes_at_several_positions_of_a_batch_are_padded_each_at_its_own():
    data = noise(4, N_CHANNELS, 10)
    (padded,) = given(PadAsymmetricEcho(), [lines(data, center_sample=[3, 7, 3, 4])])
    for row, line, front in zip(padded.data, data, [5, 1, 5, 4], strict=True):
        np.testing.assert_array_equal(row[:, front : front + 10], line)


def test_an_echo_that_cannot_come_to_the_centre_is_refused():
    with pytest.raises(DataError, match="line 100 has 11 samples with its echo at 1"):
        given(PadAsymmetricEcho(), [lines(noise(1, N_CHANNELS, 11), center_sample=1)])
    with pytest.raises(DataError, match="echo at 10"):
        given(PadAsymmetricEcho(), [lines(noise(1, N_CHANNELS, 11), center_sample=10)])


@pytest.mark.parametrize(
    "fields",
    [
        {"center_sample": 5},  # symmetric
        {"center_sample": 10},  # the echo is not among the samples
        {"center_sample": 0, "flags": Flag.IS_NOISE_MEASUREMENT},
        {"center_sample": 0, "flags": Flag.IS_NAVIGATION_DATA},
    ],
)
def test_whole_echoes_and_lines_without_one_pass_untouched(fields):
    batch = lines(noise(2, N_CHANNELS, 10), **fields)
    (passed,) = given(PadAsymmetricEcho(), [batch])
    assert passed.data is batch.data or np.shares_memory(passed.data, batch.data)
    assert passed.head["discard_pre"].tolist() == [0, 0]


def test_a_whole_line_with_its_echo_beside_the_middle_passes():
    batch = lines(noise(1, N_CHANNELS, 16), center_sample=6)
    (passed,) = given(PadAsymmetricEcho(), [batch])
    np.testing.assert_array_equal(passed.data, batch.data)
    assert passed.head["center_sample"].tolist() == [6]


def test_partial_echoes_between_other_lines_keep_their_order():
    batch = lines(noise(4, N_CHANNELS, 10), center_sample=[3, 5, 4, 3])
    items = given(PadAsymmetricEcho(), [batch])
    assert [int(number) for item in items for number in item.head["scan_counter"]] == [100, 101, 102, 103]
    assert [item.n_samples for item in items] == [16, 10, 16]
