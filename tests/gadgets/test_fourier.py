import numpy as np
import pytest
import torch

from echotrain.gadgets import FourierTransform
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import Image, ImageType, KSpace, acquisition_headers, parse_header

HEADER = parse_header("""<ismrmrdHeader><encoding>
  <encodedSpace><matrixSize><x>14</x><y>6</y><z>5</z></matrixSize>
    <fieldOfView_mm><x>280</x><y>120</y><z>50</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>7</x><y>6</y><z>5</z></matrixSize>
    <fieldOfView_mm><x>140</x><y>120</y><z>50</z></fieldOfView_mm></reconSpace>
</encoding></ismrmrdHeader>""")


def noise(*shape, seed=0, dtype=np.complex64):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def direct_sum(x, axis, sign):
    """The definition, in double precision: both indices count from n // 2."""
    n = x.shape[axis]
    index = np.arange(n) - n // 2
    matrix = np.exp(sign * 2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)
    return np.moveaxis(np.tensordot(matrix, x.astype(np.complex128), axes=(1, axis)), 0, axis)


def kspace(data, *, head=None, sampled=None, axes=(), **fields):
    unit = data.shape[:-4]
    if head is None:
        head = acquisition_headers(int(np.prod(unit)), data.shape[-4], data.shape[-1]).reshape(unit)
    if sampled is None:
        sampled = np.ones((*unit, *data.shape[-3:-1]), bool)
    return KSpace(data, sampled, head, axes, **fields)


def transformed(*kspaces):
    gadget = FourierTransform()
    gadget.start(HEADER)
    images = [image for one in kspaces for image in gadget.process(one)]
    assert not list(gadget.finish() or ())
    return images


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 9, 14])
@pytest.mark.parametrize("axis", [0, 1, -2, -1])
@pytest.mark.parametrize(("transform", "sign"), [(centred_fft, -1), (centred_ifft, 1)])
def test_each_axis_follows_the_definition(transform, sign, axis, n):
    shape = [3, 5, 4, 7]
    shape[axis] = n
    x = noise(*shape)
    np.testing.assert_allclose(transform(x, [axis]), direct_sum(x, axis, sign), atol=2e-6)


@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (2, 3, 5, 7), (2, 4, 3, 10), (3, 6, 9, 2), (2, 1, 10, 6)])
@pytest.mark.parametrize("axes", [(-3, -2), (-2, -1), (-3, -1), (-3, -2, -1)])
def test_several_axes_follow_the_definition(axes, shape):
    x = noise(*shape)
    expected = x
    for axis in axes:
        expected = direct_sum(expected, axis, 1)
    np.testing.assert_allclose(centred_ifft(x, axes), expected, atol=3e-6)


@pytest.mark.parametrize("shape", [(3, 4, 6, 10), (3, 5, 7, 9)])
def test_energy_is_kept_and_the_way_back_gives_the_same(shape):
    x = noise(*shape)
    image = centred_ifft(x, (1, 2, 3))
    assert np.linalg.norm(image) == pytest.approx(np.linalg.norm(x), rel=1e-6)
    np.testing.assert_allclose(centred_fft(image, (1, 2, 3)), x, atol=1e-6)


@pytest.mark.parametrize(("shape", "pixel"), [((6, 10), (1, 8)), ((7, 9), (6, 0)), ((6, 9), (4, 2)), ((10, 8), (5, 4))])
def test_a_phase_ramp_lands_in_its_pixel(shape, pixel):
    """A point at distance d from the centre has k-space exp(-2 pi i k d / n)."""
    ky, kx = (np.arange(n) - n // 2 for n in shape)
    dy, dx = (p - n // 2 for p, n in zip(pixel, shape, strict=True))
    ramp = np.exp(-2j * np.pi * (ky[:, None] * dy / shape[0] + kx * dx / shape[1])).astype(np.complex64)
    expected = np.zeros(shape)
    expected[pixel] = np.sqrt(np.prod(shape))
    np.testing.assert_allclose(centred_ifft(ramp, (0, 1)), expected, atol=1e-5)


def test_precision_and_kind_of_array_are_kept():
    x = noise(3, 4, 6)
    assert centred_fft(x, [1]).dtype == np.complex64
    assert centred_fft(x.astype(np.complex128), [1]).dtype == np.complex128
    assert centred_fft(x.real, [1]).dtype == np.complex64
    as_tensor = centred_fft(torch.from_numpy(x), [1, 2])
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.numpy(), centred_fft(x, [1, 2]))


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2), (0, 1)])
def test_what_was_given_is_not_written_to(axes):
    for shape in ((3, 4, 6), (3, 5, 7)):
        x = noise(*shape)
        before = x.copy()
        first = centred_ifft(x, axes)
        np.testing.assert_array_equal(x, before)
        x.flags.writeable = False
        np.testing.assert_array_equal(centred_ifft(x, axes), first)


