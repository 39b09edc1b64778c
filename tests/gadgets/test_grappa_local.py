"""GRAPPA of lines at changing distances: as of equal ones where these are, and near to what iterations give."""

from dataclasses import replace

import numpy as np
import pytest
from known_coils import HEADER, images_of, irregular, started, unit
from undersampling import N_CHANNELS, N_KX, N_KY, channel_images, every, noise, only, relative

from echotrain.clients.simulate import Scan, simulate
from echotrain.gadgets import CgSense, CollectKSpace, CombineCoils, FourierTransform, Grappa, RemoveOversampling
from echotrain.gadgets.fourier import centred_fft
from echotrain.gadgets.grappa_local import LocalGrappa, local_grappa
from echotrain.gadgets.grappa_weights import grappa
from echotrain.mrd import Flag, Image, Text, parse_header
from echotrain.mrd.errors import DataError

KSPACE = centred_fft(channel_images(), (-2, -1))[:, 0] + 0.02 * noise(N_CHANNELS, N_KY, N_KX)
CENTRE = slice(12, 36)
DENSER = every(4)
DENSER[:, 16:32:2] = True
"""Every second line near the centre, every fourth beside."""


@pytest.mark.parametrize("kernel", [(5, 4), (3, 2), (1, 3)])
@pytest.mark.parametrize("step", [2, 3, 4])
def test_equal_distances_give_what_the_regular_method_gives(step, kernel):
    acquired = only(KSPACE, every(step)[0])
    regular = grappa(acquired, KSPACE[:, CENTRE], kernel)
    assert relative(local_grappa(acquired, KSPACE[:, CENTRE], kernel), regular) < 1e-6


def test_volumes_of_equal_distances_do_as_well():
    shape = (6, 24, 14)
    kspace = centred_fft(channel_images(8, shape), (-3, -2, -1))
    acquired = only(kspace, every(2, shape=shape[:2]))
    regular = grappa(acquired, kspace[:, :, 4:20], (3, 2, 3))
    assert relative(local_grappa(acquired, kspace[:, :, 4:20], (3, 2, 3)), regular) < 1e-6


def test_denser_lines_near_the_centre_are_filled_as_well_as_their_distance_allows():
    lines = DENSER[0]
    filled = local_grappa(only(KSPACE, lines), KSPACE[:, CENTRE])
    np.testing.assert_allclose(filled[:, lines], KSPACE[:, lines], atol=1e-4)
    fourth = grappa(only(KSPACE, every(4)[0]), KSPACE[:, CENTRE])
    near = np.arange(17, 31, 2)
    assert relative(filled[:, near], KSPACE[:, near]) < 0.05
    assert relative(filled, KSPACE) < 0.7 * relative(fourth, KSPACE)


def test_a_line_that_was_lost_is_made_from_those_around_it():
    lines = every(2)[0]
    lines[20] = False
    filled = local_grappa(only(KSPACE, lines), KSPACE[:, CENTRE])
    assert relative(filled[:, 20], KSPACE[:, 20]) < 0.1


def test_a_side_that_was_left_out_stays_zero():
    lines = DENSER[0].copy()
    lines[:12] = False
    filled = local_grappa(only(KSPACE, lines), KSPACE[:, CENTRE])
    assert not filled[:, :9].any()
    assert filled[:, 12:45].any(axis=(0, 2)).all()


def test_missing_planes_and_lines_in_too_many_ways_are_refused():
    sampled = irregular((4, 24))
    sampled[2] = False
    weights = LocalGrappa(noise(4, 12, 24, 40), (1, 4))
    with pytest.raises(DataError, match=r"planes along kz are missing as well .* CgSense"):
        weights.filled(noise(4, 4, 24, 10), sampled)
    with pytest.raises(DataError, match=r"kinds of neighbourhoods, and more than 128 .* CgSense"):
        weights.filled(noise(4, 20, 40, 10), irregular((20, 40), 0.4))


# The gadget


def test_the_client_is_told_where_lines_lack():
    gadget = started(Grappa(gfactor=True))
    calibration = unit(KSPACE[:, None], every(1))
    acquired = unit(KSPACE[:, None], DENSER, calibration)
    text, *images = [item for _ in range(2) for item in gadget.process(acquired)]
    assert isinstance(text, Text)
    assert text.text.startswith("warning: Grappa: lines lack between ")
    assert "acceleration factor is 1 along ky" in text.text
    assert text.text.endswith("no maps of the noise")
    assert all(isinstance(image, Image) for image in images)
    assert len(images) == 2


def test_lines_beyond_the_headers_factor_are_taken_as_lost():
    (encoding,) = HEADER.encodings
    twofold = replace(HEADER, encodings=(replace(encoding, acceleration=(2, 1)),))
    lines = every(2)
    lines[:, 26] = False
    text, image = started(Grappa(), twofold).process(unit(KSPACE[:, None], lines, unit(KSPACE[:, None], every(1))))
    assert "lines lack between 24 and 28, though the header's acceleration factor is 2 along ky" in text.text
    (whole,) = started(Grappa(), twofold).process(unit(KSPACE[:, None], every(2), unit(KSPACE[:, None], every(1))))
    assert relative(image.data, whole.data) < 0.05


def test_noise_has_the_same_scale_as_of_equal_distances():
    lines, calibration = every(2), unit(KSPACE[:, None], every(1))
    (regular,) = started(Grappa(snr_units=True)).process(unit(KSPACE[:, None], lines, calibration))
    lost = lines.copy()
    lost[:, 8] = False
    _, image = started(Grappa(snr_units=True)).process(unit(KSPACE[:, None], lost, calibration))
    ratio = np.linalg.norm(image.data) / np.linalg.norm(regular.data)
    assert ratio == pytest.approx((23 / 24) ** 0.5, abs=0.01)


def test_a_variable_density_is_about_as_good_as_by_iterations():
    header, batches = simulate(Scan(matrix=64, coils=8, noise=0.005))
    lines = [batch[~batch.has(Flag.IS_NOISE_MEASUREMENT)] for batch in batches]
    header = parse_header(header)

    def magnitude(lines, *gadgets):
        (image,) = images_of([RemoveOversampling(), CollectKSpace(), *gadgets], header, lines)
        return np.abs(image.data[0, 0])

    def kept(batch):
        row = batch.head["idx"]["kspace_encode_step_1"]
        off = np.abs(row.astype(int) - 32)
        return batch[(off < 9) | ((off < 18) & (row % 2 == 0)) | (row % 4 == 0)]

    lines = [batch for batch in lines if len(batch)]
    whole = magnitude(lines, FourierTransform(), CombineCoils())
    some = [kept(batch) for batch in lines]
    inside = whole > 0.1 * whole.max()
    errors = [relative(magnitude(some, gadget)[inside], whole[inside]) for gadget in (Grappa(kernel="5 2"), CgSense())]
    assert errors[0] < 1.3 * errors[1], errors
    assert errors[0] < 0.1
