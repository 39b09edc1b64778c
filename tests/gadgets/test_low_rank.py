"""Locally low rank: singular values of blocks over time become less, and blocks leave no trace."""

import numpy as np
import pytest
import torch
from undersampling import noise, relative

from echotrain.gadgets.low_rank import shrink_low_rank

SHAPE = (6, 1, 9, 1, 7)  # frame, set, x, z, y


def shrunk(frames, threshold, **options):
    return shrink_low_rank(torch.from_numpy(frames), threshold, **options).numpy()


def test_of_a_single_block_the_singular_values_become_less():
    frames = noise(*SHAPE)
    left, values, right = np.linalg.svd(frames.reshape(6, -1).T, full_matrices=False)
    limit = 0.5 * (np.sqrt(63) + np.sqrt(6))
    expected = (left * np.maximum(values - limit, 0)) @ right
    assert relative(shrunk(frames, 0.5, block=9).reshape(6, -1).T, expected) < 1e-4


@pytest.mark.parametrize("shift", [0, 3])
def test_each_block_is_shrunk_by_itself(shift):
    frames = noise(6, 2, 8, 1, 12)
    moved = np.roll(frames, (shift, shift), (2, 4))
    expected = np.empty_like(moved)
    for x in range(0, 8, 4):
        for y in range(0, 12, 4):
            part = moved[:, :, x : x + 4, :, y : y + 4]
            expected[:, :, x : x + 4, :, y : y + 4] = shrunk(np.ascontiguousarray(part), 0.3, block=4)
    found = shrunk(frames, 0.3, block=4, shift=shift)
    assert relative(found, np.roll(expected, (-shift, -shift), (2, 4))) < 1e-4


def test_without_a_threshold_frames_stay_also_where_blocks_do_not_fit():
    frames = noise(*SHAPE)
    assert relative(shrunk(frames, 0.0, block=4, shift=5), frames) < 1e-4


def test_noise_goes_at_the_threshold_of_its_deviation_and_what_changes_together_stays():
    still = noise(1, 1, 24, 1, 24, seed=3) * np.linspace(5, 9, 12)[:, None, None, None, None]
    dark = noise(12, 1, 24, 1, 24) / np.sqrt(2)
    assert np.linalg.norm(shrunk(dark.astype(np.complex64), 1.0)) < 0.05 * np.linalg.norm(dark)
    noisy = (still + dark).astype(np.complex64)
    assert relative(shrunk(noisy, 0.8), still) < 0.6 * relative(noisy, still)