def test_views_of_any_stride_are_taken():
    x = noise(5, 6, 8)
    np.testing.assert_allclose(centred_ifft(x[::2, ::-1, ::2], [1]), centred_ifft(x[::2, ::-1, ::2].copy(), [1]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_cuda_tensor_gives_the_same():
    for shape in ((3, 4, 6, 10), (3, 5, 7, 9), (2, 5, 6, 14)):
        x = torch.from_numpy(noise(*shape))
        on_device = centred_ifft(x.cuda(), (1, 2, 3))
        assert on_device.is_cuda
        np.testing.assert_allclose(on_device.cpu(), centred_ifft(x, (1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 3, 10, 14), (2, 5, 9, 8)])
def test_bart_gives_the_same(bart, shape):
    x = noise(*shape)
    np.testing.assert_allclose(centred_ifft(x, (1, 2, 3)), bart("fft -iu 7", x), atol=3e-6)
    np.testing.assert_allclose(centred_fft(x, (2, 3)), bart("fft -u 3", x), atol=3e-6)


def test_kspace_becomes_one_complex_image_of_all_channels():
    data = noise(3, 5, 6, 7)
    (image,) = transformed(kspace(data))
    assert image.data.shape == (3, 5, 6, 7)
    assert image.data.dtype == np.complex64
    assert image.head["image_type"] == ImageType.COMPLEX
    np.testing.assert_array_equal(image.data, centred_ifft(data, (1, 2, 3)))


def test_a_readout_in_image_space_is_not_transformed_again():
    data = noise(3, 1, 6, 7)
    (image,) = transformed(kspace(centred_ifft(data, [3]), readout_in_image_space=True))
    np.testing.assert_allclose(image.data, centred_ifft(data, (1, 2, 3)), atol=1e-6)
    assert FourierTransform.takes_image_space_readout


def test_units_become_images_in_order_without_those_that_no_line_reached():
    data = noise(2, 3, 4, 1, 6, 7)
    head = acquisition_headers(6, 4, 7).reshape(2, 3)
    head["idx"]["contrast"] = [[0], [1]]
    head["idx"]["phase"] = [0, 1, 2]
    sampled = np.ones((2, 3, 1, 6), bool)
    sampled[0, 1] = False
    images = transformed(kspace(data, head=head, sampled=sampled, axes=("contrast", "phase")))
    places = [(int(image.head["contrast"]), int(image.head["phase"])) for image in images]
    assert places == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)]
    for place, image in zip(places, images, strict=True):
        np.testing.assert_array_equal(image.data, centred_ifft(data[place], (1, 2, 3)))


def test_images_are_numbered_from_one_within_their_series():
    first, second = transformed(kspace(noise(2, 1, 6, 7)), kspace(noise(2, 1, 6, 7)))
    assert [first.head["image_index"], second.head["image_index"]] == [1, 2]
    assert first.head["image_series_index"] == second.head["image_series_index"] == 1


def test_lines_that_lack_between_others_are_told_once_and_a_side_that_lacks_is_not():
    every_third, one_side = np.zeros((5, 12), bool), np.zeros((5, 12), bool)
    every_third[:, ::3] = True
    one_side[1:, 5:] = True
    assert all(isinstance(item, Image) for item in transformed(kspace(noise(2, 5, 12, 7), sampled=one_side)))
    undersampled = kspace(noise(2, 5, 12, 7), sampled=every_third)
    text, *images = transformed(undersampled, undersampled)
    assert "6 of 10 lines along ky" in text.text
    assert len(images) == 2
    (text, _) = transformed(kspace(noise(2, 12, 5, 7), sampled=every_third.T))
    assert "6 of 10 lines along kz" in text.text
