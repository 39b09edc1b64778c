import numpy as np
import pytest
import torch

from echotrain.gadgets import CombineCoils, coils
from echotrain.gadgets.coils import adaptive_coil_maps, combine, root_sum_of_squares
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import DataError


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def grid(*shape):
    return np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")


def smooth_maps(n_channels, *shape):
    """Sensitivities with smooth magnitude and phase around the object, squares summing to 1."""
    axes = grid(*shape)
    maps = []
    for channel in range(n_channels):
        angle = 2 * np.pi * channel / n_channels
        along = np.cos(angle) * axes[-1] + np.sin(angle) * axes[-2]
        maps.append(np.exp(1.2 * along + 1j * (angle + 0.8 * along)))
    maps = np.array(maps)
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def phantom(*shape):
    """A disc (or ball) with edges, structure, and a phase that varies."""
    axes = grid(*shape)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    magnitude = (radius < 0.8) * (1 + 0.5 * (np.abs(axes[-1]) < 0.3) - 0.4 * (np.abs(axes[-2] - 0.2) < 0.2))
    return magnitude * np.exp(1j * (2 * axes[-1] - axes[-2] ** 2))


@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 1, 5, 7), (5, 3, 4, 6), (4, 9)])
def test_root_sum_of_squares_follows_the_definition(shape):
    x = noise(*shape)
    result = root_sum_of_squares(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.sqrt((np.abs(x.astype(np.complex128)) ** 2).sum(0)), rtol=1e-6)


def test_root_sum_of_squares_of_an_image_larger_than_a_block():
    x = noise(3, 331, 229)
    assert coils.BLOCK < 2 * 331 * 229
    np.testing.assert_allclose(root_sum_of_squares(x), np.linalg.norm(x, axis=0), rtol=1e-6)


def test_root_sum_of_squares_takes_real_images_and_tensors():
    x = noise(3, 5, 7)
    np.testing.assert_allclose(root_sum_of_squares(x.real), np.linalg.norm(x.real, axis=0), rtol=1e-6)
    assert isinstance(root_sum_of_squares(torch.from_numpy(x)), torch.Tensor)


def test_root_sum_of_squares_of_integers_is_not_cut_to_integers():
    pixels = np.random.default_rng(3).integers(0, 40000, (3, 4, 5)).astype(np.uint16)
    np.testing.assert_allclose(root_sum_of_squares(pixels), np.linalg.norm(pixels.astype(float), axis=0), rtol=1e-6)


def test_combine_sums_channels_with_conjugate_maps():
    x, maps = noise(3, 2, 5, 7), noise(3, 2, 5, 7, seed=1)
    np.testing.assert_allclose(combine(x, maps), (x * maps.conj()).sum(0), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 48, 40), (12, 30, 26)])
def test_adaptive_maps_give_back_a_known_image(shape):
    image, maps = phantom(*shape), smooth_maps(6, *shape)
    channels = (maps * image + 1e-3 * noise(6, *shape)).astype(np.complex64)
    estimated = adaptive_coil_maps(channels)
    inside = np.abs(image) > 0.3
    np.testing.assert_allclose(np.abs(combine(channels, estimated))[inside], np.abs(image)[inside], rtol=0.02)
    likeness = np.abs((estimated.conj() * maps).sum(0))[inside]
    assert likeness.min() > 0.99
    # What is left of the phase varies as slowly as the maps do: no jump from pixel to pixel.
    left = combine(channels, estimated) * image.conj()
    step = np.angle(left[..., 1:] * left[..., :-1].conj())[inside[..., 1:] & inside[..., :-1]]
    assert np.abs(step).max() < 0.2


