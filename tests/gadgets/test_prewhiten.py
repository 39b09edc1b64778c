"""Noise prewhitening: its algebra, its statistics, and which lines it is applied to."""

import numpy as np
import pytest
from whitening import (
    BANDWIDTH,
    N_CHANNELS,
    correlated,
    given,
    lines,
    noise_lines,
    normal,
    samples,
    some_mixing,
    started,
    texts,
)

from echotrain.gadgets.noise import noise_covariance, noise_products, noise_scale, whitening_matrix
from echotrain.gadgets.prewhiten import Prewhiten
from echotrain.mrd import Flag, Noise, Text, parse_header
from echotrain.mrd.errors import DataError, ParameterError
from echotrain.mrd.hdf5_read import read_header, read_items


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_whitening_makes_any_covariance_the_identity(rng):
    mixing = some_mixing(rng)
    covariance = (mixing @ mixing.conj().T).astype(np.complex128)
    whitening = whitening_matrix(covariance)
    np.testing.assert_allclose(whitening @ covariance @ whitening.conj().T, np.eye(N_CHANNELS), atol=1e-12)
    np.testing.assert_array_equal(whitening, np.tril(whitening))


def test_covariance_is_that_of_numpy(rng):
    noise = correlated(rng, some_mixing(rng), 3, 41)
    flat = np.moveaxis(noise, 1, 0).reshape(N_CHANNELS, -1)
    mean = flat.mean(axis=1, keepdims=True)
    about_mean = noise_covariance(noise_products((flat - mean)[None]), flat.shape[1])
    np.testing.assert_allclose(about_mean, np.cov(flat), rtol=1e-4, atol=1e-4)


def test_scale_follows_the_ratio_of_dwell_times_and_the_bandwidth():
    assert noise_scale(4, 8, 0.5) == pytest.approx(np.sqrt(0.5))
    assert noise_scale(0, 8, 0.5) == noise_scale(4, 0, 0.5) == 1


def test_noise_of_other_lines_gets_unit_variance_in_real_and_imaginary_part(rng):
    mixing = some_mixing(rng)
    gadget = started(bandwidth=1.0)
    items = given(
        gadget, noise_lines(correlated(rng, mixing, 40, 256)), lines(correlated(rng, mixing, 60, 256), dwell=8.0)
    )
    white = np.moveaxis(samples(items), 1, 0).reshape(N_CHANNELS, -1)
    parts = np.concatenate([white.real, white.imag])
    np.testing.assert_allclose(np.cov(parts), np.eye(2 * N_CHANNELS), atol=0.06)


def test_whitened_lines_are_the_matrix_times_the_samples(rng):
    noise, data = correlated(rng, some_mixing(rng), 3, 64), normal(rng, 7, N_CHANNELS, 12)
    items = given(started(), noise_lines(noise), lines(data))
    covariance = noise_covariance(noise_products(noise), 3 * 64)
    expected = noise_scale(4, 8, BANDWIDTH) * np.linalg.inv(np.linalg.cholesky(covariance)) @ data
    np.testing.assert_allclose(samples(items), expected, rtol=1e-4, atol=1e-5)
    assert samples(items).dtype == np.complex64


def test_lines_of_several_dwell_times_in_a_batch_are_scaled_each_by_its_own(rng):
    data = normal(rng, 4, N_CHANNELS, 12)
    noise = noise_lines(correlated(rng, some_mixing(rng), 3, 64))
    mixed = lines(data)
    mixed.head["sample_time_us"] = [4, 16, 4, 0]
    single = samples(given(started(), noise, lines(data)))
    scale = np.array([1, 2, 1, 1 / noise_scale(4, 8, BANDWIDTH)], np.float32)[:, None, None]
    np.testing.assert_allclose(samples(given(started(), noise, mixed)), single * scale, rtol=1e-5)


def test_batches_of_any_size_give_the_same_lines(rng):
    noise = correlated(rng, some_mixing(rng), 6, 32)
    stream = lines(np.concatenate([noise[:3], normal(rng, 5, N_CHANNELS, 32), noise[3:], noise[:2]]), dwell=8.0)
    stream.head["flags"][[0, 1, 2, 8, 9, 10]] = Flag.IS_NOISE_MEASUREMENT
    whole, single = given(started(), stream), given(started(), *stream)
    assert texts(whole) == texts(single)
    np.testing.assert_allclose(samples(whole), samples(single), rtol=1e-5, atol=1e-6)
    assert len(samples(whole)) == 7


def test_later_noise_lines_add_to_the_earlier_for_the_lines_after_them(rng):
    noise, data = correlated(rng, some_mixing(rng), 6, 32), lines(normal(rng, 2, N_CHANNELS, 32))
    refined = given(started(), noise_lines(noise[:4]), data, noise_lines(noise[4:]), data)
    at_once = given(started(), noise_lines(noise), data)
    np.testing.assert_allclose(samples(refined)[2:], samples(at_once), rtol=1e-5)
    assert not np.allclose(samples(refined)[:2], samples(at_once), rtol=1e-2)


def test_the_client_is_told_once_what_the_noise_was(rng):
    data = lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(), noise_lines(normal(rng, 3, N_CHANNELS, 64)), data, data)
    (text,) = texts(items)
    assert "192 noise samples of 5 channels" in text
    assert "8 us" in text
    assert items[0] == Text(text)


