"""Parameters take Python values and text, and refuse what does not fit with its name and value."""

import numpy as np
import pytest

from echotrain.gadgets import CollectKSpace, FilterImages, Grappa
from echotrain.mrd.errors import ParameterError


@pytest.mark.parametrize("given", [2, 2.0, np.float32(2), "2", (2,), [2.0], np.array([2])])
def test_one_value_alone_is_a_list_of_one(given):
    assert FilterImages(sigma=given).sigma == (2.0,)


@pytest.mark.parametrize("given", ["5 4 3", "5, 4, 3", (5, 4, 3), [5, "4", 3.0], np.array([5, 4, 3])])
def test_lists_are_given_as_text_or_as_any_sequence(given):
    assert Grappa(kernel=given).kernel == (5, 4, 3)


def test_a_word_alone_is_a_list_of_one():
    assert CollectKSpace(split="slice").split == ("slice",)


@pytest.mark.parametrize(
    ("gadget", "values", "words"),
    [
        (FilterImages, {"sigma": -1}, "sigma='-1': must be at least 0"),
        (FilterImages, {"sigma": None}, "sigma='None': must be a number"),
        (FilterImages, {"sigma": "wide"}, "sigma='wide': must be a number"),
        (FilterImages, {"kind": 3}, "kind='3': must be one of none, gaussian, hann, tukey"),
        (Grappa, {"kernel": 2.5}, "kernel='2.5': must be an integer"),
    ],
)
def test_one_value_that_does_not_fit_is_refused_with_its_name(gadget, values, words):
    with pytest.raises(ParameterError, match=words):
        gadget(**values)
