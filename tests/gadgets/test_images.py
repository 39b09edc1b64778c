import math

import numpy as np
import pytest

from echotrain.gadgets import ComplexParts, Count, CropFieldOfView, InvertContrast, ScaleIntensity, ToInteger
from echotrain.gadgets.field_of_view import resample, resize_centred
from echotrain.mrd import Acquisitions, Image, ImageType, Text, acquisition_headers, parse_header
from echotrain.mrd.errors import DataError


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def image(data, kind=ImageType.COMPLEX, **fields):
    data = np.asarray(data)
    meta = fields.pop("meta", {})
    return Image(data, meta=meta).with_data(data, image_type=kind, **fields)


def header(encoded=(8, 10, 6), fov=(240.0, 200.0, 60.0), recon=(8, 10, 6), recon_fov=(240.0, 200.0, 60.0)):
    def space(name, matrix, size):
        x, y, z = matrix
        u, v, w = size
        return (
            f"<{name}><matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize>"
            f"<fieldOfView_mm><x>{u}</x><y>{v}</y><z>{w}</z></fieldOfView_mm></{name}>"
        )

    spaces = space("encodedSpace", encoded, fov) + space("reconSpace", recon, recon_fov)
    return parse_header(f"<ismrmrdHeader><encoding>{spaces}</encoding></ismrmrdHeader>")


def given(gadget, *images, scan=None):
    gadget.start(scan or header())
    items = [item for one in images for item in gadget.process(one) or ()]
    return items + list(gadget.finish() or ())


def crop(one, **spaces):
    (cropped,) = given(CropFieldOfView(), one, scan=header(**spaces))
    return cropped


def test_an_image_that_fits_passes_as_the_same_object():
    one = image(noise(2, 6, 10, 8), field_of_view=(240, 200, 60))
    assert crop(one) is one


def test_the_field_of_view_is_cropped_around_the_centre():
    one = image(noise(2, 6, 10, 9), field_of_view=(240, 200, 60))
    cropped = crop(one, recon=(9, 5, 4), recon_fov=(240.0, 100.0, 40.0))
    np.testing.assert_array_equal(cropped.data, one.data[:, 1:5, 3:8])
    np.testing.assert_allclose(cropped.head["field_of_view"], (240, 100, 40))


def test_a_slice_keeps_its_thickness():
    one = image(noise(2, 1, 10, 8), field_of_view=(240, 200, 6))
    cropped = crop(one, recon=(8, 5, 1), recon_fov=(240.0, 100.0, 12.0))
    assert cropped.data.shape == (2, 1, 5, 8)
    np.testing.assert_allclose(cropped.head["field_of_view"], (240, 100, 6))


def test_a_field_of_view_that_the_header_leaves_out_is_not_cropped():
    one = image(noise(2, 6, 10, 8), field_of_view=(0, 200, 60))
    assert crop(one) is one


def test_the_encoding_space_of_the_image_decides():
    one = image(noise(2, 6, 10, 8), field_of_view=(240, 200, 60), meta={"encoding": "0"})
    assert crop(one) is one
    gadget = CropFieldOfView()
    gadget.start(header())
    with pytest.raises(Exception, match="encoding 1"):
        list(gadget.process(image(noise(2, 6, 10, 8), meta={"encoding": 1})))


