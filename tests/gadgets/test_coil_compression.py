"""Coil compression keeps the signal in fewer channels, and the noise white."""

import numpy as np
import pytest
import torch

from echotrain.gadgets import CompressCoils
from echotrain.gadgets.coil_compression import compress_channels, compression_matrix, geometric_matrices
from echotrain.gadgets.fourier import centred_fft, centred_ifft
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


def test_the_energy_that_suffices_limits_the_channels():
    samples = mixed(4, 5000)  # energies 1, 1/4, 1/16, 1/64
    assert [len(compression_matrix(samples, 0, 0, e)) for e in (0.5, 0.9, 0.98, 0.999)] == [1, 2, 3, 4]


# Along the readout


def coil_array(n_coils=N_CHANNELS, n_y=40, n_x=33):
    """Images of loops around an object, and their k-space (channel, z, y, x)."""
    y, x = np.meshgrid(np.linspace(-1, 1, n_y), np.linspace(-1, 1, n_x), indexing="ij")
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    near = 0.3 + (y - 1.2 * np.sin(angle)) ** 2 + (x - 1.2 * np.cos(angle)) ** 2
    sensitivities = np.exp(1j * (angle + y * np.cos(angle) + 2 * x * np.sin(angle))) / near
    images = (sensitivities * ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) * (1 + 0.3 * np.cos(9 * x + 5 * y)))[:, None]
    return images.astype(np.complex64), centred_fft(images.astype(np.complex64), (-2, -1))


def best_unitary(made, wanted):
    """`made` with its virtual channels mixed by the one unitary that brings it nearest to `wanted`."""
    left, _, right = np.linalg.svd(np.tensordot(wanted, made.conj(), ([1, 2, 3], [1, 2, 3])))
    return np.tensordot(left @ right, made, 1)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_each_place_has_orthonormal_rows_that_vary_smoothly():
    images, _ = coil_array()
    matrices = geometric_matrices(images, 4)
    assert matrices.shape == (33, 4, N_CHANNELS)
    np.testing.assert_allclose(matrices @ matrices.conj().swapaxes(1, 2), np.tile(np.eye(4), (33, 1, 1)), atol=1e-5)
    steps = np.linalg.norm(np.diff(matrices[6:-6], axis=0), axis=(1, 2))
    by_place = np.stack([compression_matrix(images[..., x], 4) for x in range(33)])
    assert steps.max() < 0.6 < np.linalg.norm(np.diff(by_place[6:-6], axis=0), axis=(1, 2)).max()


def test_along_the_readout_fewer_channels_hold_more():
    data = coil_array()[1]
    energy = [
        np.linalg.norm(one(started(channels=3, method=m).process(kspace(data))).data) for m in ("svd", "geometric")
    ]
    lost = 1 - (np.array(energy) / np.linalg.norm(data)) ** 2
    assert lost[1] < 0.5 * lost[0]
    assert lost[0] > 1e-3


def test_readouts_in_image_space_are_compressed_alike():
    images, data = coil_array()
    hybrid = centred_ifft(data, (-1,))
    expected = one(started(channels=4, method="geometric").process(kspace(data, kspace(data))))
    unit = kspace(hybrid)
    unit = KSpace(unit.data, unit.sampled, unit.head, readout_in_image_space=True)
    found = one(started(channels=4, method="geometric").process(unit))
    assert relative(centred_fft(found.data, (-1,)), expected.data) < 1e-5
    assert relative(expected.calibration.data, expected.data) < 1e-6
    assert images.shape == data.shape


def test_lines_of_another_length_are_refused():
    gadget = started(method="geometric")
    list(gadget.process(kspace(coil_array()[1])))
    with pytest.raises(DataError, match="readouts of 33 samples"):
        list(gadget.process(kspace(coil_array(n_x=30)[1], repetition=1)))


# Beside BART


@pytest.mark.parametrize(("flag", "method"), [("S", "svd"), ("G", "geometric")])
def test_virtual_channels_are_those_of_bart_up_to_one_unitary(bart, flag, method):
    data = coil_array(n_x=32)[1] + 0.01 * noise(N_CHANNELS, 1, 40, 32)
    wanted = bart(f"cc -p 4 -A -{flag}", data)
    made = one(started(channels=4, method=method).process(kspace(data))).data
    assert wanted.shape == made.shape
    assert relative(best_unitary(made, wanted), wanted) < 1e-3
