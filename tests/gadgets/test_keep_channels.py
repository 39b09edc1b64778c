"""A choice among channels: which samples go on, and words where none do."""

import numpy as np
import pytest

from echotrain.gadgets import KeepChannels
from echotrain.mrd import Acquisitions, acquisition_headers
from echotrain.mrd.errors import DataError, ParameterError


def lines(n_channels=5):
    data = np.random.default_rng(0).standard_normal((4, n_channels, 12, 2)).astype(np.float32).view(np.complex64)
    return Acquisitions(acquisition_headers(4, n_channels, 12), data[..., 0])


@pytest.mark.parametrize(("parameters", "kept"), [({"first": 2}, [0, 1]), ({"mask": "0 1 0 1"}, [1, 3])])
def test_channels_go_on_with_their_samples_as_they_are(parameters, kept):
    given = lines()
    (found,) = KeepChannels(**parameters).process(given)
    np.testing.assert_array_equal(found.data, given.data[:, kept])
    assert set(found.head["active_channels"]) == {2}
    assert set(given.head["active_channels"]) == {5}


@pytest.mark.parametrize("parameters", [{}, {"first": 9}, {"mask": "1 1 1 1 1 0"}])
def test_lines_of_which_all_channels_are_kept_pass_as_they_are(parameters):
    given = lines()
    assert next(iter(KeepChannels(**parameters).process(given))) is given


def test_lines_without_any_channel_that_is_kept_are_refused():
    with pytest.raises(DataError, match="has 2 channels, and none of them is kept by mask=0 0 1"):
        list(KeepChannels(mask="0 0 1").process(lines(2)))


def test_two_choices_at_once_are_refused():
    with pytest.raises(ParameterError, match="first and mask are both given"):
        KeepChannels(first=2, mask="1 0")