@pytest.mark.parametrize(("n", "m"), [(8, 12), (8, 13), (9, 14), (9, 15), (12, 7), (11, 8)])
def test_a_wave_within_the_band_is_exact_on_the_new_grid(n, m):
    """Pixel i of n lies at (i - n // 2) / n of the field of view, on either grid."""

    def wave(size):
        position = (np.arange(size) - size // 2) / size
        return 1.5 + np.exp(2j * np.pi * (2 * position + 0.1)) - 0.5 * np.exp(-2j * np.pi * 3 * position)

    data = np.tile(wave(n).astype(np.complex64), (2, 3, 5, 1))
    np.testing.assert_allclose(resample(data, (3, 5, m)), np.tile(wave(m), (2, 3, 5, 1)), atol=3e-6)
    along_y = np.moveaxis(data, -1, -2).copy()
    np.testing.assert_allclose(resample(along_y, (3, m, 5))[0, 0, :, 0], wave(m), atol=3e-6)


def test_images_are_cropped_and_then_interpolated_to_the_recon_matrix():
    one = image(np.ones((2, 1, 10, 8), np.complex64), field_of_view=(240, 200, 6))
    cropped = crop(one, recon=(16, 7, 1), recon_fov=(240.0, 100.0, 6.0))
    assert cropped.data.shape == (2, 1, 7, 16)
    assert cropped.data.dtype == np.complex64
    np.testing.assert_allclose(cropped.data, 1, atol=1e-6)
    np.testing.assert_allclose(cropped.head["field_of_view"], (240, 100, 6))


def test_real_images_stay_real_when_interpolated():
    one = image(np.full((1, 1, 10, 8), 3, np.float32), ImageType.MAGNITUDE, field_of_view=(240, 200, 6))
    cropped = crop(one, recon=(12, 10, 1), recon_fov=(240.0, 200.0, 6.0))
    assert cropped.data.dtype == np.float32
    np.testing.assert_allclose(cropped.data, 3, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32])
def test_integer_images_are_interpolated(dtype):
    one = image(np.full((1, 1, 10, 8), 3, dtype), ImageType.MAGNITUDE, field_of_view=(240, 200, 6))
    cropped = crop(one, recon=(12, 10, 1), recon_fov=(240.0, 200.0, 6.0))
    assert cropped.data.shape == (1, 1, 10, 12)
    np.testing.assert_allclose(cropped.data, 3, rtol=1e-5)


def test_phases_are_cropped_but_not_interpolated():
    one = image(np.ones((1, 1, 10, 8), np.float32), ImageType.PHASE, field_of_view=(240, 200, 6))
    assert crop(one, recon=(8, 5, 1), recon_fov=(240.0, 100.0, 6.0)).data.shape == (1, 1, 5, 8)
    with pytest.raises(DataError, match="put CropFieldOfView before ComplexParts"):
        crop(one, recon=(12, 10, 1), recon_fov=(240.0, 200.0, 6.0))


def test_colours_are_not_interpolated():
    one = image(np.ones((3, 1, 10, 8), np.uint16), ImageType.RGB, field_of_view=(240, 200, 6))
    assert crop(one, recon=(12, 10, 1)) is one


