"""Masks of lines, as fastMRI draws them."""

import numpy as np
import pytest

from echotrain.clients.training.masks import RULES, Sampling
from echotrain.mrd.errors import ParameterError

FILE_NAME = tuple(map(ord, "file1000001.h5"))  # fastMRI's seed of a volume

# What fastMRI 0.3.0 gives for accelerations 4 and 8 with centre fractions .08 and .04, packed into bits.
PUBLISHED = [
    ("random", 160, 0, "010020085024200020bffea0500080000c8c2146"),
    ("random", 161, 7, "02800000010000000083f000004000200000001480"),
    (
        "random",
        368,
        FILE_NAME,
        "284002800000114820202000002800000400144008207fff80008400004000000000200000800402018001000060",
    ),
    ("equispaced", 160, 0, "1111111111111111113fff111111111111111111"),
    ("equispaced", 161, 7, "0808080808080808080bf808080808080808080800"),
    (
        "equispaced",
        368,
        FILE_NAME,
        "080808080808080808080808080808080808080808087fff08080808080808080808080808080808080808080808",
    ),
    ("equispaced_fraction", 160, 0, "8410821042084208413fff042104208410821082"),
    ("equispaced_fraction", 161, 7, "08010020040080100203f008010020040080100200"),
    (
        "equispaced_fraction",
        368,
        FILE_NAME,
        "004008008010010020040040080100100200200400807fff00100200400400800801002002004008008010010020",
    ),
]


@pytest.mark.parametrize(("rule", "n_lines", "seed", "bits"), PUBLISHED)
def test_masks_are_those_of_fastmri_for_the_same_seed(rule, n_lines, seed, bits):
    mask = Sampling(rule, (4, 8), (0.08, 0.04), paired=True).mask(n_lines, seed)
    assert np.packbits(mask).tobytes().hex() == bits


@pytest.mark.parametrize("rule", RULES)
def test_the_centre_is_whole_and_the_same_seed_gives_the_same_mask(rule):
    sampling = Sampling(rule, (4,), (0.1,))
    mask = sampling.mask(120, 5)
    assert mask[54:66].all()
    assert (mask == sampling.mask(120, 5)).all()
    assert any((mask != sampling.mask(120, seed)).any() for seed in range(6, 10))


@pytest.mark.parametrize("rule", ["equispaced_fraction", "random", "variable_density"])
def test_as_many_lines_are_taken_on_average_as_the_acceleration_says(rule):
    taken = [Sampling(rule, (4,), (0.08,)).mask(320, seed).mean() for seed in range(200)]
    assert np.mean(taken) == pytest.approx(0.25, abs=0.01)


def test_variable_density_takes_more_lines_near_the_centre():
    taken = np.mean([Sampling("variable_density", (4,), (0.04,)).mask(200, seed) for seed in range(200)], axis=0)
    near, far = taken[60:90].mean(), taken[:30].mean()
    assert near > 4 * far > 0


def test_without_pairs_every_combination_of_acceleration_and_centre_comes():
    sampling = Sampling("equispaced", (4, 8), (0.05, 0.2))
    lines = {int(sampling.mask(160, seed).sum()) for seed in range(40)}
    assert lines == {46, 27, 64, 48}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rule": "equidistant"}, "equispaced"),
        ({"accelerations": (4, 0)}, r"\(4, 0\)"),
        ({"centre_fractions": ()}, "centre fractions"),
        ({"centre_fractions": (1.0,)}, "below 1"),
        ({"accelerations": (4,), "centre_fractions": (0.1, 0.2), "paired": True}, "cannot be paired"),
    ],
)
def test_what_makes_no_mask_is_refused(values, words):
    with pytest.raises(ParameterError, match=words):
        Sampling(**values)


def test_a_centre_without_a_line_is_refused():
    with pytest.raises(ParameterError, match="greater fraction"):
        Sampling("equispaced", (4,), (0.01,)).mask(40, 1)


@pytest.mark.parametrize("rule", ["equispaced_fraction", "random", "variable_density"])
def test_a_centre_that_takes_all_lines_there_are_is_refused(rule):
    with pytest.raises(ParameterError, match="smaller centre fraction"):
        Sampling(rule, (8,), (0.2,)).mask(160, 1)