def test_lines_without_noise_pass_as_they_are_and_the_client_is_told_once(rng):
    data = lines(normal(rng, 2, N_CHANNELS, 32))
    items = given(started(), data, data)
    assert len(texts(items)) == 1
    assert "no noise line" in texts(items)[0]
    assert items[1] is data


def test_lines_without_noise_can_be_made_an_error(rng):
    with pytest.raises(DataError, match="no noise line"):
        given(started(missing="fail"), lines(normal(rng, 2, N_CHANNELS, 32)))
    with pytest.raises(ParameterError, match="missing"):
        Prewhiten(missing="ignore")


def test_channels_are_matched_by_their_mask_bits(rng):
    mixing, data = some_mixing(rng), normal(rng, 2, 3, 32)
    noise = correlated(rng, mixing, 4, 64)
    items = given(started(), noise_lines(noise, bits=[1, 4, 9, 17, 60]), lines(data, bits=[1, 17, 60]))
    expected = given(started(), noise_lines(noise[:, [0, 3, 4]]), lines(data))
    np.testing.assert_allclose(samples(items), samples(expected), rtol=1e-5)


def test_channels_without_noise_are_refused_with_both_counts(rng):
    noise = normal(rng, 3, N_CHANNELS, 64)
    with pytest.raises(DataError, match=r"5 channels and other lines 3.*bits 2\b"):
        given(started(), noise_lines(noise, bits=range(3, 8)), lines(normal(rng, 1, 3, 9), bits=[2, 3, 4]))
    with pytest.raises(DataError, match="5 channels and other lines 3"):
        given(started(), noise_lines(noise), lines(normal(rng, 1, 3, 9)))


def test_a_change_of_channels_half_way_is_refused(rng):
    noise = noise_lines(normal(rng, 3, N_CHANNELS, 64))
    with pytest.raises(DataError, match="5 channels and, from line 0 on, 4"):
        given(started(), noise, lines(normal(rng, 1, N_CHANNELS, 9)), lines(normal(rng, 1, 4, 9)))
    with pytest.raises(DataError, match="5 channels and, from line 0 on, 4"):
        given(started(), noise, noise_lines(normal(rng, 1, 4, 64)))


def test_noise_of_two_dwell_times_is_refused(rng):
    noise = normal(rng, 3, N_CHANNELS, 64)
    with pytest.raises(DataError, match="8 and 5 us"):
        given(started(), noise_lines(noise), noise_lines(noise, dwell=5.0))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda noise: noise[:1, :, :5], "5 noise samples cannot give the covariance of 5"),
        (lambda noise: noise * np.array([1, 1, 0, 1, 1], np.float32)[:, None], "channel 2 .* has no noise"),
        (lambda noise: noise[:, [0, 1, 2, 3, 1]], "not positive definite"),
        (lambda noise: noise * np.float32(np.nan), "not finite"),
    ],
)
def test_noise_that_does_not_suffice_is_refused_with_the_reason(rng, spoil, words):
    noise = np.ascontiguousarray(spoil(correlated(rng, some_mixing(rng), 3, 64)))
    with pytest.raises(DataError, match=words):
        given(started(), noise_lines(noise), lines(normal(rng, 1, N_CHANNELS, 9)))


@pytest.mark.parametrize("offset", [2, 8])
@pytest.mark.parametrize("n", [1, 3])
def test_lines_as_views_of_the_bytes_that_arrived_are_whitened_alike(rng, n, offset):
    noise, data = noise_lines(normal(rng, 3, N_CHANNELS, 64)), normal(rng, n, N_CHANNELS, 8)
    size = 6 + data[0].nbytes
    raw = np.zeros(offset + n * size, np.uint8)
    view = np.ndarray(data.shape, "<c8", raw, offset, (size, 64, 8))
    view[:] = data
    view.flags.writeable = False
    items = given(started(), noise, lines(view))
    np.testing.assert_array_equal(samples(items), samples(given(started(), noise, lines(data))))


def test_scanner_noise_of_16_channels_becomes_white(data_folder):
    data = np.fromfile(data_folder / "noise-16ch" / "noise.cfl", np.complex64).reshape(1, 16, 256)
    white = samples(given(started(bandwidth=0.5), noise_lines(data), lines(data, dwell=8.0)))[0]
    np.testing.assert_allclose(white @ white.conj().T / 255, np.eye(16), atol=1e-4)


def test_a_scan_with_a_noise_line_is_whitened_by_it(data_folder):
    path = data_folder / "ismrmrd-grappa3" / "meas_MID00349_FID09273_SNR_R3.h5"
    batches = [line for batch in read_items(path) for line in batch]
    gadget = Prewhiten()
    gadget.start(parse_header(read_header(path)))
    items = [item for item in given(gadget, *batches) if not isinstance(item, Noise)]
    assert [batch.head["scan_counter"][0] for batch in items[1:]] == [
        batch.head["scan_counter"][0] for batch in batches[1:]
    ]
    # Beside the bottles, but where the receiver's filter is still flat, each part of the noise has unit variance.
    kspace = np.concatenate([batch.data for batch in items[1:]])
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=-1), norm="ortho"), axes=-1)
    outer = np.abs(np.array([int(batch.head["idx"]["kspace_encode_step_1"][0]) for batch in items[1:]]) - 54) > 40
    beside = np.moveaxis(image[outer][:, :, np.r_[88:104, 288:304]], 1, 0).reshape(14, -1)
    np.testing.assert_allclose(beside @ beside.conj().T / (2 * beside.shape[1]), np.eye(14), atol=0.35)
    assert np.var(beside) / 2 == pytest.approx(1, abs=0.05)
