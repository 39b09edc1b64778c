"""Sampling of images that there may be: where the prior is normal, what it gives is known in closed form."""

import numpy as np
import pytest
import torch
from known_coils import known_coils
from undersampling import noise, relative

from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.learned.score_sampling import sample_posterior

N_Y, N_X, N_CHANNELS = 12, 10, 3
PLANE = (-2, -1)
LINES = np.isin(np.arange(N_Y), [0, 3, 5, 6, 7, 9])
NOISE = 0.1

Y, X = np.ogrid[-(N_Y // 2) : N_Y - N_Y // 2, -(N_X // 2) : N_X - N_X // 2]
WHITE = np.full((N_Y, N_X), 0.1, np.float32)
SMOOTH = (1 / (1 + Y**2 + X**2)).astype(np.float32)


class NormalPrior:
    """Images whose samples in k-space are normal, each with a variance of its own, shape (ky, kx)."""

    def __init__(self, variances):
        self.variances = torch.from_numpy(variances)
        self.deviation = float(variances.mean() ** 0.5)

    def denoise(self, image, level):
        kept = self.variances / (self.variances + level[:, None, None] ** 2)
        return centred_ifft(centred_fft(image, PLANE) * kept, PLANE)


def maps_of(n_channels=N_CHANNELS):
    channels = noise(n_channels, N_Y, N_X, seed=5) + 2
    return channels / np.linalg.norm(channels, axis=0)


def complex_noise(*shape, seed):
    return noise(*shape, seed=seed) * np.float32(0.5**0.5)


def scan(variances, maps):
    """Lines of an image that the prior could have given, with noise."""
    image = centred_ifft(np.sqrt(variances) * complex_noise(N_Y, N_X, seed=1), PLANE)
    kspace = centred_fft(maps * image, PLANE) + NOISE * complex_noise(*maps.shape, seed=2)
    return (kspace * LINES[:, None]).astype(np.complex64)


def exact_posterior(variances, maps, kspace):
    """Mean and covariance of images, as flat vectors."""
    pixels = np.eye(N_Y * N_X, dtype=np.complex128).reshape(-1, N_Y, N_X)
    waves = centred_fft(pixels, PLANE).reshape(N_Y * N_X, -1).T
    encoding = (centred_fft(pixels[:, None] * maps, PLANE) * LINES[:, None]).reshape(N_Y * N_X, -1).T
    prior = waves.conj().T @ (waves / variances.reshape(-1, 1))
    covariance = np.linalg.inv(encoding.conj().T @ encoding / NOISE**2 + prior)
    return covariance @ encoding.conj().T @ kspace.reshape(-1) / NOISE**2, covariance


@pytest.mark.parametrize(("variances", "levels", "bias"), [(WHITE, 10, 0.0), (SMOOTH, 60, 0.05)])
def test_samples_of_a_normal_prior_have_the_mean_and_covariance_of_the_exact_posterior(variances, levels, bias):
    """`bias` [posterior deviations] is what the finite number of levels leaves of images with correlated pixels."""
    maps, n_samples = maps_of(), 2000
    kspace = scan(variances, maps)
    mean, covariance = exact_posterior(variances, maps, kspace)
    deviation = np.sqrt(np.diag(covariance).real)
    samples = sample_posterior(
        NormalPrior(variances), kspace, LINES, maps, n_samples=n_samples, levels=levels, noise=NOISE, seed=3
    ).reshape(n_samples, -1)
    off = np.abs(samples.mean(0) - mean) / deviation
    assert np.sqrt(np.mean(off**2)) < 1.3 * n_samples**-0.5 + bias
    assert samples.std(0) / deviation == pytest.approx(1, abs=5 / (2 * n_samples) ** 0.5)
    found = np.cov(samples.T)
    # What pixels have in common, beside what so few samples scatter by.
    scatter = np.trace(covariance).real / n_samples**0.5 / np.linalg.norm(covariance)
    assert relative(found, covariance) < 1.3 * scatter + bias


def test_lines_hold_where_they_were_acquired_and_the_prior_alone_where_they_were_not():
    maps, kspace = np.ones((1, N_Y, N_X), np.complex64), scan(SMOOTH, np.ones((1, N_Y, N_X), np.complex64))
    samples = sample_posterior(NormalPrior(SMOOTH), kspace, LINES, maps, n_samples=400, levels=60, noise=1e-3)
    made = centred_fft(samples, PLANE)
    assert relative(made[:, LINES], np.broadcast_to(kspace[:, LINES], made[:, LINES].shape)) < 0.01
    assert made[:, ~LINES].std(0) / np.sqrt(SMOOTH[~LINES]) == pytest.approx(1, abs=0.2)
    assert np.abs(made[:, ~LINES].mean(0) / np.sqrt(SMOOTH[~LINES])).max() < 0.25


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    maps, kspace = maps_of(), scan(WHITE, maps_of())

    def sampled(seed, data=kspace):
        return sample_posterior(NormalPrior(WHITE), data, LINES, maps, n_samples=2, levels=5, noise=NOISE, seed=seed)

    np.testing.assert_array_equal(sampled(4), sampled(4))
    assert relative(sampled(5), sampled(4)) > 0.1
    torch.manual_seed(99)  # no chance but its own
    np.testing.assert_array_equal(sampled(4, torch.from_numpy(kspace)).numpy(), sampled(4))


def test_the_noise_of_lines_is_estimated_where_it_is_not_known():
    maps = maps_of(8)
    kspace = NOISE * complex_noise(8, N_Y, N_X, seed=6)
    prior = NormalPrior(WHITE)
    known, found = (
        sample_posterior(prior, kspace, LINES, maps, n_samples=300, levels=5, noise=value) for value in (NOISE, None)
    )
    assert found.std(0).mean() == pytest.approx(known.std(0).mean(), rel=0.2)  # of so few samples


def test_images_are_0_where_no_coil_sees_them():
    maps, image, kspace = known_coils((1, N_Y, N_X), N_CHANNELS)
    samples = sample_posterior(
        NormalPrior(WHITE), kspace[:, 0], np.ones(N_Y, bool), maps[:, 0], n_samples=2, levels=5, noise=1e-3
    )
    unseen = np.linalg.norm(maps[:, 0], axis=0) == 0
    assert unseen.any()
    assert not samples[:, unseen].any()
    assert relative(samples[0], image[0]) < 0.05
