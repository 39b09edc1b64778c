"""SPIRiT: consistent k-space stays as it is, missing lines are filled in, and words where they cannot be."""

import numpy as np
import pytest
import torch
from known_coils import assert_as_fully_sampled, irregular, shifted, started, unit
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets import Spirit
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.spirit import consistent_images, spirit, spirit_inconsistency
from echotrain.mrd import KSpace
from echotrain.mrd.errors import DataError


def disagreement(images, matrices):
    """The energy of what neighbours make differently, over that of the images."""
    energy = np.einsum("czyx,zyxcd,dzyx->", images.conj(), matrices, images).real
    return energy / np.linalg.norm(images) ** 2


@pytest.mark.parametrize(("shape", "kernel"), [(PLANE[1:], (5, 5)), ((9, 20, 18), (3, 3, 3))])
def test_k_space_of_an_object_is_consistent_and_noise_is_not(shape, kernel):
    kspace = centred_fft(channel_images(6, shape), (-3, -2, -1))
    matrices = spirit_inconsistency(kspace, shape, kernel, 1e-6)
    assert matrices.shape == (*shape, 6, 6)
    np.testing.assert_allclose(matrices, matrices.conj().swapaxes(-1, -2), atol=1e-4)
    assert disagreement(centred_ifft(kspace, (-3, -2, -1)), matrices) < 1e-4
    assert disagreement(noise(6, *shape), matrices) > 0.5


