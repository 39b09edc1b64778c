"""The shading of surface coils, estimated and taken off: on known sensitivities, where the truth is known."""

import numpy as np
import pytest
from known_coils import images_of
from scipy.ndimage import binary_erosion

from echotrain.clients.coils import coil_sensitivities
from echotrain.clients.phantom import SHEPP_LOGAN, phantom_image
from echotrain.gadgets import CollectKSpace, CombineCoils, CorrectIntensity, FourierTransform, RemoveOversampling
from echotrain.gadgets.correct_intensity import shading
from echotrain.mrd import Image, ImageType, parse_header
from echotrain.mrd.errors import DataError

SHAPE = (60, 48)
FIELD = (200.0, 240.0, 5.0)
UNIFORM = np.where(phantom_image(SHAPE, SHEPP_LOGAN[:1]) > 0, 1, 0).astype(np.float32)
NEAR = np.abs(coil_sensitivities(4, SHAPE)[0]).reshape(SHAPE).astype(np.float32)
"""Of one coil at one side."""

INSIDE = binary_erosion(UNIFORM > 0, iterations=2)


def image(data, kind=ImageType.MAGNITUDE, **fields):
    data = np.asarray(data)
    data = data.reshape(-1, 1, *data.shape[-2:])
    return Image(data).with_data(data, image_type=kind, field_of_view=FIELD, **fields)


def corrected(*images, **parameters):
    gadget = CorrectIntensity(**parameters)
    gadget.start(None)
    return [found for given in images for found in gadget.process(given)]


def unevenness(values, inside=INSIDE):
    return values[inside].std() / values[inside].mean()


def test_a_uniform_object_seen_by_one_coil_becomes_flat():
    (found,) = corrected(image(UNIFORM * NEAR))
    assert unevenness(UNIFORM * NEAR) > 0.6
    assert unevenness(found.data[0, 0]) < 0.2
    assert found.data[0, 0][INSIDE].mean() == pytest.approx((UNIFORM * NEAR)[INSIDE].mean(), rel=0.1)


def test_a_simulated_head_is_flatter_than_before(small_scan):
    scan = small_scan(matrix=(72, 60), coils=4, slices=1)
    chain = [RemoveOversampling(), CollectKSpace(), FourierTransform(), CombineCoils()]
    header = parse_header(scan.header)
    (before,) = images_of(chain, header, scan.batches)
    (after,) = images_of([*chain, CorrectIntensity()], header, scan.batches)
    head = np.abs(phantom_image((60, 72)))
    brain = binary_erosion((head > 0.15) & (head < 0.35), iterations=1)
    uneven = [unevenness(one.data[0, 0] / np.where(brain, head, 1), brain) for one in (before, after)]
    assert uneven[1] < 0.75 * uneven[0], uneven


def test_an_object_without_shading_stays_as_it_is():
    (found,) = corrected(image(UNIFORM * 7))
    np.testing.assert_allclose(found.data[0, 0], UNIFORM * 7, rtol=0.03)


def test_the_field_does_not_depend_on_what_the_image_is_scaled_by():
    np.testing.assert_allclose(shading(UNIFORM * NEAR, (5, 4)), shading(1000 * UNIFORM * NEAR, (5, 4)), rtol=1e-4)


def test_no_signal_has_no_shading():
    assert (shading(np.zeros(SHAPE), (5, 4)) == 1).all()


def test_repetitions_are_divided_by_the_field_of_the_first_and_slices_by_their_own():
    repeated = image(2 * UNIFORM, repetition=1)
    shaded, flat, other = corrected(image(UNIFORM * NEAR), repeated, image(2 * UNIFORM, slice=1))
    field = UNIFORM * NEAR / np.where(UNIFORM > 0, shaded.data[0, 0], 1)
    np.testing.assert_allclose(flat.data[0, 0] * field, 2 * UNIFORM, rtol=1e-4)
    np.testing.assert_allclose(other.data[0, 0], 2 * UNIFORM, rtol=0.03)


def test_no_pixel_is_brightened_beyond_the_limit():
    (found,) = corrected(image(UNIFORM * NEAR), most=1.5)
    assert (found.data[0, 0] <= 1.5001 * UNIFORM * NEAR).all()


def test_complex_images_keep_their_phase():
    data = (UNIFORM * NEAR * np.exp(0.7j)).astype(np.complex64)
    (found,) = corrected(image(data, ImageType.COMPLEX))
    (magnitude,) = corrected(image(UNIFORM * NEAR))
    np.testing.assert_allclose(found.data, magnitude.data * np.exp(0.7j), rtol=1e-3)
    assert found.data.dtype == np.complex64


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (image(UNIFORM, ImageType.REAL), "real parts"),
        (image(np.where(UNIFORM > 0, np.float32(np.nan), 1)), "not finite"),
    ],
)
def test_images_that_have_no_shading_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        corrected(given)


def test_channels_share_a_field():
    both = np.stack([UNIFORM * NEAR, 2 * UNIFORM * NEAR])
    (found,) = corrected(image(both))
    (alone,) = corrected(image(UNIFORM * NEAR))
    np.testing.assert_allclose(found.data, np.concatenate([alone.data, 2 * alone.data]), rtol=1e-4)


def test_phases_and_maps_pass():
    phase = image(UNIFORM, ImageType.PHASE)
    assert corrected(phase)[0] is phase
