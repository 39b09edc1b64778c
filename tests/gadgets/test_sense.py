"""SENSE on lattices of lines: exact with true maps, noise by theory, and words where there can be none."""

import numpy as np
import pytest
import torch
from known_coils import HEADER, assert_as_fully_sampled, irregular, known_coils, shifted, started, unit
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets import CollectKSpace, RemoveOversampling, Sense
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.grappa_weights import g_factor, unmix
from echotrain.gadgets.sense_unfolding import folding_shape, sense, sense_unmixing
from echotrain.mrd import Encoding, Header, KSpace, parse_header
from echotrain.mrd.errors import DataError

VOLUME = (12, 24, 18)

# The numerical functions


@pytest.mark.parametrize(
    ("shape", "steps", "first"),
    [
        (PLANE[1:], (2, 1, 0), 0),
        (PLANE[1:], (3, 1, 0), 2),
        (PLANE[1:], (4, 1, 0), 1),
        (VOLUME, (1, 3, 0), 0),
        (VOLUME, (2, 2, 0), 1),
        (VOLUME, (2, 2, 1), 0),
        (VOLUME, (3, 2, 1), 1),
        (VOLUME, (3, 2, 2), 0),
    ],
)
def test_with_true_maps_and_no_noise_the_image_is_unfolded(shape, steps, first):
    maps, image, kspace = known_coils(shape, 8)
    lines = only(kspace, shifted(shape[:2], *steps, first))
    assert folding_shape(shape, steps) == shape
    assert relative(sense(lines, maps), image) < 1e-5
    assert relative(centred_ifft(lines, (-3, -2, -1)).sum(axis=0), image) > 0.1


def test_lines_that_are_no_multiple_are_unfolded_on_a_larger_grid():
    assert folding_shape((1, 46, 40), (3, 1, 0)) == (1, 48, 40)
    assert folding_shape((13, 25, 18), (2, 2, 1)) == (16, 26, 18)
    middle = np.zeros(PLANE, np.complex64)
    middle[:, :, 23:26, 19:22] = noise(6, 1, 3, 3)
    maps = centred_ifft(middle, (-2, -1))  # smooth, and nowhere 0
    maps /= np.linalg.norm(maps, axis=0)
    inner = noise(1, N_KY, N_KX)
    inner[:, [0, -1]] = 0  # k-space of an image of 46 lines, as the grid of 48 shows it
    sampled = every(3, 2, (1, 46))
    covered = centred_fft(maps * centred_ifft(inner, (-2, -1)), (-2, -1))
    found = sense(only(covered[:, :, 1:-1], sampled), maps, sampled=sampled)
    assert found.shape == (1, 46, N_KX)
    # Lines at the edges lack what the coils move beyond the 46.
    assert relative(found, centred_ifft(inner[:, 1:-1], (-2, -1))) < 0.2


