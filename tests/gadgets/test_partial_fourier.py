"""Partial Fourier: exact where theory says so, better than zeros elsewhere, used only where k-space lacks a side."""

import re

import numpy as np
import pytest
import torch

from echotrain.gadgets import (
    CgSense,
    CollectKSpace,
    CombineCoils,
    FourierTransform,
    Grappa,
    PadAsymmetricEcho,
    PartialFourier,
    RemoveOversampling,
    Sense,
)
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.gadgets.image_headers import sampling_limits
from echotrain.gadgets.partial_fourier import homodyne, pocs, zero_filling
from echotrain.mrd import Image, ImageType, acquisition_headers, parse_header
from echotrain.mrd.errors import DataError, ParameterError

N_Z, N_Y, N_X = 1, 60, 53
FULL = [range(N_Z), range(N_Y), range(N_X)]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def grid(*shape):
    return np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")


def magnitude(n_z=N_Z, n_y=N_Y, n_x=N_X):
    """An object with edges and details that stays positive, and so does any smooth image of it."""
    z, y, x = grid(n_z, n_y, n_x)
    inside = (y / 0.8) ** 2 + (x / 0.7) ** 2 + (z / 0.9 if n_z > 1 else 0) ** 2 < 1
    return 0.3 + inside * (1 + 0.4 * np.cos(14 * y) * np.sin(11 * x))


def smooth_phase(n_z=N_Z, n_y=N_Y, n_x=N_X):
    z, y, x = grid(n_z, n_y, n_x)
    return np.exp(1j * (0.7 + 1.1 * y - 0.8 * x + 0.9 * x * y + 0.5 * (z if n_z > 1 else 0)))


def as_acquired(image, sampled):
    """The image of the part of k-space that was acquired, the rest zero."""
    kspace = centred_fft(image.astype(np.complex64), (-3, -2, -1))
    kept = np.zeros_like(kspace)
    part = tuple(slice(along.start, along.stop) for along in sampled)
    kept[part] = kspace[part]
    return centred_ifft(kept, (-3, -2, -1))


def along_y(*rows):
    return [FULL[0], range(*rows), FULL[2]]


SIDES = {
    "the lower side of ky": along_y(0, 42),
    "the upper side of ky": along_y(18, 60),
    "little beyond the centre": along_y(0, 35),
    "short at both ends": along_y(3, 42),
    "the lower side of kx, an odd number": [*FULL[:2], range(37)],
    "the upper side of kx, an odd number": [*FULL[:2], range(16, 53)],
}
each_side = pytest.mark.parametrize("sampled", SIDES.values(), ids=SIDES.keys())
TWO_AXES = [FULL[0], range(42), range(12, 53)]


# In closed form


@each_side
@pytest.mark.parametrize("band", [0, 8, 99], ids=["step", "short ramp", "ramp"])
def test_conjugate_symmetry_completes_real_objects_exactly(sampled, band):
    short = sampled is SIDES["short at both ends"]
    truth = as_acquired(magnitude(), along_y(3, 58)) if short else magnitude()
    found = homodyne(as_acquired(truth, sampled), sampled, (band,))
    assert relative(found, truth) < 2e-6
    if not short:
        assert relative(as_acquired(truth, sampled), truth) > 0.03


@pytest.mark.parametrize("band", [0, 99], ids=["step", "ramp"])
def test_a_phase_that_is_the_same_everywhere_stays(band):
    truth = magnitude() * np.exp(2.3j)
    sampled = along_y(20, 60)
    found = homodyne(as_acquired(truth, sampled), sampled, (band,))
    assert relative(found, truth) < 2e-6


