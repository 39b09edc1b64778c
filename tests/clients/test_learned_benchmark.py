"""How the table of learned and conventional reconstruction judges images."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage

from echotrain.clients.coils import coil_sensitivities
from echotrain.clients.phantom import phantom_image
from echotrain.gadgets.fourier import centred_fft

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import learned_figures
import learned_scans
from imaging_scans import Lines
from learned_methods import Method

SHAPE = 48, 64


class Known:
    """A case of which only the truth is looked at."""

    def __init__(self, brightness):
        y, x = (np.linspace(-1, 1, n) for n in SHAPE)
        self.truth = (brightness * (y[:, None] ** 2 + x**2 < 0.6)).astype(np.float32)
        self.head = self.truth > 0


def test_the_best_weight_is_found_on_the_slices_themselves():
    cases = [[Known(1)], [Known(2)], [Known(3)]]
    scaled = Method("scaled", "none", lambda case, weight: case.truth * weight, (0.5, 0.9, 1.3), tuned_here=True)
    made = learned_figures.measured(scaled, cases, 4)
    assert made.images[2].max() == np.float32(0.9) * 3
    nmse = made.figures[:, learned_figures.NMSE]
    assert nmse == pytest.approx(0.01, rel=1e-3)


def test_slow_methods_are_judged_by_a_slice_in_the_middle_among_others():
    cases = [[Known(number + 1), Known(100)] for number in range(16)]
    made = learned_figures.measured(Method("slow", "none", lambda case, _: case.truth / 2, slices=3), cases, 8)
    assert {number: 2 * image.max() for number, image in made.images.items()} == {2: 3, 8: 9, 13: 14}


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(5).normal(3, 2, 400)
    low, high = learned_figures.interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.15)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.02)


def test_samples_that_are_left_out_tell_a_true_image_from_a_coarser_one():
    maps = coil_sensitivities(5, SHAPE)
    maps /= np.linalg.norm(maps, axis=0)
    image = phantom_image(SHAPE).astype(np.complex64)
    sampled = np.random.default_rng(7).random(SHAPE) < 0.6
    sampled[12:36, 20:44] = True
    nothing = np.zeros(SHAPE, np.float32)
    whole = Lines(centred_fft(maps * image, (-2, -1)) * sampled, sampled, range(SHAPE[0]), nothing, nothing > 0)
    case, error = learned_scans.left_out(whole)
    assert 0.05 < 1 - case.sampled.sum() / sampled.sum() < 0.15
    coarse = scipy.ndimage.uniform_filter(image.real, 3)
    assert error(image) < 0.5 * error(coarse)
