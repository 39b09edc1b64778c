"""What the chains make of a simulated scan is what the Fourier series of the object's exact k-space gives.

The series is summed here in double precision, sample by sample, without any fast transform.
"""

import numpy as np
import pytest

from echotrain.clients.coils import HARMONICS, coil_coefficients, coil_sensitivities
from echotrain.clients.phantom import SHEPP_LOGAN, Ellipsoid, phantom_image, phantom_kspace
from echotrain.clients.recon import reconstruct
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, Flag, Image

CHANNELS = """<chain name="channels"><gadget name="PadAsymmetricEcho"/><gadget name="RemoveOversampling"/>
<gadget name="CollectKSpace"/><gadget name="FourierTransform"/></chain>"""
ADAPTIVE = CHANNELS.replace("</chain>", '<gadget name="CombineCoils" method="adaptive"/></chain>')

SCANS = [  # every axis of another size, odd and even
    {"matrix": (26, 22), "coils": 1, "oversampling": 2},
    {"matrix": (27, 21), "coils": 1, "oversampling": 1},
    {"matrix": (25, 20), "coils": 3, "oversampling": 2},
    {"matrix": (26, 21), "coils": 4, "oversampling": 2, "slices": 3},
    {"matrix": (23, 28), "coils": 3, "oversampling": 1, "slices": 2, "interleaved": True},
    {"matrix": (18, 15), "coils": 3, "oversampling": 2, "partitions": 6},
    {"matrix": (15, 16), "coils": 2, "oversampling": 1, "partitions": 5},
]


def images_of(scan, config):
    """Pixels of the images that a chain makes, in their order."""
    header, lines = simulate(scan)
    return [item.data for item in reconstruct(lines, header, config) if isinstance(item, Image)]


def taken(n, first=0):
    """Indices k - n // 2 of the samples along an axis, but for those before `first`."""
    return np.arange(first, n) - n // 2


def seen_kspace(scan, kz, ky, kx):
    """What each coil sees at samples [cycles per field of view] of each slice. Shape (slice, coil, kz, ky, kx)."""
    found = np.zeros((scan.slices, scan.coils, len(kz), len(ky), len(kx)), np.complex128)
    numbers = [range(-h, h + 1) for h in HARMONICS]
    volume = scan.partitions > 1
    for along_z, of_z in zip(numbers[0], coil_coefficients(scan.coils).swapaxes(0, 1), strict=True):
        for along_y, of_y in zip(numbers[1], of_z.swapaxes(0, 1), strict=True):
            for along_x, coefficient in zip(numbers[2], of_y.swapaxes(0, 1), strict=True):
                if not coefficient.any():
                    continue
                grid = np.meshgrid(kz - along_z / 2, ky - along_y / 2, kx - along_x / 2, indexing="ij")
                k = np.stack(grid[::-1], axis=-1)
                for number in range(scan.slices):
                    if volume:
                        values = phantom_kspace(k, scan.phantom)
                    else:
                        height = (2 * number - scan.slices + 1) / scan.slices
                        values = phantom_kspace(k[..., :2], scan.phantom, z=height)
                        values = values * np.exp(0.5j * np.pi * along_z * height)
                    found[number] += coefficient[:, None, None, None] * values
    return found


def series(scan, first_y=0, first_x=0, matrix=None):
    """The Fourier series at the centres of `matrix` pixels (x, y), or the scan's. Shape (slice, coil, z, y, x)."""
    n_y, n_z = scan.shape[1], scan.partitions
    fine_x, fine_y = matrix or scan.shape
    kx = taken(scan.readout_samples, first_x) / scan.oversampling
    ky, kz = taken(n_y, first_y), taken(n_z)
    x, y, z = (taken(n) / n for n in (fine_x, fine_y, n_z))
    waves = [np.exp(2j * np.pi * np.outer(position, k)) for position, k in ((z, kz), (y, ky), (x, kx))]
    kspace = seen_kspace(scan, kz, ky, kx)
    return np.einsum("zl,ym,xn,sclmn->sczyx", *waves, kspace, optimize=True) / scan.oversampling


def assert_close(images, expected):
    assert len(images) == len(expected)
    for image, truth in zip(images, expected, strict=True):
        assert image.shape == truth.shape
        assert np.abs(image - truth).max() < 1e-6 * np.abs(truth).max()


def test_the_series_here_is_that_of_a_shifted_disc():
    """The yardstick itself: at the origin the samples are the disc's mean, and a shift turns their phase."""
    disc = Ellipsoid(2.0, (0.5, 0.5, 1.0), (0.25, 0.0, 0.0))
    scan = Scan(matrix=(12, 10), coils=1, oversampling=1, phantom=[disc])
    kspace = seen_kspace(scan, np.zeros(1), np.zeros(1), np.array([0.0, 1.0]))[0, 0, 0, 0]
    assert kspace[0] == pytest.approx(2 * np.pi * 0.25**2)
    assert np.angle(kspace[1]) == pytest.approx(-2 * np.pi * 0.125)


@pytest.mark.parametrize("parameters", SCANS, ids=str)
def test_channels_are_the_series_of_the_objects_kspace(parameters):
    scan = Scan(**parameters)
    assert_close(images_of(scan, CHANNELS), series(scan))