@pytest.mark.parametrize("side", ["the lower side of ky", "the upper side of kx, an odd number"])
def test_projections_come_nearer_to_an_object_of_known_phase_with_each_iteration(side):
    phase = smooth_phase().astype(np.complex64)
    truth, sampled = magnitude() * phase, SIDES[side]
    given = as_acquired(truth, sampled)
    errors = [relative(pocs(given, sampled, (0,), n, 0, phase), truth) for n in (1, 2, 3, 4, 6, 8, 12, 30)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.6 * relative(given, truth)
    assert errors[-1] < 1e-3 * relative(given, truth)


# What holds of projections


def test_what_was_acquired_stays_as_it_is():
    sampled = along_y(0, 42)
    given = as_acquired(magnitude() * smooth_phase(), sampled)
    kspace = centred_fft(pocs(given, sampled, (0,), 5), (-2,))
    acquired = centred_fft(given, (-2,))
    np.testing.assert_allclose(kspace[:, :42], acquired[:, :42], atol=1e-5)
    assert np.abs(kspace[:, 42:]).max() > 0.1
    banded = centred_fft(pocs(given, sampled, (8,), 5), (-2,))
    np.testing.assert_allclose(banded[:, :34], acquired[:, :34], atol=1e-5)


def test_k_space_is_completed_no_further_than_its_mirror_image_reaches():
    sampled = along_y(5, 42)
    given = as_acquired(magnitude() * smooth_phase(), sampled)
    kspace = np.abs(centred_fft(pocs(given, sampled), (-2,)))
    assert kspace[:, 42:56].max() > 0.2
    assert max(kspace[:, :5].max(), kspace[:, 56:].max()) < 1e-5


def test_an_object_whose_phase_is_nowhere_smooth_keeps_what_was_acquired():
    """Symmetry says nothing of it; forced upon it, it would bring the magnitude further from the truth than zeros."""
    rough = np.exp(2j * np.pi * np.random.default_rng(5).random(magnitude().shape))
    truth, sampled = magnitude() * rough, along_y(0, 42)
    given = as_acquired(truth, sampled)
    zeros = relative(abs(given), abs(truth))
    assert relative(abs(pocs(given, sampled)), abs(truth)) < 1.02 * zeros
    assert relative(abs(homodyne(given, sampled)), abs(truth)) > 1.5 * zeros


def test_iterations_stop_when_little_changes():
    sampled = along_y(0, 42)
    given = as_acquired(magnitude() * smooth_phase(), sampled)
    np.testing.assert_array_equal(pocs(given, sampled, (8,), 50, 1.0), pocs(given, sampled, (8,), 1, 0))
    early, late = pocs(given, sampled, (8,), 50, 0.01), pocs(given, sampled, (8,), 50, 0)
    assert 0 < relative(early, late) < 0.03


def test_nothing_is_done_where_all_was_acquired():
    image = (magnitude() * smooth_phase()).astype(np.complex64)
    for found in (pocs(image, FULL), homodyne(image, FULL), zero_filling(image, FULL)):
        assert relative(found, image) < 1e-6


def test_the_filter_falls_as_half_a_cosine_and_keeps_the_variance_of_noise():
    sampled = along_y(0, 45)
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((1, N_Y, N_X)) + 1j * rng.standard_normal((1, N_Y, N_X))
    given = centred_ifft(kspace.astype(np.complex64), (-2,))
    ratio = centred_fft(zero_filling(given, sampled, (0.1,)), (-2,))[0] / kspace[0]
    expected = np.ones(N_Y)
    expected[45:] = 0
    expected[39:45] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(6, 0, -1) / 13)  # a tenth of 60 lines
    expected /= np.sqrt(np.mean(expected[:45] ** 2))
    np.testing.assert_allclose(ratio, np.tile(expected[:, None], N_X), atol=1e-4)


# Beside zeros


@each_side
def test_all_are_better_than_zeros_where_the_phase_is_smooth(sampled):
    truth = magnitude() * smooth_phase()
    given = as_acquired(truth, sampled)
    error = {
        "zeros": relative(given, truth),
        "homodyne": relative(homodyne(given, sampled), truth),
        "conjugate": relative(homodyne(given, sampled, (0,)), truth),
        "pocs": relative(pocs(given, sampled), truth),
    }
    if len(sampled[1]) > 35:
        assert max(error["homodyne"], error["conjugate"]) < 0.8 * error["zeros"]
    assert error["pocs"] < 0.6 * error["zeros"]


def test_two_directions_at_once_are_better_than_one_and_than_zeros():
    truth = magnitude() * smooth_phase()
    given = as_acquired(truth, TWO_AXES)
    one = pocs(given, [TWO_AXES[0], TWO_AXES[1], FULL[2]])
    errors = [relative(image, truth) for image in (pocs(given, TWO_AXES), one, given)]
    assert errors[0] < 0.9 * errors[1] < 0.9 * errors[2]
    assert relative(homodyne(given, TWO_AXES, (0,)), truth) < 0.85 * errors[2]
    exact = homodyne(as_acquired(magnitude(), TWO_AXES), TWO_AXES)
    corner = centred_fft(exact - magnitude(), (-2, -1))[0]
    # What neither was acquired nor has its mirror image acquired stays zero; all else is exact.
    neither = np.zeros((N_Y, N_X), bool)
    neither[42:, 41:] = neither[1:19, :12] = True
    assert np.abs(corner[~neither]).max() < 0.02 * np.abs(corner).max()


def test_volumes_are_completed_along_z():
    shape = (24, 20, 18)
    truth = magnitude(*shape) * smooth_phase(*shape)
    sampled = [range(16), *map(range, shape[1:])]
    given = as_acquired(truth, sampled)
    assert relative(pocs(given, sampled), truth) < 0.7 * relative(given, truth)


