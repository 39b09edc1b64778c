"""GRAPPA's weights are exact where theory says so, and image space gives what k-space gives."""

import numpy as np
import pytest
import torch
from undersampling import N_CHANNELS, N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets.coils import adaptive_coil_maps, combine
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.grappa_weights import (
    g_factor,
    grappa,
    grappa_unmixing,
    grappa_weights,
    smallest_eigenvalue,
    unmix,
    unmix_folded,
)
from echotrain.gadgets.sampling import dense_block, sampling_lattice, without_gaps
from echotrain.mrd.errors import DataError


def shifted(steps, shift, shape):
    """Every `steps`th line along (kz, ky), moved on along ky by `shift` from each such plane to the next."""
    sampled = np.zeros(shape, bool)
    for place, plane in enumerate(range(0, shape[0], steps[0])):
        sampled[plane, (shift * place) % steps[1] :: steps[1]] = True
    return sampled


# Weights


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("first", [0, 1])
def test_missing_lines_of_a_consistent_k_space_are_found_exactly(step, first):
    kspace = centred_fft(channel_images(), (-2, -1))
    sampled = every(step, first)
    filled = grappa(only(kspace, sampled), kspace[:, :, 12:36], regularization=1e-10)
    assert relative(filled, kspace) < 1e-5
    np.testing.assert_array_equal(filled[:, sampled], kspace[:, sampled])


@pytest.mark.parametrize(("step", "n_lines"), [(2, 4), (3, 4), (4, 2), (6, 2)])
def test_lines_far_apart_are_made_from_the_two_nearest_unless_the_kernel_says_more(step, n_lines):
    calibration = noise(3, 1, 40, 30)
    for kernel, expected in (((3, 0), n_lines), ((3, 5), 5)):
        weights = grappa_weights(calibration, step, kernel)
        assert len(weights.shifts) == 1 + (step - 1) * expected
    nearest = np.abs(grappa_weights(calibration, step, (3, 0)).shifts[1:, 1].reshape(step - 1, n_lines))
    assert (np.sort(nearest, axis=1)[:, :2].sum(axis=1) == step).all()


@pytest.mark.parametrize(("steps", "shift"), [((1, 2), 0), ((2, 1), 0), ((2, 2), 0), ((2, 2), 1)])
def test_missing_lines_of_volumes_are_found_exactly(steps, shift):
    shape = (12, 20, 16)  # so that shifted lines go on regularly where k-space begins again
    kspace = centred_fft(channel_images(14, shape), (-3, -2, -1))
    sampled = shifted(steps, shift, shape=shape[:2])
    filled = grappa(only(kspace, sampled), kspace[:, 1:, 2:-2], kernel=(3, 2, 2), regularization=1e-12)
    assert relative(filled, kspace) < 1e-5
    np.testing.assert_array_equal(filled[:, sampled], kspace[:, sampled])


def test_planes_without_an_axis_for_kz_are_taken():
    kspace = centred_fft(channel_images(), (-2, -1))
    with_kz = grappa(only(kspace, every(2)), kspace[:, :, 12:36])
    np.testing.assert_array_equal(grappa(only(kspace, every(2))[:, 0], kspace[:, 0, 12:36]), with_kz[:, 0])


def test_the_smallest_eigenvalue_is_found_from_the_factor():
    samples = noise(30, 200).astype(np.complex128)
    matrix = torch.from_numpy(samples @ samples.conj().T)
    found = smallest_eigenvalue(torch.linalg.cholesky(matrix))
    assert found == pytest.approx(float(torch.linalg.eigvalsh(matrix)[0]), rel=0.3)


