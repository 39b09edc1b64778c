"""Compressed sensing in a stream: images of frames alone or together, what their meta attributes say, warm starts."""

import numpy as np
import pytest
from known_coils import irregular, started, unit
from undersampling import N_KX, N_KY, PLANE, channel_images, every, noise, relative

from echotrain.gadgets import CgSense, CompressedSensing
from echotrain.gadgets.fourier import centred_fft, centred_ifft
from echotrain.mrd import KSpace
from echotrain.mrd.errors import DataError, ParameterError

IMAGES = channel_images()
TRUTH = np.linalg.norm(IMAGES, axis=0)


def frame(number, sampled, calibration=None, deviation=0.5):
    """A repetition of the object, with noise of its own."""
    kspace = centred_fft(IMAGES, (-2, -1)) + deviation / np.sqrt(2) * noise(*PLANE, seed=20 + number)
    one = unit(kspace.astype(np.complex64), sampled, calibration)
    one.head["idx"]["repetition"] = number
    return one


def interleaved(number):
    return every(3, number)


def run(gadget, frames):
    """Images, and how many were there after each frame."""
    started(gadget)
    images, counts = [], []
    for one in frames:
        images += gadget.process(one)
        counts.append(len(images))
    return images + list(gadget.finish() or ()), counts


@pytest.mark.parametrize("regularizer", ["total_variation", "wavelets"])
def test_an_image_is_nearer_to_the_truth_than_that_of_sense_and_says_how_it_came_about(regularizer):
    lines = frame(0, irregular())
    (plain,), _ = run(CgSense(), [lines])
    (image,), _ = run(CompressedSensing(regularizer=regularizer), [lines])
    assert image.data.shape == plain.data.shape
    assert relative(np.abs(image.data[0]), TRUTH) < 0.9 * relative(np.abs(plain.data[0]), TRUTH)
    assert 1 < image.meta["iterations"] <= 100
    assert 0.6 < image.meta["residual"] < 1.2
    assert image.meta["GADGETRON_ImageProcessingHistory"] == ["FourierTransform", "CompressedSensing"]


def test_readouts_in_image_space_or_not_give_the_same():
    lines = frame(0, irregular())
    hybrid = KSpace(centred_ifft(lines.data, (-1,)), lines.sampled, lines.head, readout_in_image_space=True)
    (expected,), (found,) = (run(CompressedSensing(), [one])[0] for one in (lines, hybrid))
    assert relative(found.data, expected.data) < 1e-3


def test_a_repetition_begins_with_the_image_of_the_one_before_of_its_slice():
    calibration = frame(9, every(1))
    frames = [frame(number, irregular(), calibration) for number in range(3)]
    frames[1].head["idx"]["slice"] = 1
    (first, other, second), counts = run(CompressedSensing(), frames)
    assert counts == [1, 2, 3]
    assert second.meta["iterations"] < first.meta["iterations"]
    (alone,), _ = run(CompressedSensing(), frames[1:2])
    np.testing.assert_array_equal(other.data, alone.data)
    (cold,), _ = run(CompressedSensing(), frames[2:])
    assert relative(second.data, cold.data) < 0.05


def test_where_an_image_begins_does_not_matter_once_it_has_settled():
    calibration = frame(9, every(1))
    frames = [frame(number, irregular(), calibration) for number in range(2)]
    (_, warm), _ = run(CompressedSensing(iterations=1000, tolerance=1e-5), frames)
    (cold,), _ = run(CompressedSensing(iterations=1000, tolerance=1e-5), frames[1:])
    assert warm.meta["iterations"] < 1000
    assert relative(warm.data, cold.data) < 1e-3


def test_frames_that_are_reconstructed_together_wait_for_one_another_and_none_is_left_behind():
    images, counts = run(
        CompressedSensing(regularizer="low_rank", frames=4), [frame(number, interleaved(number)) for number in range(6)]
    )
    assert counts == [0, 0, 0, 4, 4, 4]
    assert [int(image.head["repetition"]) for image in images] == [0, 1, 2, 3, 4, 5]
    for image in images:
        assert relative(np.abs(image.data[0]), TRUTH) < 0.3


def test_a_scan_of_fewer_frames_than_wanted_gives_its_images_at_the_end():
    images, counts = run(CompressedSensing(frames=8), [frame(number, interleaved(number)) for number in range(3)])
    assert counts == [0, 0, 0]
    assert len(images) == 3


def test_maps_come_from_the_centre_of_lines_that_reach_further_on_one_side():
    n_y = 96
    images = channel_images(shape=(1, n_y, N_KX))
    kspace = centred_fft(images, (-2, -1))
    lines = kspace.copy()
    lines[:, :, : n_y // 2 - 17] = 50 * noise(len(images), 1, n_y // 2 - 17, N_KX)  # which say nothing of coils
    calibration = unit(lines, np.arange(n_y)[None] < n_y // 2 + 7)
    (image,), _ = run(CgSense(), [unit(kspace, every(2, shape=(1, n_y)), calibration)])
    assert relative(np.abs(image.data[0]), np.linalg.norm(images, axis=0)) < 0.1


def test_frames_of_another_size_begin_anew():
    small = centred_fft(channel_images(shape=(1, N_KY - 8, 40)), (-2, -1))
    frames = [frame(0, every(1)), unit(small, np.ones((1, N_KY - 8), bool)), frame(2, every(1))]
    images, counts = run(CompressedSensing(frames=2), frames)
    assert counts == [0, 1, 2]
    assert [image.data.shape[2] for image in images] == [N_KY, N_KY - 8, N_KY]


def test_what_cannot_be_reconstructed_is_refused_with_words():
    with pytest.raises(ParameterError, match="set frames to"):
        CompressedSensing(regularizer="low_rank")
    with pytest.raises(DataError, match="no calibration lines"):
        run(CompressedSensing(), [frame(0, every(2))])
    broken = frame(0, irregular())
    broken.data[2, 0, 24, 7] = np.nan
    with pytest.raises(DataError, match="not finite"):
        run(CompressedSensing(), [broken])
