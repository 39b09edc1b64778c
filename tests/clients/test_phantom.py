"""The phantom's two formulas say the same, and its picture is the one that everybody knows."""

import numpy as np
import pytest

from echotrain.clients.phantom import SHEPP_LOGAN, Ellipsoid, phantom_image, phantom_kspace

TILTED = Ellipsoid(0.7, (0.3, 0.55, 0.4), (0.25, -0.2, 0.1), 33.0)


def centred(n):
    """Pixel positions in fields of view."""
    return (np.arange(n) - n // 2) / n


def direct_sum(image, k):
    """The Fourier integral as a sum over pixels, at k of shape (point, dim)."""
    grids = np.meshgrid(*(centred(n) for n in image.shape), indexing="ij")
    positions = np.stack([g[image != 0] for g in reversed(grids)], axis=-1)
    return np.exp(-2j * np.pi * k @ positions.T) @ image[image != 0] / image.size


@pytest.mark.parametrize(
    "part",
    [Ellipsoid(1.0, (0.4, 0.6, 1)), Ellipsoid(-0.5, (0.3, 0.2, 1), (0.5, -0.3, 0)), TILTED],
    ids=["centred", "shifted", "tilted"],
)
def test_plane_agrees_with_a_sum_over_its_picture(part):
    k = np.array([[0, 0], [1, 0], [0, 1], [-2.5, 1.25], [3, 4], [-6, 2.2]])
    image = phantom_image((901, 1001), [part]).astype(float)
    # Each pixel that the edge crosses is wrong by half its area at the most, and they number 4 / pi perimeters / h.
    perimeter = 2 * np.pi * max(part.semi_axes[:2]) / 2
    assert np.abs(phantom_kspace(k, [part]) - direct_sum(image, k)).max() < abs(part.intensity) * perimeter / 901


def test_volume_agrees_with_an_integral_over_its_planes():
    k = np.array([[0, 0, 0], [1.5, -0.5, 0], [0, 0, 2], [2, 3, -1.5]])
    part = TILTED
    # Substituting z = centre + c sin(t) makes the integrand smooth at both ends.
    t, step = np.linspace(-np.pi / 2, np.pi / 2, 401, retstep=True)
    half_depth, centre = part.semi_axes[2] / 2, part.centre[2] / 2
    z = centre + half_depth * np.sin(t)
    planes = np.stack([phantom_kspace(k[:, :2], [part], z=2 * height) for height in z])
    integrand = planes * np.exp(-2j * np.pi * np.outer(z, k[:, 2])) * (half_depth * np.cos(t))[:, None]
    np.testing.assert_allclose(phantom_kspace(k, [part]), integrand.sum(axis=0) * step, atol=1e-6)


def test_volume_picture_consists_of_the_plane_pictures():
    volume = phantom_image((6, 20, 24))
    for index in range(6):
        np.testing.assert_array_equal(volume[index], phantom_image((20, 24), z=(index - 3) / 3))


def test_ball_is_smooth_where_its_formula_would_cancel():
    k = np.array([[0, 0, 0.99e-2], [0, 0, 1.01e-2]]) / np.pi  # either side of where the series takes over
    ball = [Ellipsoid(1.0, (1, 1, 1))]
    below, above = phantom_kspace(k, ball).real
    assert below == pytest.approx(np.pi / 6 * (1 - 0.99e-2**2 / 10), rel=1e-9)
    assert above == pytest.approx(np.pi / 6 * (1 - 1.01e-2**2 / 10), rel=1e-9)


def test_the_middle_of_kspace_is_the_area_times_intensity():
    expected = sum(e.intensity * np.pi * e.semi_axes[0] * e.semi_axes[1] / 4 for e in SHEPP_LOGAN[:10])
    assert phantom_kspace(np.zeros((1, 2)))[0] == pytest.approx(expected)


def test_kspace_of_a_real_object_is_hermitian():
    k = np.random.default_rng(3).uniform(-20, 20, (5, 7, 3))
    np.testing.assert_allclose(phantom_kspace(-k), phantom_kspace(k).conj(), atol=1e-12)
    np.testing.assert_allclose(phantom_kspace(-k[..., :2], z=0.4), phantom_kspace(k[..., :2], z=0.4).conj(), atol=1e-12)


def test_head_has_the_known_intensities_with_the_three_small_lesions_below():
    image = phantom_image((200, 220))

    def at(x, y):
        return image[100 + round(y * 100), 110 + round(x * 110)]

    assert at(0, -0.9) == 1.0
    assert at(0, 0.8) == pytest.approx(0.2)
    assert at(-0.22, 0) == pytest.approx(0.0, abs=1e-6)
    assert at(0, -0.4) == pytest.approx(0.3)
    assert at(0.06, 0.605) == pytest.approx(0.3)
    assert at(0.06, -0.64) == pytest.approx(0.2)
    assert at(0.9, 0.9) == 0


def test_supersampling_gives_the_part_of_a_pixel_that_is_covered():
    half = phantom_image((4, 4), [Ellipsoid(1.0, (0.5, 10.0, 1.0))], supersampling=64)
    # Pixels are 0.5 wide and centred on -1, -0.5, 0, 0.5: an edge at 0.5 cuts the pixels there in half.
    np.testing.assert_allclose(half[2], [0, 0.5, 1, 0.5], atol=0.02)
