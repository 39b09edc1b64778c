"""Coil maps by ESPIRiT: of known coils, two sets where the object folds, masks, and beside BART's."""

import numpy as np
import pytest
import torch
from undersampling import noise, relative

from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd.errors import DataError

N_CHANNELS, N_Y, N_X = 6, 48, 40


def waves(coefficients, shape):
    """Sums of slow waves, one for each channel: a period of two fields of view or longer."""
    grid = np.meshgrid(*(np.arange(n) / n - 0.5 for n in shape), indexing="ij")
    numbers = np.meshgrid(*(np.arange(-(n > 1), 1 + (n > 1)) for n in shape), indexing="ij")
    numbers = np.stack([number.ravel() for number in numbers], axis=-1)
    phases = [np.exp(1j * np.pi * sum(k * at for k, at in zip(one, grid, strict=True))) for one in numbers]
    return np.tensordot(coefficients[:, : len(phases)], np.array(phases), 1)


def coils(shape=(1, N_Y, N_X), n_channels=N_CHANNELS, seed=0):
    """Sensitivities whose squares sum to 1, of coils that see all of the field of view."""
    maps = waves(noise(n_channels, 27, seed=seed), shape)
    return (maps / np.linalg.norm(maps, axis=0)).astype(np.complex64)


def disc(shape=(1, N_Y, N_X), radius=0.35):
    grid = np.meshgrid(*(np.arange(n) / n - 0.5 if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    return sum(at**2 for at in grid) < radius**2


def scene(shape=(1, N_Y, N_X)):
    """Sensitivities, an object of many edges within a disc, and where the disc is."""
    rng = np.random.default_rng(5)
    inside = disc(shape)
    return coils(shape), inside * rng.uniform(0.5, 1.5, shape), inside


def calibration_of(images, n_lines=24):
    kspace = centred_fft(images.astype(np.complex64), (-3, -2, -1))
    middle = [slice(None)]
    for n in images.shape[1:]:
        middle.append(slice(n // 2 - min(n, n_lines) // 2, n // 2 + (min(n, n_lines) + 1) // 2))
    return kspace[tuple(middle)]


def aligned(maps, truth):
    """`maps` with the phase of `truth` at each pixel, which calibration cannot tell."""
    product = np.sum(maps.conj() * truth, axis=0)
    return maps * product / np.maximum(np.abs(product), 1e-9)


@pytest.mark.parametrize("shape", [(1, N_Y, N_X), (14, 20, 18), (N_Y, N_X, 1)])
def test_the_maps_of_an_object_are_the_coils_that_saw_it(shape):
    truth, intensity, inside = scene(shape)
    found = espirit_maps(calibration_of(truth * intensity), shape)
    assert found.maps.shape == (1, *truth.shape)
    assert found.eigenvalues.shape == (1, *shape)
    assert relative(aligned(found.maps[0], truth)[:, inside], truth[:, inside]) < 0.02
    assert np.abs(found.eigenvalues[0][inside] - 1).max() < 0.02


def test_maps_can_be_finer_than_the_grid_of_the_calibration_and_planes_have_two_axes():
    truth, intensity, _ = scene()
    block = calibration_of(truth * intensity)
    fine = coils((1, 2 * N_Y, 3 * N_X))
    inside = disc((1, 2 * N_Y, 3 * N_X))
    found = espirit_maps(block[:, 0], (2 * N_Y, 3 * N_X)).maps[0]
    assert found.shape == (N_CHANNELS, 2 * N_Y, 3 * N_X)
    assert relative(aligned(found, fine[:, 0])[:, inside[0]], fine[:, inside]) < 0.02


def test_squares_sum_to_one_within_the_mask_and_phases_are_those_of_the_strongest_combination():
    truth, intensity, _ = scene()
    block = calibration_of(truth * intensity + 0.02 * noise(*truth.shape))
    maps = espirit_maps(block, truth.shape[1:], crop=0.95).maps[0]
    squares = np.sum(np.abs(maps) ** 2, axis=0)
    assert np.all((squares == 0) | (np.abs(squares - 1) < 1e-4))
    samples = block.reshape(N_CHANNELS, -1)
    strongest = np.linalg.eigh(samples @ samples.conj().T)[1][:, -1]
    strongest *= np.exp(-1j * np.angle(strongest[np.abs(strongest).argmax()]))
    seen = np.tensordot(strongest.conj(), maps, 1)
    np.testing.assert_allclose(seen, np.abs(seen), atol=1e-4)


def test_pixels_without_signal_are_masked_by_their_eigenvalue():
    truth, _, _ = scene()
    small = disc(radius=0.2)
    found = espirit_maps(calibration_of(truth * small), truth.shape[1:], crop=0.9)
    covered = found.maps[0].any(axis=0)
    np.testing.assert_array_equal(covered, found.eigenvalues[0] >= 0.9)
    assert covered[small].all()
    assert not covered[~disc(radius=0.45)].all()
    assert espirit_maps(calibration_of(truth * small), truth.shape[1:], crop=0).maps[0].any(axis=0).all()


def test_an_object_that_folds_needs_two_sets():
    """Of every other line the field of view is half as high, and the ends of the disc lie over each other."""
    truth, intensity, inside = scene()
    kspace = centred_fft((truth * intensity).astype(np.complex64), (-2, -1))[:, :, ::2]
    folded = centred_ifft(kspace, (-2, -1))
    twice = np.roll(inside[0], -N_Y // 4, axis=0).reshape(2, N_Y // 2, N_X).all(axis=0)
    found = espirit_maps(kspace, (1, N_Y // 2, N_X), sets=2)
    assert found.maps.shape == (2, N_CHANNELS, 1, N_Y // 2, N_X)

    def unexplained(sets):
        maps = found.maps[:sets]
        shown = np.einsum("sczyx,szyx->czyx", maps, np.einsum("sczyx,czyx->szyx", maps.conj(), folded))
        return relative(shown[:, 0, twice], folded[:, 0, twice])

    assert twice.mean() > 0.1
    assert unexplained(2) < 0.05
    assert unexplained(1) > 0.2
    product = np.einsum("czyx,czyx->zyx", found.maps[0].conj(), found.maps[1])
    assert np.abs(product).max() < 1e-4


def test_tensors_give_tensors_and_the_same_numbers():
    truth, intensity, _ = scene()
    block = calibration_of(truth * intensity)
    expected, found = espirit_maps(block, (1, N_Y, N_X)), espirit_maps(torch.from_numpy(block), (1, N_Y, N_X))
    assert isinstance(found.maps, torch.Tensor)
    np.testing.assert_allclose(found.maps.numpy(), expected.maps, atol=1e-5)


def test_maps_are_as_near_to_the_coils_as_bart_s(bart):
    truth, intensity, inside = scene()
    images = (truth * intensity + 0.05 * noise(*truth.shape)).astype(np.complex64)
    theirs = bart("ecalib -m1 -r 24", centred_fft(images, (-2, -1)))
    found = espirit_maps(calibration_of(images), truth.shape[1:]).maps[0]

    def error(maps):
        return relative(aligned(maps, truth)[:, inside], truth[:, inside])

    assert error(found) < 1.02 * error(theirs)
    assert error(found) < 0.05


def test_calibration_that_is_too_small_is_refused():
    truth, intensity, _ = scene()
    block = calibration_of(truth * intensity)
    with pytest.raises(DataError, match=r"5 x 1 calibration lines \(ky x kz\) of 24 samples are too few"):
        espirit_maps(block[:, :, :5], truth.shape[1:])


@pytest.mark.parametrize("value", [0, np.nan])
def test_calibration_without_signal_is_refused(value):
    with pytest.raises(DataError, match="no signal, or samples that are not finite"):
        espirit_maps(np.full((N_CHANNELS, 24, 24), value, np.complex64), (N_Y, N_X))