def test_noise_in_calibration_lines_regularises_and_keeps_errors_down():
    clean = centred_fft(channel_images(), (-2, -1))
    noisy = clean + 0.3 * np.abs(clean).std() * noise(*clean.shape, seed=7)
    sampled = every(4)

    def error(kspace, **weight):
        filled = grappa(only(kspace, sampled), kspace[:, :, 14:34], (3, 2), **weight)
        return relative(filled[:, ~sampled], clean[:, ~sampled])

    assert error(noisy) < 0.9 * error(noisy, noise_weight=0)
    assert error(clean) == pytest.approx(error(clean, noise_weight=0), rel=1e-3)


def test_regularization_is_relative_to_the_signal():
    calibration = centred_fft(channel_images(), (-2, -1))[:, :, 12:36] + 0.1 * noise(N_CHANNELS, 1, 24, N_KX)
    weights = grappa_weights(calibration, 2, regularization=0.1).values
    np.testing.assert_allclose(grappa_weights(1e-6 * calibration, 2, regularization=0.1).values, weights, atol=1e-5)
    free = grappa_weights(calibration, 2, regularization=1e-6).values
    assert torch.linalg.norm(weights[1:]) < 0.9 * torch.linalg.norm(free[1:])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tensors_stay_tensors_where_they_are(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    kspace = centred_fft(channel_images(), (-2, -1))
    calibration, lines = kspace[:, :, 12:36], only(kspace, every(2))
    filled = grappa(torch.from_numpy(lines).to(device), torch.from_numpy(calibration).to(device))
    maps = adaptive_coil_maps(torch.from_numpy(channel_images()).to(device))
    unmixing = grappa_unmixing(grappa_weights(torch.from_numpy(calibration).to(device), 2), maps)
    assert filled.device.type == unmixing.device.type == device
    np.testing.assert_allclose(filled.cpu(), grappa(lines, calibration), atol=1e-3)
    expected = grappa_unmixing(grappa_weights(calibration, 2), maps.cpu().numpy())
    np.testing.assert_allclose(unmixing.cpu(), expected, atol=1e-3)


# Unmixing


@pytest.mark.parametrize(
    ("steps", "shift", "shape"), [((1, 3), 0, (1, N_KY, N_KX)), ((2, 2), 0, (10, 24, 16)), ((2, 2), 1, (12, 24, 16))]
)
def test_unmixing_is_convolution_transform_and_combination_in_one(steps, shift, shape):
    axes = (-3, -2, -1)
    kspace = centred_fft(channel_images(shape=shape), axes) + 0.2 * noise(N_CHANNELS, *shape)
    sampled = shifted(steps, shift, shape=shape[:2])
    lines, calibration, kernel = only(kspace, sampled), kspace[:, :, 2:-2], (3, 2, 2)
    maps = adaptive_coil_maps(centred_ifft(kspace, axes))
    unmixing = grappa_unmixing(grappa_weights(calibration, steps[::-1], kernel, shift=shift), maps)
    expected = combine(centred_ifft(grappa(lines, calibration, kernel), axes), maps)
    assert relative(unmix(centred_ifft(lines, axes), unmixing), expected) < 1e-5


@pytest.mark.parametrize(("n", "step"), [(48, 4), (45, 3), (50, 5), (46, 2), (9, 9)])
def test_every_nth_line_transformed_alone_is_unmixed_to_the_same(n, step):
    lines, unmixing = noise(3, 2, n, 7), noise(3, 2, n, 7, seed=1)
    for first in range(step):
        whole = only(lines, every((1, step), first, shape=(2, n)))
        folded = centred_ifft(np.ascontiguousarray(lines[:, :, first::step]), (-3, -2, -1))
        expected = unmix(centred_ifft(whole, (-3, -2, -1)), unmixing)
        assert relative(unmix_folded(folded, unmixing, first), expected) < 1e-6


def test_the_g_factor_is_that_of_noise_sent_through():
    n_y, n_x, n_replicas, step = 24, 20, 3000, 3
    images = channel_images(shape=(1, n_y, n_x))
    kspace = centred_fft(images, (-2, -1))
    weights = grappa_weights(kspace + 0.1 * noise(*kspace.shape), step, (3, 2))
    unmixing = grappa_unmixing(weights, adaptive_coil_maps(images))[:, 0]
    expected = g_factor(unmixing, (step, 1))
    maps = adaptive_coil_maps(images)[:, 0]
    signal = np.abs(maps).sum(axis=0) > 0
    found = np.zeros((2, n_y, n_x))
    for seed in range(10):
        lines = noise(n_replicas // 10, N_CHANNELS, n_y, n_x, seed=seed)
        aliased = centred_ifft(only(lines, every(step, shape=(1, n_y))[0]), (-2, -1))
        found[0] += np.sum(np.abs(np.sum(aliased * unmixing, axis=1)) ** 2, axis=0)
        found[1] += np.sum(np.abs(np.sum(centred_ifft(lines, (-2, -1)) * maps.conj(), axis=1)) ** 2, axis=0)
    measured = np.sqrt(found[0][signal] / found[1][signal] / step)
    assert expected.max() > 1.3
    # Each of the two deviations of a pixel is known to 1 / sqrt(4 * 3000), 0.9 %.
    np.testing.assert_allclose(measured, expected[signal], rtol=0.05)
    assert np.mean(measured / expected[signal]) == pytest.approx(1, abs=0.002)


# Which lines


def test_a_lattice_may_begin_anywhere_and_hold_more_lines():
    sampled = every(3, 2)
    assert sampling_lattice(sampled).acceleration == (3, 1)
    with_block = sampled.copy()
    with_block[:, 20:28] = True
    lattice = sampling_lattice(with_block)
    assert lattice.acceleration == (3, 1)
    np.testing.assert_array_equal(lattice.mask, sampled)
    assert dense_block(with_block) == (slice(0, 1), slice(20, 28))


def test_the_block_of_a_volume_is_that_around_its_centre():
    sampled = every((2, 2), shape=(12, 20))
    sampled[3:9, 6:15] = True
    assert dense_block(sampled) == (slice(3, 9), slice(6, 15))
    assert sampling_lattice(sampled).acceleration == (2, 2)


@pytest.mark.parametrize(("steps", "shift"), [((2, 2), 1), ((1, 4), 2), ((2, 3), 2), ((3, 1), 0)])
def test_lines_may_be_shifted_from_plane_to_plane_with_a_block_between_and_corners_left_out(steps, shift):
    regular = shifted(steps, shift, shape=(18, 24))
    z, y = np.ogrid[-9:9, -12:12]
    regular &= (z / 9) ** 2 + (y / 12) ** 2 <= 1
    sampled = regular.copy()
    sampled[7:12, 9:16] = True
    lattice = sampling_lattice(sampled)
    assert lattice.steps == (steps[1], steps[0], shift)
    np.testing.assert_array_equal(lattice.mask & ~regular, False)
    assert np.count_nonzero(regular & ~lattice.mask) == 0


def test_a_line_that_is_missing_within_leaves_a_sparser_lattice_or_none():
    sampled = every((2, 2), shape=(8, 20))
    sampled[4, 10] = False
    assert np.prod(sampling_lattice(sampled).acceleration) > 4
    sampled[4, 4] = False
    with pytest.raises(DataError, match="not sampled at regular distances along ky: neighbours are 2, 4 apart"):
        sampling_lattice(sampled)


def test_gaps_are_those_within_a_plane_or_between_planes():
    sampled = np.zeros((6, 8), bool)
    sampled[1:5, 2:7] = True
    sampled[1, 2] = sampled[4, 6] = False  # corners
    assert without_gaps(sampled)
    for hole in ((2, 4), (slice(3, 4), slice(None))):
        holed = sampled.copy()
        holed[hole] = False
        assert not without_gaps(holed)


def test_calibration_without_signal_is_refused():
    with pytest.raises(DataError, match="no signal"):
        grappa_weights(np.zeros(PLANE, np.complex64), 2)