def test_adaptive_maps_have_unit_length_where_there_is_signal_and_vanish_elsewhere():
    channels = np.zeros((4, 1, 20, 30), np.complex64)
    channels[:, :, 5:15, 5:20] = noise(4, 1, 10, 15)
    maps = adaptive_coil_maps(channels, width=3)
    length = np.linalg.norm(maps, axis=0)
    np.testing.assert_allclose(length[0, 5:15, 5:20], 1, rtol=1e-5)
    assert not length[0, 17:].any()
    assert not adaptive_coil_maps(np.zeros_like(channels)).any()


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_adaptive_maps_weigh_pixels_within_the_box_and_no_others(width):
    """A bright pixel decides the maps of a dim image just as far as the box reaches."""
    channels = np.zeros((2, 3, 13, 15), np.complex64)
    channels[0] = 1
    channels[:, 1, 6, 7] = 0, 1000
    maps = adaptive_coil_maps(channels, width, iterations=1)
    z, y, x = np.ogrid[:3, :13, :15]
    reached = (abs(z - 1) <= width // 2) & (abs(y - 6) <= width // 2) & (abs(x - 7) <= width // 2)
    np.testing.assert_array_equal(np.abs(maps[1]) > 0.9, reached)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_adaptive_maps_do_not_depend_on_the_scale(scale):
    channels = (smooth_maps(3, 1, 20, 24) * phantom(1, 20, 24)).astype(np.complex64)
    expected = adaptive_coil_maps(channels)
    np.testing.assert_allclose(adaptive_coil_maps(channels * np.float32(scale)), expected, atol=1e-3)


def test_adaptive_maps_do_not_depend_on_how_channels_are_grouped(monkeypatch):
    channels = noise(5, 1, 12, 14)
    expected = adaptive_coil_maps(channels)
    monkeypatch.setattr(coils, "GROUP", 2 * 12 * 14)
    np.testing.assert_array_equal(adaptive_coil_maps(channels), expected)


def test_adaptive_maps_of_one_pixel_windows_follow_each_pixel():
    channels = noise(3, 1, 6, 7)
    maps = adaptive_coil_maps(channels, width=1, iterations=2)
    np.testing.assert_allclose(np.abs(combine(channels, maps)), root_sum_of_squares(channels), rtol=1e-4)


def test_bart_combines_the_same(bart):
    x, maps = noise(4, 2, 9, 7), noise(4, 2, 9, 7, seed=1)
    np.testing.assert_allclose(root_sum_of_squares(x), bart("rss 8", x)[0].real, rtol=1e-5)
    np.testing.assert_allclose(combine(x, maps), bart("fmac -C -s 8", x, maps)[0], atol=1e-5)


def test_bart_estimates_the_same_maps(bart):
    shape = (1, 48, 40)
    image = phantom(*shape)
    channels = (smooth_maps(5, *shape) * image + 0.01 * noise(5, *shape)).astype(np.complex64)
    covariance = bart("walsh -r 32:32:1 -b 5:5:1", centred_fft(channels, (1, 2, 3)))
    theirs = bart("ecaltwo -m 1 -c 0 40 48 1", covariance)
    ours = adaptive_coil_maps(channels)
    likeness = np.abs((ours.conj() * theirs).sum(0))[np.abs(image) > 0.3]
    assert np.median(likeness) > 0.999
    assert np.percentile(likeness, 5) > 0.99


def test_combine_coils_gives_a_magnitude_by_default():
    image = Image(noise(3, 1, 6, 7))
    (combined,) = CombineCoils().process(image)
    assert combined.data.shape == (1, 1, 6, 7)
    assert combined.data.dtype == np.float32
    assert combined.head["image_type"] == ImageType.MAGNITUDE
    np.testing.assert_array_equal(combined.data[0], root_sum_of_squares(image.data))


def test_combine_coils_keeps_the_phase_where_it_is_asked_to():
    channels = smooth_maps(4, 1, 20, 24) * phantom(1, 20, 24)
    image = Image(channels.astype(np.complex64)).with_data(channels.astype(np.complex64), image_type=ImageType.COMPLEX)
    (combined,) = CombineCoils(method="adaptive", width=3, iterations=4).process(image)
    assert combined.data.shape == (1, 1, 20, 24)
    assert combined.data.dtype == np.complex64
    assert combined.head["image_type"] == ImageType.COMPLEX
    maps = adaptive_coil_maps(image.data, 3, 4)
    np.testing.assert_array_equal(combined.data[0], combine(image.data, maps))


@pytest.mark.parametrize(
    ("kind", "method"), [("phase", "rss"), ("real", "rss"), ("imaginary", "rss"), ("magnitude", "adaptive")]
)
def test_combine_coils_refuses_channels_without_what_its_method_needs(kind, method):
    pixels = np.ones((3, 1, 6, 7), np.float32)
    image = Image(pixels).with_data(pixels, image_type=ImageType[kind.upper()])
    with pytest.raises(DataError, match=f"{kind} images cannot be combined by method={method}"):
        list(CombineCoils(method=method).process(image))


@pytest.mark.parametrize("method", ["rss", "adaptive"])
def test_combine_coils_passes_colours(method):
    pixels = np.ones((3, 1, 6, 7), np.uint16)
    image = Image(pixels).with_data(pixels, image_type=ImageType.RGB)
    assert list(CombineCoils(method=method).process(image)) == [image]


def test_coil_maps_of_pixels_that_are_not_finite_are_refused():
    pixels = noise(3, 1, 6, 7)
    pixels[1, 0, 2, 3] = np.nan
    image = Image(pixels).with_data(pixels, image_index=8)
    with pytest.raises(DataError, match="image 8 holds pixels that are not finite"):
        list(CombineCoils(method="adaptive").process(image))
