"""SENSE by iteration: exact with true maps, adjoint, in any pattern, and words where there can be none."""

import numpy as np
import pytest
import torch
from known_coils import HEADER, images_of, irregular, known_coils, started, unit
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, only, relative

from echotrain.gadgets import CgSense, CollectKSpace, CombineCoils, FourierTransform, RemoveOversampling
from echotrain.gadgets import calibration as calibration_module
from echotrain.gadgets.cg_sense import cg_sense, sense_normal
from echotrain.gadgets.espirit import espirit_maps
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import Encoding, Header, KSpace, Space, parse_header
from echotrain.mrd.errors import DataError

# The numerical functions


@pytest.mark.parametrize("shape", [(1, N_KY, N_KX), (6, 21, 18)])
def test_with_true_maps_and_no_noise_any_pattern_gives_the_image(shape):
    maps, image, kspace = known_coils(shape)
    found = cg_sense(only(kspace, irregular(shape[:2])), maps, regularization=0, iterations=300, tolerance=1e-6)
    assert found.shape == shape
    assert relative(found, image) < 1e-4


def test_planes_have_two_axes_and_tensors_give_tensors():
    maps, _, kspace = known_coils()
    lines = only(kspace, irregular())
    expected = cg_sense(lines, maps)
    np.testing.assert_allclose(cg_sense(lines[:, 0], maps[:, 0]), expected[0], atol=1e-5)
    found = cg_sense(torch.from_numpy(lines), torch.from_numpy(maps), sampled=irregular())
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_the_normal_operator_is_what_its_steps_make_and_its_own_adjoint():
    rng = np.random.default_rng(2)
    maps, sampled = noise(2, 5, 4, 9, 7), rng.random((4, 9)) < 0.5
    one, other = noise(2, 4, 9, 7, seed=6), noise(2, 4, 9, 7, seed=7)
    normal = sense_normal(torch.from_numpy(maps), sampled)

    def applied(image):
        given = torch.from_numpy(image.transpose(0, 3, 1, 2).copy())
        return normal(given).numpy().transpose(0, 2, 3, 1)

    seen = only(centred_fft(np.einsum("sczyx,szyx->czyx", maps, one), (-3, -2, -1)), sampled)
    expected = np.einsum("sczyx,czyx->szyx", maps.conj(), centred_ifft(seen, (-3, -2, -1)))
    assert relative(applied(one), expected) < 1e-5
    assert np.vdot(other, applied(one)) == pytest.approx(np.vdot(applied(other), one), rel=1e-4)


def test_the_solution_is_that_of_the_normal_equations():
    """Of few pixels all can be written down as a matrix, whatever the maps and the noise."""
    n_y, n_x, n_channels = 8, 3, 2
    maps, kspace = noise(n_channels, 1, n_y, n_x), noise(n_channels, 1, n_y, n_x, seed=1)
    sampled = np.array([[True, False, True, True, False, False, True, False]])
    transform = centred_fft(np.eye(n_y, dtype=np.complex64), (0,))[sampled[0]]
    expected = np.empty((n_y, n_x), complex)
    lines = centred_ifft(only(kspace, sampled), (-1,))
    for x in range(n_x):
        encoding = np.concatenate([transform * coil for coil in maps[:, 0, :, x]])
        right = encoding.conj().T @ np.concatenate(lines[:, 0, sampled[0], x])
        expected[:, x] = np.linalg.solve(encoding.conj().T @ encoding + 0.1 * np.eye(n_y), right)
    found = cg_sense(only(kspace, sampled), maps, sampled=sampled, regularization=0.1, iterations=100, tolerance=1e-6)
    assert relative(found[0], expected) < 1e-4