def test_tensors_stay_tensors_and_channels_are_completed_one_by_one():
    sampled = along_y(0, 42)
    images = np.stack([as_acquired(magnitude() * smooth_phase() * factor, sampled) for factor in (1, 2j)])
    for function in (pocs, homodyne, zero_filling):
        both = function(torch.from_numpy(images), sampled)
        assert isinstance(both, torch.Tensor)
        assert relative(both.numpy()[0], function(images[0], sampled)) < 1e-5
    assert relative(homodyne(images, sampled)[1], 2j * homodyne(images, sampled)[0]) < 1e-5


@pytest.mark.parametrize(("alpha", "band"), [(1, 0), (0, 99)], ids=["step", "ramp"])
def test_homodyne_images_are_those_of_bart(bart, alpha, band):
    shape = (1, 64, 48)
    truth = magnitude(*shape) * smooth_phase(*shape)
    sampled = [range(1), range(48), range(48)]
    kspace = centred_fft(as_acquired(truth, sampled), (-2, -1))
    wanted = np.abs(bart(f"homodyne -r {alpha} 1 0.75", kspace[None]))[0]
    made = np.abs(homodyne(as_acquired(truth, sampled), sampled, (band,)))
    assert relative(made, wanted) < 0.02
    assert relative(made, np.abs(as_acquired(truth, sampled))) > 0.03


# The gadget


def images_of(gadgets, header, items):
    for place, gadget in enumerate(gadgets):
        gadget.connect(gadgets[place + 1 :])
        gadget.start(header)
    for gadget in gadgets:
        items = [
            out for item in items if isinstance(item, gadget.accepts) for out in gadget.process(item) or ()
        ] + list(gadget.finish() or ())
    return [item for item in items if isinstance(item, Image)]


def lines_to_images(scan, *last, grappa=False):
    middle = [Grappa()] if grappa else [FourierTransform(), CombineCoils(method="adaptive")]
    chain = [PadAsymmetricEcho(), RemoveOversampling(), CollectKSpace(), *middle, *last]
    return images_of(chain, parse_header(scan.header), scan.batches)


@pytest.mark.parametrize(
    ("parameters", "axes"),
    [
        ({"partial_fourier": 0.7}, ["E1"]),
        ({"partial_echo": 0.7}, ["RO"]),
        ({"partial_fourier": 0.75, "partial_echo": 0.8}, ["E1", "RO"]),
        ({"partial_fourier": 0.75, "acceleration": 2}, ["E1"]),
    ],
)
def test_the_lines_that_came_tell_what_is_to_be_completed(small_scan, parameters, axes):
    size = {"matrix": (72, 64), "coils": 8, "slices": 1}
    (truth,) = lines_to_images(small_scan(**size))
    scan, grappa = small_scan(**size, **parameters), "acceleration" in parameters
    (zeros,) = lines_to_images(scan, grappa=grappa)
    limits = {name: zeros.meta[f"sampling_limits_{name}"] for name in ("RO", "E1", "E2")}
    for name, n in (("RO", 72), ("E1", 64), ("E2", 1)):
        first, centre, last = limits[name]
        assert centre == n // 2
        assert (first > 10) == (name in axes)
        assert last >= n - 2
    for method in ("pocs", "conjugate"):
        (found,) = lines_to_images(scan, PartialFourier(method=method), grappa=grappa)
        assert found.data.shape == truth.data.shape
        assert found.meta["GADGETRON_ImageProcessingHistory"][-1] == "PartialFourier"
        np.testing.assert_array_equal(found.head, zeros.head)
        before, after = (relative(np.abs(image.data), np.abs(truth.data)) for image in (zeros, found))
        assert after < 0.85 * before


@pytest.mark.parametrize("unfolding", [CgSense, Sense])
def test_what_sense_unfolds_is_completed_as_well(small_scan, unfolding):
    size = {"matrix": (72, 64), "coils": 8, "slices": 1}
    full, scan = small_scan(**size), small_scan(**size, acceleration=2, partial_fourier=0.75)
    chain = [RemoveOversampling(), CollectKSpace(), unfolding()]
    (truth,) = images_of(chain, parse_header(full.header), full.batches)
    (zeros,) = images_of(chain, parse_header(scan.header), scan.batches)
    (found,) = images_of([*chain, PartialFourier()], parse_header(scan.header), scan.batches)
    before, after = (relative(np.abs(image.data), np.abs(truth.data)) for image in (zeros, found))
    assert after < 0.7 * before


@pytest.mark.parametrize("acceleration", [1, 2, 3])
@pytest.mark.parametrize("told", [True, False], ids=["factor in the header", "no factor there"])
def test_images_of_symmetric_k_space_pass_as_they_are(small_scan, acceleration, told):
    scan = small_scan(matrix=(36, 41), coils=6, slices=1, acceleration=acceleration)
    if not told:
        scan = scan._replace(header=re.sub(rb"(?s)<parallelImaging>.*</parallelImaging>", b"", scan.header))
    (image,) = lines_to_images(scan, grappa=acceleration > 1)
    assert list(PartialFourier().process(image)) == [image]
    first, centre, last = image.meta["sampling_limits_E1"]
    assert centre - first == last - centre > 17