def test_a_sample_is_what_the_fitted_weights_make_of_its_neighbours():
    """At each pixel the matrices are what weights, found by plain least squares, are in the image."""
    lines = centred_fft(channel_images(2, (1, 20, 18)), (-2, -1)) + 0.01 * noise(2, 1, 20, 18)
    matrices = spirit_inconsistency(lines, (1, 20, 18), (3, 3), 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(lines[:, 0], (3, 3), axis=(1, 2))
    rows = windows.transpose(1, 2, 0, 3, 4).reshape(-1, 18)
    difference = np.zeros((2, 20, 18, 2), complex)
    y, x = np.meshgrid(np.arange(20) - 10, np.arange(18) - 9, indexing="ij")
    for channel in range(2):
        own = 9 * channel + 4
        others = np.delete(np.arange(18), own)
        weights = np.zeros(18, complex)
        weights[others] = np.linalg.lstsq(rows[:, others], rows[:, own], rcond=None)[0]
        weights[own] = -1
        for place, weight in enumerate(weights):
            taken, (dy, dx) = place // 9, np.unravel_index(place % 9, (3, 3))
            shift = np.exp(-2j * np.pi * ((dy - 1) * y / 20 + (dx - 1) * x / 18))
            difference[channel, ..., taken] += weight * shift
    expected = np.einsum("gyxa,gyxb->yxab", difference.conj(), difference)
    np.testing.assert_allclose(matrices[0], expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("pattern", [every(2), every(3, 1), irregular()], ids=["2", "3", "irregular"])
def test_missing_lines_are_filled_in_and_acquired_ones_stay(pattern):
    kspace = centred_fft(channel_images(), (-2, -1))
    lines = only(kspace, pattern)
    filled = spirit(lines, kspace, fit_regularization=1e-6, regularization=0, iterations=200, tolerance=1e-6)
    np.testing.assert_array_equal(filled[:, pattern], lines[:, pattern])
    assert relative(filled, kspace) < 0.01
    assert relative(lines, kspace) > 0.1


def test_volumes_with_shifted_lines_are_filled_in():
    shape = (10, 20, 18)
    kspace = centred_fft(channel_images(8, shape), (-3, -2, -1))
    lines = only(kspace, shifted(shape[:2], 2, 2, 1))
    filled = spirit(lines, kspace, kernel=(3, 3, 3), fit_regularization=1e-6, regularization=0, iterations=100)
    assert relative(filled, kspace) < 0.02


def test_the_solution_fulfils_its_normal_equations():
    images, sampled = noise(3, 4, 10, 6), np.random.default_rng(3).random((4, 10)) < 0.5
    root = noise(4, 10, 6, 3, 3, seed=2)
    matrices = root.conj().swapaxes(-1, -2) @ root
    aliased = centred_ifft(only(centred_fft(images, (1, 2)), sampled), (1, 2))
    found = consistent_images(aliased, matrices, sampled, regularization=0.1, iterations=500, tolerance=1e-6)
    gradient = np.einsum("zyxcd,dzyx->czyx", matrices, found) + 0.1 * (found - aliased)
    of_missing = only(centred_fft(gradient, (1, 2)), ~sampled)
    assert np.linalg.norm(of_missing) < 1e-3 * np.linalg.norm(gradient)
    np.testing.assert_allclose(
        only(centred_fft(found, (1, 2)), sampled), only(centred_fft(images, (1, 2)), sampled), atol=1e-4
    )


def test_wavelets_take_noise_off():
    truth = centred_fft(channel_images(), (-2, -1))
    noisy = only(truth + 0.1 * noise(*PLANE), irregular())
    plain, sparse = (spirit(noisy, truth, sparsity=weight) for weight in (0, 0.03))
    assert relative(sparse, truth) < 0.9 * relative(plain, truth)


def test_planes_have_two_axes_and_tensors_give_tensors():
    kspace = centred_fft(channel_images(), (-2, -1))
    lines = only(kspace, every(2))
    expected = spirit(lines, kspace)
    np.testing.assert_allclose(spirit(lines[:, 0], kspace[:, 0]), expected[:, 0], atol=1e-5)
    found = spirit(torch.from_numpy(lines), torch.from_numpy(kspace))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


# The gadget


@pytest.mark.parametrize(("acceleration", "bound"), [(1, 0.002), (2, 0.03), (3, 0.05)])
def test_an_accelerated_scan_gives_the_image_of_the_full_one(small_scan, acceleration, bound):
    assert_as_fully_sampled(small_scan, Spirit(), (72, 60), acceleration, bound)


def test_readouts_in_image_space_or_not_give_the_same():
    kspace = centred_fft(channel_images(), (-2, -1))
    lines = unit(kspace, every(3) | np.pad(np.ones((1, 16), bool), ((0, 0), (16, 16))))
    (expected,) = started(Spirit()).process(lines)
    hybrid = KSpace(centred_ifft(lines.data, (-1,)), lines.sampled, lines.head, readout_in_image_space=True)
    (found,) = started(Spirit()).process(hybrid)
    assert relative(found.data, expected.data) < 1e-3


def refusal(kspace, **parameters):
    with pytest.raises(DataError) as caught:
        list(started(Spirit(**parameters)).process(kspace))
    return str(caught.value)


def test_a_scan_without_calibration_or_with_too_little_is_refused():
    assert "no calibration lines" in refusal(unit(noise(*PLANE), every(2)))
    sampled = every(3)
    sampled[:, 20:28] = True
    assert "too few for a kernel of 5 x 9 x 1" in refusal(unit(noise(*PLANE), sampled), neighbours="5 9")


def test_calibration_of_other_channels_is_refused():
    fewer = unit(noise(4, 1, N_KY, N_KX), every(1))
    assert "4 channels, the other lines 6" in refusal(unit(noise(*PLANE), every(2), fewer))


def test_calibration_without_signal_is_refused():
    with pytest.raises(DataError, match="no signal"):
        spirit_inconsistency(np.zeros((3, 1, 20, 20), np.complex64), (1, 20, 20))


def test_samples_that_are_not_finite_are_refused():
    lines = noise(*PLANE)
    lines[2, 0, 24, 7] = np.nan
    assert "not finite" in refusal(unit(lines, every(2), unit(noise(*PLANE), every(1))))