def test_planes_have_two_axes_and_tensors_give_tensors():
    maps, _, kspace = known_coils()
    lines = only(kspace, every(3))
    expected = sense(lines, maps)
    np.testing.assert_allclose(sense(lines[:, 0], maps[:, 0]), expected[0], atol=1e-5)
    found = sense(torch.from_numpy(lines), torch.from_numpy(maps))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def analytic_g_factor(maps, acceleration):
    """Of lines along ky, by the formula of Pruessmann (1999), pixel by pixel."""
    _, _, n_y, n_x = maps.shape
    g = np.zeros((n_y, n_x))
    for y, x in np.ndindex(n_y, n_x):
        rows = (y + np.arange(acceleration) * (n_y // acceleration)) % n_y
        seen = maps[:, 0, rows[np.any(maps[:, 0, rows, x], axis=0)], x].astype(complex)
        if maps[:, 0, y, x].any():
            gram = seen.conj().T @ seen
            g[y, x] = np.sqrt(np.linalg.inv(gram)[0, 0].real * gram[0, 0].real)
    return g


@pytest.mark.parametrize("acceleration", [2, 3, 4])
def test_the_g_factor_is_the_analytic_one(acceleration):
    maps, _, _ = known_coils()
    found = g_factor(sense_unmixing(maps, (acceleration, 1, 0)), (acceleration, 1))
    np.testing.assert_allclose(found[0], analytic_g_factor(maps, acceleration), rtol=1e-3)
    assert found.max() > 1.2


def test_the_g_factor_is_that_of_repeated_noise():
    maps, _, _ = known_coils()
    sampled, unmixing = every(3), sense_unmixing(maps, (3, 1, 0), 1e-3)
    replicas = [unmix(centred_ifft(only(noise(*PLANE, seed=seed), sampled), (-2, -1)), unmixing) for seed in range(400)]
    deviation = np.sqrt(np.mean(np.abs(replicas) ** 2, axis=0) / 2)
    expected = g_factor(unmixing, (3, 1)) * np.sqrt(3)  # a third of the lines, and all of their noise
    inside = expected > 0
    assert np.mean(deviation[inside] / expected[inside]) == pytest.approx(1, abs=0.005)
    assert np.std(deviation[inside] / expected[inside]) < 0.05


def test_regularization_takes_noise_off():
    maps, _, _ = known_coils(n_channels=4)
    plain, damped = (sense_unmixing(maps, (4, 1, 0), weight) for weight in (0, 0.05))
    assert np.linalg.norm(damped) < 0.8 * np.linalg.norm(plain)


def test_more_folds_than_channels_are_refused_but_with_regularization():
    maps = np.ones((1, 1, N_KY, N_KX), np.complex64)
    with pytest.raises(DataError, match="2 pixels fold onto one, and maps of 1 channels do not tell them apart"):
        sense_unmixing(maps, (2, 1, 0))
    assert np.isfinite(sense_unmixing(maps, (2, 1, 0), 0.01)).all()


def test_maps_on_a_grid_that_does_not_fold_are_refused():
    with pytest.raises(DataError, match="48 x 1 pixels"):
        sense_unmixing(known_coils()[0], (5, 1, 0))


# The gadget


@pytest.mark.parametrize(
    ("matrix", "acceleration", "bound"),
    [((72, 60), 1, 0.002), ((72, 60), 2, 0.02), ((72, 60), 3, 0.04), ((72, 62), 3, 0.04)],
)
def test_an_accelerated_scan_gives_the_image_of_the_full_one(small_scan, matrix, acceleration, bound):
    assert_as_fully_sampled(small_scan, Sense(), matrix, acceleration, bound)


def test_volumes_with_shifted_lines_are_reconstructed_in_one(small_scan):
    full = small_scan(matrix=(28, 36), coils=8, slices=1, partitions=12)
    header, chain = parse_header(full.header), [RemoveOversampling(), CollectKSpace()]
    for place, gadget in enumerate(chain):
        gadget.connect(chain[place + 1 :])
        gadget.start(header)
    (kspace,) = [
        whole for batch in full.batches for lines in chain[0].process(batch) for whole in chain[1].process(lines)
    ]
    sampled = shifted((12, 36), 2, 2, 1)
    (image,) = started(Sense(kernel="4 4 4"), header).process(unit(kspace.data, sampled, kspace))
    truth = np.linalg.norm(centred_ifft(kspace.data, (-3, -2, -1)), axis=0)
    inside = truth > 0.05 * truth.max()
    assert relative(np.abs(image.data[0][inside]), truth[inside]) < 0.1


def test_acquired_lines_between_those_of_the_lattice_stay_as_they_are():
    maps, image, kspace = known_coils()
    kspace = kspace + 0.3 * noise(*PLANE)
    sampled = every(3)
    sampled[:, 14:35] = True
    found = sense(only(kspace, sampled), maps, sampled=sampled, regularization=0.01)
    without = sense(only(kspace, every(3)), maps, regularization=0.01)
    expected = centred_fft(maps * without, (-2, -1))
    expected[:, sampled & ~every(3)] = kspace[:, sampled & ~every(3)]
    combined = np.sum(maps.conj() * centred_ifft(expected, (-2, -1)), axis=0)
    assert relative(found, combined) < 1e-5
    assert relative(found, image) < 0.95 * relative(without, image)


def test_readouts_in_image_space_or_not_give_the_same():
    kspace = centred_fft(channel_images(), (-2, -1))
    sampled = every(3) | np.pad(np.ones((1, 16), bool), ((0, 0), (16, 16)))
    lines = unit(kspace, sampled)
    (expected,) = started(Sense()).process(lines)
    hybrid = KSpace(centred_ifft(lines.data, (-1,)), sampled, lines.head, readout_in_image_space=True)
    (found,) = started(Sense()).process(hybrid)
    assert relative(found.data, expected.data) < 1e-3


def test_the_g_factor_is_a_series_of_its_own_on_the_grid_of_the_image():
    kspace = centred_fft(channel_images(), (-2, -1))
    gadget, calibration = started(Sense(gfactor=True)), unit(kspace, every(1))
    g_map, image = gadget.process(unit(kspace, every(5), calibration))
    assert (g_map.head["image_series_index"], g_map.head["image_index"]) == (20, 1)
    assert (image.head["image_series_index"], image.head["image_index"]) == (1, 1)
    assert g_map.data.shape == image.data.shape
    assert g_map.meta["DataRole"] == "Gfactor"
    assert 100 < np.abs(g_map.data).max() < 5000
    assert len(list(gadget.process(unit(kspace, every(5), calibration)))) == 1  # no other for the same calibration
    again, _ = gadget.process(unit(kspace, every(5), unit(kspace, every(1))))
    assert (again.head["image_series_index"], again.head["image_index"]) == (20, 2)


# What is refused


def refusal(kspace, header=HEADER, **parameters):
    with pytest.raises(DataError) as caught:
        list(started(Sense(**parameters), header).process(kspace))
    return str(caught.value)


def test_irregular_lines_are_refused():
    whole = unit(noise(*PLANE), every(1))
    assert "not sampled at regular distances" in refusal(unit(noise(*PLANE), irregular(), whole))


def test_lines_that_are_missing_by_the_header_are_refused():
    (encoding,) = HEADER.encodings
    twofold = Header(b"", (Encoding(encoding.encoded, encoding.recon, encoding.limits, acceleration=(2, 1)),))
    words = refusal(unit(noise(*PLANE), every(4), unit(noise(*PLANE), every(1))), twofold)
    assert "4 x 1 apart" in words
    assert "is 2 x 1" in words


def test_a_scan_without_calibration_or_with_too_little_is_refused():
    assert "no calibration lines" in refusal(unit(noise(*PLANE), every(2)))
    sampled = every(3)
    sampled[:, 22:26] = True
    assert "too few" in refusal(unit(noise(*PLANE), sampled))


def test_samples_that_are_not_finite_are_refused():
    lines = noise(*PLANE)
    lines[2, 0, 24, 7] = np.inf
    assert "not finite" in refusal(unit(lines, every(2), unit(noise(*PLANE), every(1))))
