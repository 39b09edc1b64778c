"""Compressed sensing on arrays: the plain solution without weight, the same at any intensity, better than SENSE."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from known_coils import irregular, known_coils
from undersampling import N_KX, N_KY, PLANE, noise, only, relative

from echotrain.clients.phantom import phantom_image
from echotrain.gadgets.cg_sense import cg_sense, sense_normal
from echotrain.gadgets.compressed_sensing import compressed_sensing
from echotrain.gadgets.fourier import centred_fft
from echotrain.gadgets.iteration import proximal_gradient
from echotrain.gadgets.regularized import outer_deviation
from echotrain.gadgets.total_variation import TotalVariation
from echotrain.gadgets.wavelets import _apply

FRAMES = 6
every_regularizer = pytest.mark.parametrize("regularizer", ["total_variation", "wavelets", "low_rank"])


def head_scan(deviation=0.02):
    """The phantom within the object of the known coils, its k-space with noise, maps, and the lines that are taken."""
    maps, _, _ = known_coils()
    image = phantom_image((N_KY, N_KX))[None].astype(np.complex64) * (np.abs(maps).sum(0) > 0)
    kspace = centred_fft(maps * image, (-2, -1)) + deviation / np.sqrt(2) * noise(*PLANE, seed=8)
    return maps, image, only(kspace.astype(np.complex64), irregular())


def moving():
    """Frames in which a part of the phantom pulsates, each of other lines; shape (frame, channel, kz, ky, kx)."""
    maps, image, _ = head_scan()
    beats = 1 + 0.5 * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES)
    frames = np.repeat(image[None], FRAMES, 0)
    frames[:, :, 18:28, 14:24] *= beats[:, None, None, None]
    sampled = np.random.default_rng(5).random((FRAMES, 1, N_KY)) < 0.4
    kspace = centred_fft(maps * frames[:, None], (-2, -1)) + 0.02 / np.sqrt(2) * noise(FRAMES, *PLANE, seed=9)
    return maps, frames, (kspace * sampled[:, None, :, :, None]).astype(np.complex64), sampled


@every_regularizer
def test_without_weight_it_is_the_solution_of_sense(regularizer):
    maps, image, kspace = known_coils()
    lines = only(kspace, irregular())
    found = compressed_sensing(
        lines[None], maps, regularizer=regularizer, weight=0, time_weight=0, iterations=1000, tolerance=1e-6
    )
    assert relative(found.image[0], cg_sense(lines, maps, regularization=0, iterations=300, tolerance=1e-6)) < 0.01
    assert relative(found.image[0], image) < 0.01


@pytest.mark.parametrize(("regularizer", "share"), [("total_variation", 0.75), ("wavelets", 0.93)])
def test_a_noisy_image_is_nearer_to_the_truth_than_that_of_sense(regularizer, share):
    maps, image, lines = head_scan(0.1)
    plain = min(relative(cg_sense(lines, maps, regularization=weight), image) for weight in (1e-3, 1e-2, 0.1))
    found = compressed_sensing(lines, maps, regularizer=regularizer)
    assert relative(found.image, image) < share * plain
    assert found.iterations < 100


@every_regularizer
@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_of_another_intensity_it_is_the_same_image_to_the_last_bit(regularizer, scale):
    maps, _, lines, sampled = moving()
    one, other = (
        compressed_sensing(data, maps, sampled=sampled, regularizer=regularizer, iterations=20)
        for data in (lines, lines * np.float32(scale))
    )
    np.testing.assert_array_equal(other.image, one.image * np.float32(scale))
    assert (other.iterations, other.residual) == (one.iterations, one.residual)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_of_an_intensity_that_rounds_otherwise_it_is_the_same_image_but_for_rounding(scale):
    maps, _, lines = head_scan()
    one, other = (compressed_sensing(data, maps) for data in (lines, lines * np.float32(scale)))
    assert relative(other.image / np.float32(scale), one.image) < 1e-4


def test_the_residual_is_that_of_the_acquired_samples_in_units_of_the_noise():
    maps, _, lines = head_scan(0.1)
    found = compressed_sensing(lines, maps, noise=0.1)
    left = lines - only(centred_fft(maps * found.image, (-2, -1)), irregular())
    expected = np.sqrt((np.abs(left) ** 2).sum() / (irregular().sum() * N_KX * len(maps))) / 0.1
    assert found.residual == pytest.approx(expected, rel=1e-3)
    assert 0.7 < found.residual < 1.1


@pytest.mark.parametrize("regularizer", ["total_variation", "wavelets"])
def test_a_start_near_the_solution_takes_fewer_iterations_to_it(regularizer):
    maps, _, lines = head_scan(0.1)
    cold = compressed_sensing(lines, maps, regularizer=regularizer, tolerance=1e-3)
    warm = compressed_sensing(lines, maps, regularizer=regularizer, tolerance=1e-3, start=cold.image)
    assert warm.iterations < 0.7 * cold.iterations
    assert relative(warm.image, cold.image) < 0.02


def test_iterations_make_the_objective_less():
    maps, _, _ = known_coils()
    coils = torch.from_numpy(maps)[None]
    normal_of_one = sense_normal(coils, irregular())
    variation = TotalVariation(((2, 4), 0.3), iterations=20)

    def normal(x):
        return normal_of_one(x[0])[None]

    right = normal(torch.from_numpy(noise(1, 1, N_KX, 1, N_KY)))

    def objective(iterations):
        x, taken = proximal_gradient(normal, right, variation.shrink, iterations, 0.0)
        assert taken == iterations
        product = torch.vdot(x.flatten(), (normal(x) / 2 - right).flatten()).real
        return float(product) + variation.value(x)

    values = [objective(n) for n in (1, 2, 4, 8, 16, 32, 64)]
    fall = values[0] - values[4]
    assert all(after < before for before, after in pairwise(values[:5]))
    assert max(abs(value - values[4]) for value in values[5:]) < 0.02 * fall


def test_planes_frames_sets_and_tensors_have_the_shapes_that_were_given():
    maps, _, lines = head_scan()
    expected = compressed_sensing(lines, maps).image
    np.testing.assert_allclose(compressed_sensing(lines[:, 0], maps[:, 0]).image, expected[0], atol=1e-5)
    np.testing.assert_allclose(compressed_sensing(lines[None], maps).image, expected[None], atol=1e-5)
    found = compressed_sensing(torch.from_numpy(lines), torch.from_numpy(maps), sampled=irregular()).image
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    two = np.stack([maps, np.zeros_like(maps)])
    assert compressed_sensing(lines, two).image.shape == (2, *expected.shape)
    assert compressed_sensing(lines[None], two).image.shape == (1, 2, *expected.shape)
    assert compressed_sensing(lines[:, 0], two[:, :, 0]).image.shape == (2, *expected.shape[1:])


def test_frames_help_one_another_by_total_variation_in_time_and_by_low_rank():
    maps, frames, lines, sampled = moving()

    def error(**options):
        return relative(compressed_sensing(lines, maps, sampled=sampled, **options).image, frames)

    alone = error(time_weight=0)
    assert error(weight=0.05) < 0.8 * alone
    assert error(regularizer="low_rank") < 0.9 * alone


def test_the_noise_is_that_of_the_samples_far_out():
    kspace = 0.3 / np.sqrt(2) * noise(4, 1, 60, 52)
    kspace[:, :, 28:33, 24:29] += 100
    assert outer_deviation(kspace) == pytest.approx(0.3, rel=0.05)
    kspace[:, :, ::2] = 0  # lines that were not acquired tell nothing
    kspace[..., :7] = 0  # nor does what an asymmetric echo lacks
    assert outer_deviation(kspace) == pytest.approx(0.3, rel=0.07)
    assert outer_deviation(np.zeros_like(kspace)) == 0


@pytest.mark.parametrize("moments", [2, 4])
def test_wavelets_are_orthogonal_so_that_shrinkage_is_the_step_of_their_norm(moments):
    images = torch.from_numpy(noise(1, 32, 1, 48))
    transform = torch.view_as_real(images)
    coefficients = _apply(transform, [1, 3], 2, moments, inverse=False)
    torch.testing.assert_close(torch.linalg.norm(coefficients), torch.linalg.norm(transform))
    back = _apply(coefficients, [1, 3], 2, moments, inverse=True)
    torch.testing.assert_close(back, transform, atol=1e-5, rtol=0)
    ramp = torch.arange(48.0)[None, None, None, :, None].expand(1, 32, 1, 48, 1)
    details = _apply(ramp, [3], 1, moments, inverse=False)[..., 24:44, 0]  # those that do not wrap around
    assert float(details.abs().max()) < 1e-4
