"""Calibration that CollectKSpace hands on while the other lines of its k-space are still coming."""

import numpy as np
import pytest
from collecting import N_KY, PLANE, flagged, joined, lines, processed, units
from undersampling import relative

from echotrain.gadgets import (
    CollectKSpace,
    CompressCoils,
    FourierTransform,
    Grappa,
    RemoveOversampling,
    grappa_calibration,
)
from echotrain.mrd import Flag, Header, Image, KSpace, parse_header

ALONE, BOTH = Flag.IS_PARALLEL_CALIBRATION, Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING


def started(following=(), header=None, **parameters):
    gadget = CollectKSpace(**parameters)
    gadget.connect(following or (Grappa(),))
    gadget.start(header or Header(b"", (PLANE,)))
    return gadget


def calibrated_plane():
    """Lines 0 to 5 of which 2 to 4 are for calibration, 2 and 4 for the image too, and 3 alone."""
    return flagged(flagged(lines(range(N_KY)), [2, 4], BOTH), 3, ALONE)


def singly(batch):
    return [batch[i : i + 1] for i in range(len(batch))]


def test_calibration_is_handed_on_with_the_first_line_that_is_not_for_it():
    collect = started()
    before = [item for line in singly(calibrated_plane()[:5]) for item in collect.process(line)]
    (early,) = collect.process(calibrated_plane()[5:])
    assert before == []
    assert early.early
    assert early.sampled[0].tolist() == [False, False, True, True, True, False]
    (whole,) = collect.process(lines([3], repetition=0))
    assert not whole.early
    assert whole.calibration is early.calibration
    assert whole.sampled.all()


def test_a_batch_that_holds_all_lines_hands_nothing_on_early():
    plane = joined(calibrated_plane(), lines([3]))
    assert [item.early for item in processed(started(), plane)] == [False]


@pytest.mark.parametrize(
    ("following", "taken"),
    [
        ((CompressCoils(), Grappa()), True),
        ((FourierTransform(),), False),
        ((CompressCoils(), FourierTransform()), False),
        ((CompressCoils(),), False),
    ],
)
def test_only_gadgets_that_all_say_so_are_given_it(following, taken):
    given = processed(started(following), *singly(calibrated_plane()))
    assert [item.early for item in given] == [True] * taken


def test_one_way_of_a_chain_that_cannot_take_it_is_enough_to_wait():
    collect = CollectKSpace()
    for following in ((Grappa(),), (FourierTransform(),), (Grappa(),)):
        collect.connect(following)
    collect.start(Header(b"", (PLANE,)))
    assert processed(collect, *singly(calibrated_plane())) == []


def test_calibration_that_goes_on_after_other_lines_comes_again_whole():
    plane = calibrated_plane()
    order = [2, 0, 4, 3, 1, 5]
    collect = started()
    *given, whole = processed(collect, *(plane[i : i + 1] for i in order), lines([3]))
    assert [item.sampled[0].tolist() for item in given] == [[False, False, True, False, False, False]]
    assert whole.calibration.sampled[0].tolist() == [False, False, True, True, True, False]
    np.testing.assert_array_equal(whole.calibration.data[:, 0, 2:5], plane.data[2:5].swapaxes(0, 1))
    assert not given[0].data[:, 0, 3:].any()  # what was handed on stays as it was


def test_calibration_in_a_repetition_of_its_own_is_handed_on_with_the_next():
    before = lines([2, 3, 4], flags=ALONE)
    early, whole = units(processed(started(), before, lines([0], repetition=1), lines(range(1, N_KY), repetition=1)))
    assert early.early
    assert whole.calibration is early.calibration


# With Grappa


def run(scan, *, early, compressed, batches):
    """Images, and how many lines had come with each fit of weights."""
    header = parse_header(scan.header)
    compression = [CompressCoils(channels=6)] if compressed else []
    gadgets = [RemoveOversampling(), CollectKSpace(), *compression, Grappa()]
    for place, gadget in enumerate(gadgets):
        gadget.connect(gadgets[place + 1 :] if early else [FourierTransform()])
        gadget.start(header)
    images, fits, n_lines = [], [], 0
    fit = grappa_calibration.grappa_weights

    def noted(*arguments, **named):
        fits.append(n_lines)
        return fit(*arguments, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grappa_calibration, "grappa_weights", noted)
        for batch in batches:
            n_lines += len(batch)
            items = [batch]
            for gadget in gadgets:
                items = [
                    given
                    for item in items
                    for given in (gadget.process(item) if isinstance(item, gadget.accepts) else (item,))
                ]
            assert not any(isinstance(item, KSpace) for item in items)
            images += [item for item in items if isinstance(item, Image)]
    return images, fits


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("seed", [None, 1])
def test_weights_are_ready_before_the_last_line_and_images_stay_the_same(small_scan, compressed, seed):
    scan = small_scan(matrix=(36, 40), coils=8, slices=1, acceleration=2, calibration=14, repetitions=2, noise_lines=0)
    every_line = [line for batch in scan.batches for line in singly(batch)]
    half = len(every_line) // 2
    if seed is not None:  # each repetition's lines but the last in any order, so that calibration seems whole too early
        order = [*np.random.default_rng(seed).permutation(half - 1), half - 1]
        every_line = [every_line[start + i] for start in (0, half) for i in order]
    expected, late = run(scan, early=False, compressed=compressed, batches=every_line)
    found, fits = run(scan, early=True, compressed=compressed, batches=every_line)
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        assert relative(one.data, other.data) < 1e-6
    assert late == [half, 2 * half]
    if seed is None:
        assert len(fits) == 2
        assert fits[0] < half - 4
        assert half < fits[1] < 2 * half - 4