def test_two_sets_of_maps_give_two_images_that_fold_over_each_other():
    """Every other line alone halves the field of view; what two sets of its pixels show is the image without gaps."""
    maps, image, kspace = known_coils()
    half = centred_fft(centred_ifft(kspace, (-2, -1)), (-2, -1))[:, :, ::2]
    parts = np.stack(np.split(np.roll(maps, -N_KY // 4, axis=-2), 2, axis=-2))
    folded = cg_sense(half, parts, regularization=0, iterations=300, tolerance=1e-7)
    assert folded.shape == (2, 1, N_KY // 2, N_KX)
    expected = np.stack(np.split(np.roll(image, -N_KY // 4, axis=-2), 2, axis=-2)) * np.sqrt(0.5)
    assert relative(folded, expected) < 1e-3


def test_wavelets_take_noise_off_and_a_vanishing_weight_gives_the_plain_solution():
    maps, image, kspace = known_coils()
    lines = only(kspace, irregular())
    found = cg_sense(lines, maps, sparsity=1e-6, iterations=400, tolerance=0)
    assert relative(found, image) < 0.02
    smooth = np.ones_like(image) * (np.abs(maps).sum(axis=0) > 0)
    noisy = only(centred_fft(maps * smooth, (-2, -1)) + 0.3 * noise(*PLANE), irregular())
    plain = cg_sense(noisy, maps)
    sparse = cg_sense(noisy, maps, sparsity=0.15)
    assert relative(sparse, smooth) < 0.5 * relative(plain, smooth)


# The gadget


@pytest.mark.parametrize(
    ("maps", "acceleration", "bound"),
    [
        ("espirit", 1, 0.002),
        ("espirit", 2, 0.02),
        ("espirit", 3, 0.04),
        ("adaptive", 2, 0.025),
        ("adaptive", 3, 0.09),
        ("calibration", 2, 0.02),
    ],
)
def test_an_accelerated_scan_gives_the_image_of_the_full_one(small_scan, maps, acceleration, bound):
    parameters = {"matrix": (72, 60), "coils": 8, "slices": 2}
    full = small_scan(**parameters)
    truth = images_of(
        [RemoveOversampling(), CollectKSpace(), FourierTransform(), CombineCoils(method="rss")],
        parse_header(full.header),
        full.batches,
    )
    scan = small_scan(**parameters, acceleration=acceleration)
    chain = [RemoveOversampling(), CollectKSpace(), CgSense(maps=maps, regularization=1e-4)]
    found = images_of(chain, parse_header(scan.header), scan.batches)
    assert len(found) == len(truth) == 2
    for one, other in zip(found, truth, strict=True):
        assert one.data.shape == other.data.shape == (1, 1, 60, 72)
        assert np.iscomplexobj(one.data)
        inside = other.data > 0.05 * other.data.max()
        assert relative(np.abs(one.data[inside]), other.data[inside]) < bound
        for name in ("field_of_view", "position", "read_dir", "slice", "image_index", "image_series_index"):
            np.testing.assert_array_equal(one.head[name], other.head[name])
        history = one.meta.pop("GADGETRON_ImageProcessingHistory"), other.meta.pop("GADGETRON_ImageProcessingHistory")
        assert history == (["FourierTransform", "CgSense"], ["FourierTransform", "CombineCoils"])
        for name in ("DataRole", "EchoTime", "ImageRowDir", "GADGETRON_ImageNumber"):
            assert one.meta[name] == other.meta[name]


def test_lines_along_both_phase_directions_may_be_anywhere():
    """A Poisson pattern in (kz, ky), as of a volume whose readout was transformed and taken apart."""
    shape = (60, 52, 1)
    images = channel_images(8, shape)
    sampled = np.random.default_rng(1).random(shape[:2]) < 0.5
    sampled[20:40, 16:36] = True
    header = Header(
        b"", (Encoding(Space((1, 52, 60), (1.0, 100.0, 120.0)), Space((1, 52, 60), (1.0, 100.0, 120.0)), {}),)
    )
    kspace = unit(centred_fft(images, (1, 2)), sampled)
    (image,) = started(CgSense(kernel="1 5 5"), header).process(kspace)
    truth = np.linalg.norm(images, axis=0)
    assert image.data.shape == (1, *shape)
    assert relative(np.abs(image.data[0]), truth) < 0.02


def test_readouts_in_image_space_or_not_give_the_same():
    kspace = centred_fft(channel_images(), (-2, -1))
    sampled, calibration = irregular(), unit(kspace, every(1))
    (expected,) = started(CgSense()).process(unit(kspace, sampled, calibration))
    hybrid, known = (
        KSpace(centred_ifft(one.data, (-1,)), one.sampled, one.head, readout_in_image_space=True)
        for one in (unit(kspace, sampled), calibration)
    )
    hybrid = KSpace(hybrid.data, hybrid.sampled, hybrid.head, (), known, readout_in_image_space=True)
    (found,) = started(CgSense()).process(hybrid)
    assert relative(found.data, expected.data) < 1e-3


def test_maps_are_kept_while_the_calibration_is_the_same(monkeypatch):
    made = []

    def counted(*arguments, **parameters):
        made.append(None)
        return espirit_maps(*arguments, **parameters)

    monkeypatch.setattr(calibration_module, "espirit_maps", counted)
    kspace = centred_fft(channel_images(), (-2, -1))
    gadget, calibration = started(CgSense()), unit(kspace, every(1))
    for _ in range(2):
        list(gadget.process(unit(kspace, every(2), calibration)))
    assert len(made) == 1
    list(gadget.process(unit(kspace, every(2), unit(kspace, every(1)))))
    assert len(made) == 2


def test_separate_calibration_is_centred_by_its_middle():
    kspace = centred_fft(channel_images(), (-2, -1))
    at_centre = np.zeros((1, N_KY), bool)
    at_centre[:, 12:36] = True
    elsewhere = unit(np.roll(kspace, -12, axis=-2), np.roll(at_centre, -12, axis=-1))
    (encoding,) = HEADER.encodings
    separate = Header(b"", (Encoding(encoding.encoded, encoding.recon, encoding.limits, calibration_mode="separate"),))
    for maps in ("espirit", "adaptive", "calibration"):
        (expected,) = started(CgSense(maps=maps)).process(unit(kspace, every(2), unit(kspace, at_centre)))
        (found,) = started(CgSense(maps=maps), separate).process(unit(kspace, every(2), elsewhere))
        assert relative(found.data, expected.data) < 1e-3


# What is refused


def refusal(gadget, kspace):
    with pytest.raises(DataError) as caught:
        list(started(gadget).process(kspace))
    return str(caught.value)


every_maps = pytest.mark.parametrize("maps", ["espirit", "adaptive", "calibration"])


@every_maps
def test_a_scan_without_calibration_is_refused(maps):
    assert "no calibration lines" in refusal(CgSense(maps=maps), unit(noise(*PLANE), every(2)))


@every_maps
def test_too_few_calibration_lines_are_refused(maps):
    sampled = every(3)
    sampled[:, 22:26] = True
    assert "too few" in refusal(CgSense(maps=maps), unit(noise(*PLANE), sampled))


def test_calibration_of_other_channels_is_refused():
    fewer = unit(noise(4, 1, N_KY, N_KX), every(1))
    assert "4 channels, the other lines 6" in refusal(CgSense(), unit(noise(*PLANE), every(2), fewer))


@pytest.mark.parametrize("which", ["lines", "calibration"])
def test_samples_that_are_not_finite_are_refused(which):
    lines, calibration = noise(*PLANE), noise(*PLANE)
    (lines if which == "lines" else calibration)[2, 0, 24, 7] = np.nan
    assert "not finite" in refusal(CgSense(), unit(lines, every(2), unit(calibration, every(1))))
