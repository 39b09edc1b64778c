"""k-space that GRAPPA can fill, and lattices of lines, for tests of parallel imaging."""

import numpy as np

N_CHANNELS, N_KY, N_KX = 6, 48, 40
PLANE = (N_CHANNELS, 1, N_KY, N_KX)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def channel_images(n_channels=N_CHANNELS, shape=(1, N_KY, N_KX)):
    """An object seen by sensitivities of one wave along each axis, so that few neighbours in k-space tell a sample."""
    grid = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    waves = np.meshgrid(*(np.arange(-(n > 1), 1 + (n > 1)) for n in shape), indexing="ij")
    phases = [
        np.exp(2j * np.pi * sum(w * at / n for w, at, n in zip(wave, grid, shape, strict=True)))
        for wave in zip(*(w.ravel() for w in waves), strict=True)
    ]
    sensitivities = np.tensordot(noise(n_channels, len(phases)), np.array(phases), 1)
    inside = np.all([np.abs(at) <= 0.36 * n for at, n in zip(grid, shape, strict=True)], axis=0)
    intensity = inside * (1 + 0.5 * np.cos(grid[-1] / 3) * np.sin(grid[-2] / 4))
    return (sensitivities * intensity).astype(np.complex64)


def every(step, first=0, shape=(1, N_KY)):
    """Every `step`th line along ky, or along (kz, ky). Shape (kz, ky)."""
    steps = step if isinstance(step, tuple) else (1, step)
    sampled = np.zeros(shape, bool)
    sampled[first % steps[0] :: steps[0], first % steps[1] :: steps[1]] = True
    return sampled


def only(kspace, sampled):
    return np.where(sampled[..., None], kspace, np.complex64(0))
