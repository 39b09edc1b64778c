"""Coil compression keeps the signal in fewer channels, and the noise white."""

import numpy as np
import pytest
import torch

from echotrain.gadgets import CompressCoils
from echotrain.gadgets.coil_compression import compress_channels, compression_matrix
from echotrain.mrd import KSpace, acquisition_headers
from echotrain.mrd.errors import DataError

N_CHANNELS, N_KZ, N_KY, N_KX = 9, 2, 7, 11


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def mixed(n_sources, *shape, seed=0):
    """Channels that see only so many sources, each source half as strong as the one before."""
    sources = noise(n_sources, *shape, seed=seed) * 0.5 ** np.arange(n_sources, dtype=np.float32).reshape(
        -1, *(1,) * len(shape)
    )
    mixing = np.linalg.qr(noise(N_CHANNELS, n_sources, seed=99))[0].astype(np.complex64)
    return np.tensordot(mixing, sources, 1)


def kspace(data, calibration=None, axes=(), **counters):
    outer = data.shape[:-4]
    head = acquisition_headers(int(np.prod(outer)), data.shape[-4], data.shape[-1]).reshape(outer)
    for name, value in counters.items():
        head["idx"][name] = value
    return KSpace(data, np.ones((*outer, *data.shape[-3:-1]), bool), head, axes, calibration)


def started(**parameters):
    gadget = CompressCoils(**parameters)
    gadget.start(None)
    return gadget


def one(given):
    (item,) = given
    return item


def test_rows_are_orthonormal_and_ordered_by_energy():
    samples = mixed(4, 300)
    matrix = compression_matrix(samples, 9)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(9), atol=1e-5)
    energies = np.sum(np.abs(matrix @ samples) ** 2, axis=1)
    assert (np.diff(energies) <= 1e-3).all()
    assert energies[:4].sum() == pytest.approx(np.sum(np.abs(samples) ** 2), rel=1e-5)


def test_the_threshold_is_of_energy_relative_to_the_first_channel():
    samples = mixed(4, 5000)  # energies 1, 1/4, 1/16, 1/64
    assert [len(compression_matrix(samples, 0, t)) for t in (0.5, 0.1, 0.03, 0.01)] == [1, 2, 3, 4]
    assert len(compression_matrix(samples, 2, 0.01)) == 2


def test_tensors_stay_tensors():
    samples = mixed(3, 50)
    matrix = compression_matrix(torch.from_numpy(samples), 3)
    assert isinstance(matrix, torch.Tensor)
    assert isinstance(compress_channels(torch.from_numpy(samples)[:, None, None], matrix), torch.Tensor)


def test_nothing_is_lost_where_channels_see_few_sources():
    data = mixed(3, N_KZ, N_KY, N_KX)
    compressed = one(started(channels=3).process(kspace(data)))
    assert compressed.n_channels == 3
    expected = np.sum(np.abs(data) ** 2, axis=0)
    np.testing.assert_allclose(np.sum(np.abs(compressed.data) ** 2, axis=0), expected, rtol=1e-4, atol=1e-5)


def test_the_calibration_tells_the_channels_and_is_compressed_alike():
    data, lines = mixed(3, N_KZ, N_KY, N_KX), mixed(2, N_KZ, N_KY, N_KX, seed=5)
    compressed = one(started(threshold=0.1).process(kspace(data, kspace(lines))))
    assert compressed.n_channels == compressed.calibration.n_channels == 2
    expected = compress_channels(data, compression_matrix(lines, 2))
    np.testing.assert_allclose(compressed.data, expected, atol=1e-4)


def test_later_repetitions_keep_the_channels_and_other_slices_have_their_own():
    gadget = started(channels=4)
    data, calibration = noise(N_CHANNELS, N_KZ, N_KY, N_KX), kspace(noise(N_CHANNELS, N_KZ, N_KY, N_KX, seed=1))
    first, second = (one(gadget.process(kspace(data, calibration, repetition=number))) for number in range(2))
    np.testing.assert_array_equal(first.data, second.data)
    assert first.calibration is second.calibration
    without = one(gadget.process(kspace(data, repetition=2)))
    np.testing.assert_array_equal(first.data, without.data)
    other = one(gadget.process(kspace(data, slice=1)))
    assert np.abs(other.data - first.data).max() > 0.1


def test_units_are_compressed_by_one_matrix():
    data = mixed(3, 5, N_KZ, N_KY, N_KX).swapaxes(0, 1)
    compressed = one(started(channels=3).process(kspace(data, axes=("phase",))))
    assert compressed.data.shape == (5, 3, N_KZ, N_KY, N_KX)
    expected = np.sum(np.abs(data) ** 2, axis=1)
    np.testing.assert_allclose(np.sum(np.abs(compressed.data) ** 2, axis=1), expected, rtol=1e-4, atol=1e-5)


def test_noise_stays_white():
    gadget = started(channels=5)
    list(gadget.process(kspace(mixed(5, N_KZ, N_KY, N_KX))))
    whitened = one(gadget.process(kspace(noise(N_CHANNELS, 10, 60, 50, seed=3)))).data.reshape(5, -1)
    np.testing.assert_allclose(np.cov(whitened), 2 * np.eye(5), atol=0.06)


def test_other_channels_or_samples_that_are_not_finite_are_refused():
    gadget = started()
    list(gadget.process(kspace(noise(N_CHANNELS, N_KZ, N_KY, N_KX))))
    with pytest.raises(DataError, match="9 channels"):
        list(gadget.process(kspace(noise(4, N_KZ, N_KY, N_KX), repetition=1)))
    data = noise(N_CHANNELS, N_KZ, N_KY, N_KX)
    data[1, 0, 2, 3] = np.inf
    with pytest.raises(DataError, match="not finite"):
        list(started().process(kspace(data)))