@pytest.mark.parametrize(
    ("rows", "discarded", "expected"),
    [
        (range(42), (0, 0), {"E1": [0, 20, 40], "RO": [0, 6, 12]}),
        (range(31), (0, 3), {"E1": [0, 20, 30], "RO": [0, 6, 9]}),
        (range(2, 38, 3), (1, 0), {"E1": [2, 20, 38], "RO": [0, 6, 12]}),  # 18 and 15 lines from the centre
        (range(2, 31, 3), (4, 0), {"E1": [2, 20, 29], "RO": [4, 6, 12]}),
        ([20], (0, 12), {"E1": [20, 20, 20], "RO": [0, 6, 0]}),
    ],
)
def test_ends_that_are_as_far_as_lines_are_apart_count_as_alike(rows, discarded, expected):
    sampled = np.zeros((1, 41), bool)
    sampled[:, [row for row in rows if row < 41]] = True
    line = acquisition_headers(1, 2, 13)[0]
    line["discard_pre"], line["discard_post"] = discarded
    limits = sampling_limits(sampled, line, n_x=13)
    assert limits == {f"sampling_limits_{name}": value for name, value in (expected | {"E2": [0, 0, 0]}).items()}


def image(data=None, limits=None, kind=ImageType.COMPLEX, **meta):
    data = as_acquired(magnitude() * smooth_phase(), along_y(18, 60))[None] if data is None else data
    meta |= {f"sampling_limits_{name}": list(value) for name, value in (limits or {"E1": (18, 30, 59)}).items()}
    return Image(data, meta=meta).with_data(data, image_type=kind, image_index=4)


def given_by(item, **parameters):
    return list(PartialFourier(**parameters).process(item))


def test_each_method_is_its_function():
    one = image()
    sampled = along_y(18, 60)
    for parameters, expected in (
        ({}, pocs(one.data, sampled)),
        ({"method": "pocs", "band": "3 4 5", "iterations": 2}, pocs(one.data, sampled, (4,), 2)),
        ({"method": "homodyne", "band": 12}, homodyne(one.data, sampled, (12,))),
        ({"method": "conjugate"}, homodyne(one.data, sampled, (0,))),
        ({"method": "zero_filling", "width": "0.3 0.2 0.1"}, zero_filling(one.data, sampled, (0.2,))),
    ):
        (found,) = given_by(one, **parameters)
        np.testing.assert_array_equal(found.data, expected)


def test_limits_that_were_read_from_a_stream_as_text_count_as_well():
    (found,) = given_by(image(limits={"E1": ("18", "30", "59")}))
    np.testing.assert_array_equal(found.data, given_by(image())[0].data)


def test_maps_and_images_that_say_nothing_of_k_space_pass():
    for item in (image(DataRole="Gfactor", GADGETRON_DataRole="Gfactor"), Image(image().data)):
        assert given_by(item) == [item]


def test_magnitudes_and_pixels_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="magnitude images have no k-space"):
        given_by(image(np.abs(image().data), kind=ImageType.MAGNITUDE))
    broken = image().data.copy()
    broken[0, 0, 5, 7] = np.nan
    with pytest.raises(DataError, match="image 4 holds pixels that are not finite"):
        given_by(image(broken))


@pytest.mark.parametrize("limits", [(0, 30, 31), (0, 30, 20), (29, 30, 59), (40, 30, 59)])
def test_little_more_than_half_of_k_space_or_less_is_refused_but_for_zeros(limits):
    with pytest.raises(
        DataError, match=rf"from {limits[0]} to {limits[2]} of 60 samples along y.*beyond the centre 30"
    ):
        given_by(image(limits={"E1": limits}))
    (found,) = given_by(image(limits={"E1": limits}), method="zero_filling")
    assert np.isfinite(found.data).all()


def test_three_directions_at_once_are_refused_but_for_zeros():
    data = (magnitude(12, 14, 16) * smooth_phase(12, 14, 16)).astype(np.complex64)[None]
    limits = {"RO": (4, 8, 15), "E1": (0, 7, 10), "E2": (0, 6, 9)}
    with pytest.raises(DataError, match="along x, y and z at once"):
        given_by(image(data, limits))
    assert len(given_by(image(data, limits), method="zero_filling")) == 1


def test_images_of_another_grid_are_refused():
    with pytest.raises(DataError, match="put PartialFourier before"):
        given_by(image(limits={"E1": (18, 32, 59)}))


def test_one_value_or_three_are_taken():
    with pytest.raises(ParameterError, match="band has 2 values"):
        PartialFourier(band="8 9")