@pytest.mark.parametrize("config", ["rss", "fft"])
@pytest.mark.parametrize("parameters", [SCANS[1], SCANS[3], SCANS[5]], ids=str)
def test_magnitudes_are_those_of_the_series(parameters, config):
    scan = Scan(**parameters)
    assert_close(images_of(scan, config), np.sqrt((np.abs(series(scan)) ** 2).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("fraction", [0.6, 0.75])
@pytest.mark.parametrize("matrix", [(24, 21), (23, 26)])
def test_lines_and_samples_that_are_left_out_are_zeros(matrix, fraction):
    scan = Scan(matrix=matrix, coils=2, partial_fourier=fraction, partial_echo=0.8)
    n_x, n_y = 2 * matrix[0], matrix[1]
    expected = series(scan, n_y - round(fraction * n_y), n_x - round(0.8 * n_x))
    assert_close(images_of(scan, CHANNELS), expected)
    assert np.abs(expected - series(scan)).max() > 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("matrix", [(40, 33), (31, 28)])
def test_a_finer_matrix_shows_the_same_series_at_more_places(matrix):
    scan = Scan(matrix=(24, 21), coils=3, oversampling=1)
    header, lines = simulate(scan)
    start, recon, rest = header.partition(b"<reconSpace>")
    rest = rest.replace(b"<x>24</x>", b"<x>%d</x>" % matrix[0], 1).replace(b"<y>21</y>", b"<y>%d</y>" % matrix[1], 1)
    images = [item for item in reconstruct(lines, start + recon + rest, "fft") if isinstance(item, Image)]
    expected = series(scan, matrix=matrix)
    assert_close([image.data for image in images], np.sqrt((np.abs(expected) ** 2).sum(axis=1, keepdims=True)))
    assert images[0].described()["field_of_view"].tolist() == [256, 256, 5]


@pytest.mark.parametrize("n_coils", [1, 6])
def test_images_are_the_object_times_the_sensitivities_as_far_as_ringing_allows(n_coils):
    n_y, n_x = shape = (150, 132)
    (image,) = images_of(Scan(matrix=(n_x, n_y), coils=n_coils), CHANNELS)
    sensitivities = coil_sensitivities(n_coils, shape)
    truth = phantom_image(shape) * sensitivities
    # A straight edge of height 1 rings by at most 1 / (pi^2 d) at a distance of d pixels, along each of the two axes.
    y, x = np.meshgrid(*(taken(n) * (2 / n) for n in shape), indexing="ij")
    bound = np.zeros(shape)
    for part in SHEPP_LOGAN:
        shrink = np.sqrt(max(0.0, 1 - (part.centre[2] / part.semi_axes[2]) ** 2))
        if not shrink:
            continue
        turn, (a, b, _) = np.deg2rad(part.angle_deg), np.array(part.semi_axes) * shrink
        right, down = x - part.centre[0], y - part.centre[1]
        along, across = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
        distance = np.abs(np.hypot(along / a, across / b) - 1) * min(a, b) * min(shape) / 2  # at least so far
        bound += abs(part.intensity) * 2 / (np.pi**2 * np.maximum(distance, 1e-9))
    bound *= np.abs(sensitivities).max()
    calm = bound < 0.1 * np.abs(truth).max()
    assert calm[phantom_image(shape) > 0].sum() > 500
    assert (np.abs(image[:, 0] - truth)[:, calm] < bound[calm]).all()


def test_adaptive_combination_keeps_the_objects_phase():
    """Up to a constant it is the object's own, here 0 or pi, plus that of the array's strongest combination."""
    object_ = [Ellipsoid(1.0, (0.8, 0.85, 1.0)), Ellipsoid(-2.0, (0.4, 0.45, 1.0), (0.2, 0.1, 0.0))]
    scan = Scan(matrix=(66, 60), coils=5, phantom=object_)
    ((image,),) = images_of(scan, ADAPTIVE)
    (channels,) = images_of(scan, CHANNELS)
    strongest = np.linalg.svd(channels.reshape(5, -1), full_matrices=False)[0][:, 0]
    virtual = np.einsum("c,cyx->yx", strongest.conj(), coil_sensitivities(5, (60, 66)))
    truth = phantom_image((60, 66), object_)
    near = np.stack([np.roll(truth, (dy, dx), (0, 1)) for dy in range(-4, 5) for dx in range(-4, 5)])
    inside = (np.ptp(near, axis=0) == 0) & (truth != 0)
    assert (truth[inside] < 0).sum() > 100
    relative = image[0] / (truth + (truth == 0)) * virtual.conj()
    relative *= np.exp(-1j * np.angle(relative[inside].sum()))
    assert np.abs(np.angle(relative[inside])).max() < 0.06


def test_whitened_noise_has_a_deviation_of_one_in_kspace_and_in_images():
    scan = Scan(
        matrix=(48, 40),
        coils=4,
        noise=0.3,
        correlation=0.5,
        noise_lines=64,
        dwell_us=3.0,
        noise_dwell_us=8.0,
        phantom=[],
    )
    header, lines = simulate(scan)
    whiten = '<chain name="whiten"><gadget name="Prewhiten"/></chain>'
    kspace = [item for item in reconstruct(lines, header, whiten) if isinstance(item, Acquisitions)]
    assert not any(batch.has(Flag.IS_NOISE_MEASUREMENT).any() for batch in kspace)
    (image,) = images_of(scan, CHANNELS.replace('<gadget name="Pad', '<gadget name="Prewhiten"/><gadget name="Pad'))
    # Four deviations of what 40 x 96 samples, or half as many pixels, and a covariance from 64 x 96 samples tell.
    for samples in (np.concatenate([batch.data for batch in kspace]).swapaxes(0, 1), image):
        each = samples.reshape(4, -1)
        tolerance = 4 * np.sqrt(1 / (2 * each.shape[1]) + 1 / (4 * 64 * 96))
        np.testing.assert_allclose([each.real.std(axis=1), each.imag.std(axis=1)], 1, atol=tolerance)
        apart = np.corrcoef(each) - np.eye(4)
        assert np.abs(apart).max() < 4 * np.sqrt(1 / each.shape[1] + 1 / (64 * 96))