@pytest.mark.parametrize(("n", "m"), [(4, 7), (4, 8), (5, 8), (5, 9), (9, 5), (9, 4), (8, 5), (8, 4)])
def test_resizing_keeps_the_centre_at_half_the_size(n, m):
    data = np.zeros((3, n))
    data[:, n // 2] = 1
    resized = resize_centred(data, (m,))
    assert resized.shape == (3, m)
    assert (resized[:, m // 2] == 1).all()
    assert resized.sum() == 3


def test_complex_parts_gives_each_part_as_a_series():
    one = image(noise(2, 1, 5, 7), image_series_index=2, image_index=3)
    parts = given(ComplexParts(parts="magnitude phase real imaginary complex"), one)
    assert [int(part.head["image_series_index"]) for part in parts] == [2, 3002, 1002, 2002, 4002]
    assert [int(part.head["image_type"]) for part in parts] == [1, 2, 3, 4, 5]
    assert [part.meta["ImageType"] for part in parts] == ["MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "COMPLEX"]
    assert [part.data.dtype for part in parts] == [np.float32] * 4 + [np.complex64]
    assert {int(part.head["image_index"]) for part in parts} == {3}
    magnitude, phase, real, imaginary, both = (part.data for part in parts)
    np.testing.assert_allclose(magnitude, np.abs(one.data), rtol=1e-6)
    np.testing.assert_allclose(phase, np.angle(one.data), atol=1e-6)
    np.testing.assert_array_equal(real + 1j * imaginary, one.data)
    np.testing.assert_array_equal(both, one.data)


def test_complex_parts_passes_a_part_that_is_one_already():
    one = image(np.ones((1, 1, 5, 7), np.float32), ImageType.MAGNITUDE)
    assert given(ComplexParts(), one) == [one]


@pytest.mark.parametrize("part", ["phase", "real", "complex"])
def test_complex_parts_refuses_what_a_magnitude_no_longer_holds(part):
    with pytest.raises(DataError, match=f"magnitude image has no {part} part"):
        given(ComplexParts(parts=part), image(np.ones((1, 1, 5, 7), np.float32), ImageType.MAGNITUDE))


def ramp(scale=1.0):
    return image(np.linspace(0, scale, 1001, dtype=np.float32).reshape(1, 1, 7, 143), ImageType.MAGNITUDE)


def test_the_percentile_meets_the_target():
    (scaled,) = given(ScaleIntensity(), ramp(1e-5))
    assert np.percentile(scaled.data, 99) == pytest.approx(2048, rel=1e-5)
    assert scaled.data.dtype == np.float32
    assert scaled.meta["GADGETRON_ScaleRatio"] == pytest.approx(2048 / 0.99e-5, rel=1e-5)
    assert (scaled.meta["WindowCenter"], scaled.meta["WindowWidth"]) == (1024, 2048)
    (median,) = given(ScaleIntensity(percentile=50, target=100), ramp())
    assert median.data.flat[500] == pytest.approx(100)


def test_a_series_keeps_the_scale_of_its_first_image_with_signal():
    dark = image(np.zeros((1, 1, 7, 11), np.float32), ImageType.MAGNITUDE)
    other = ramp(1.0)
    other = other.with_data(other.data, image_series_index=4)
    items = given(ScaleIntensity(), dark, ramp(2.0), ramp(6.0), other)
    assert not items[0].data.any()
    assert items[0].meta["GADGETRON_ScaleRatio"] == 1
    np.testing.assert_allclose([item.data.max() for item in items[1:]], np.array([1, 3, 1]) * 2048 / 0.99, rtol=1e-5)


def test_each_image_has_its_own_scale_where_that_is_asked_for():
    items = given(ScaleIntensity(scope="image"), ramp(2.0), ramp(6.0))
    np.testing.assert_allclose([item.data.max() for item in items], 2048 / 0.99, rtol=1e-5)


def test_only_magnitudes_are_scaled():
    one = image(noise(1, 1, 5, 7))
    phase = image(np.ones((1, 1, 5, 7), np.float32), ImageType.PHASE)
    assert given(ScaleIntensity(), one, phase) == [one, phase]


@pytest.mark.parametrize("cls", [ScaleIntensity, InvertContrast])
def test_maps_have_units_of_their_own_and_pass(cls):
    one = image(np.ones((1, 1, 5, 7), np.float32), ImageType.MAGNITUDE, meta={"DataRole": "Gfactor"})
    assert given(cls(), one) == [one]


def test_maps_become_integers_as_they_are():
    one = image(np.full((1, 1, 5, 7), 123.6, np.float32), ImageType.MAGNITUDE, meta={"DataRole": "Gfactor"})
    (converted,) = given(ToInteger(), one)
    assert converted.data.dtype == np.uint16
    assert (converted.data == 124).all()


def test_pixels_that_are_not_finite_do_not_spoil_the_scale():
    one = ramp()
    one.data.flat[:3] = np.nan, np.inf, -np.inf
    (scaled,) = given(ScaleIntensity(target=990), one)
    assert scaled.data.flat[1000] == pytest.approx(1000, rel=1e-2)


def integers(values, kind=ImageType.MAGNITUDE, **parameters):
    data = np.array(values, np.float32).reshape(1, 1, 1, -1)
    return given(ToInteger(**parameters), image(data, kind))


def test_magnitudes_are_rounded_and_clamped():
    (converted,) = integers([0, 0.4, 0.6, 1.5, 2.5, 4094.6, 5000, -3], maximum=4095)
    assert converted.data.dtype == np.uint16
    assert converted.data.ravel().tolist() == [0, 0, 1, 2, 2, 4095, 4095, 0]
    assert integers([40000, 70000])[0].data.ravel().tolist() == [32767, 32767]
    assert integers([65534.6, 7e4], maximum=65535)[0].data.ravel().tolist() == [65535, 65535]


def test_phases_fill_twelve_bits_and_can_be_rescaled():
    phases = [-math.pi, -math.pi / 2, 0, 1, math.pi]
    (converted,) = integers(phases, ImageType.PHASE)
    assert converted.data.ravel().tolist() == [0, 1024, 2048, 2700, 4095]
    back = converted.data.ravel() * converted.meta["RescaleSlope"] + converted.meta["RescaleIntercept"]
    np.testing.assert_allclose(back, phases, atol=math.pi / 2048 * 1.001)
    assert (converted.meta["WindowCenter"], converted.meta["WindowWidth"]) == (0, 7)


@pytest.mark.parametrize("kind", [ImageType.REAL, ImageType.IMAGINARY])
def test_real_and_imaginary_parts_have_their_zero_in_the_middle(kind):
    (converted,) = integers([-3000, -7, 0, 8.6, 9000], kind, maximum=4095)
    assert converted.data.ravel().tolist() == [0, 2041, 2048, 2057, 4095]
    assert converted.meta["RescaleIntercept"] == -2048


@pytest.mark.parametrize("kind", [ImageType.PHASE, ImageType.REAL, ImageType.IMAGINARY])
def test_parts_that_are_integers_already_pass(kind):
    (converted,) = integers([-3, 0, 2], kind)
    assert given(ToInteger(), converted) == [converted]


def test_pixels_that_are_not_finite_become_zero_and_are_told_of_once():
    bad = image(np.array([1, np.nan, np.inf, -np.inf], np.float32).reshape(1, 1, 2, 2), ImageType.MAGNITUDE)
    items = given(ToInteger(), bad, bad)
    assert [type(item) for item in items] == [Text, Image, Image]
    assert "not finite" in items[0].text
    assert items[2].data.ravel().tolist() == [1, 0, 0, 0]


def test_a_complex_image_cannot_become_integers():
    with pytest.raises(DataError, match="ComplexParts"):
        given(ToInteger(), image(noise(1, 1, 5, 7)))


def test_colour_images_pass():
    one = image(np.ones((3, 1, 5, 7), np.uint16), ImageType.RGB)
    assert given(ToInteger(), one) == [one]


def test_a_window_that_was_set_before_is_kept():
    (plain,) = integers([0, 10, 300])
    assert (plain.meta["WindowCenter"], plain.meta["WindowWidth"]) == (150, 300)
    (scaled,) = given(ScaleIntensity(), ramp())
    (converted,) = given(ToInteger(), scaled)
    assert (converted.meta["WindowCenter"], converted.meta["WindowWidth"]) == (1024, 2048)


def test_count_says_how_many_lines_and_bytes_came():
    batches = [Acquisitions(acquisition_headers(n, 3, 8), noise(n, 3, 8)) for n in (1, 6)]
    trajectory = np.zeros((2, 8, 2), np.float32)
    batches.append(Acquisitions(acquisition_headers(2, 3, 8), noise(2, 3, 8), trajectory))
    assert given(Count(), *batches) == [Text(f"9 lines, {9 * (340 + 3 * 8 * 8) + 2 * 8 * 2 * 4} bytes")]
    assert given(Count()) == [Text("0 lines, 0 bytes")]


def test_an_image_that_rounds_to_nothing_is_told_once():
    faint = image(np.full((1, 1, 5, 7), 0.4, np.float32), ImageType.MAGNITUDE)
    text, first, second = given(ToInteger(), faint, faint)
    assert "all pixels of image 0 became 0" in text.text
    assert not first.data.any()
    assert not second.data.any()
    assert len(given(ToInteger(), image(np.zeros((1, 1, 5, 7), np.float32), ImageType.MAGNITUDE))) == 1


def test_without_interpolation_images_are_only_cropped():
    gadget = CropFieldOfView(interpolate=False)
    one = image(np.ones((1, 1, 10, 8), np.float32), ImageType.PHASE, field_of_view=(240, 200, 6))
    spaces = {"encoded": (8, 10, 1), "fov": (240.0, 200.0, 6.0)}
    larger = header(**spaces, recon=(12, 20, 1), recon_fov=(480.0, 200.0, 6.0))
    assert given(gadget, one, scan=larger) == [one]
    (cropped,) = given(gadget, one, scan=header(**spaces, recon=(12, 20, 1), recon_fov=(240.0, 100.0, 6.0)))
    assert cropped.data.shape == (1, 1, 5, 8)
