"""Scans that do not suit a chain: each gives an error, or images and words that the client sees."""

from dataclasses import replace

import numpy as np
import pytest

from echotrain.clients.recon import reconstruct
from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Flag, Image, Text
from echotrain.mrd.errors import EchotrainError

CHAINS = [
    "fft",
    "adaptive",
    "partial_fourier",
    "Generic_Cartesian_Grappa",
    "compressed",
    "sense",
    "cg_sense",
    "cs_tv",
    "cs_wavelet",
    "linear_spirit",
    "l1_spirit",
]
SCAN = Scan(matrix=(40, 36), coils=10, noise=0.003, acceleration=2, calibration=16)
CALIBRATION = Flag.IS_PARALLEL_CALIBRATION | Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING


def row(head):
    return head["idx"]["kspace_encode_step_1"].astype(int)


def acquired(scan):
    header, batches = simulate(scan)
    return header, list(batches)


def kept(scan, condition):
    """Those lines of a scan, and of its noise all."""
    header, batches = acquired(scan)
    lines = [batch[batch.has(Flag.IS_NOISE_MEASUREMENT) | condition(batch)] for batch in batches]
    return header, [batch for batch in lines if len(batch)]


def every_second_line_without_a_word():
    return kept(
        replace(SCAN, acceleration=1), lambda lines: (row(lines.head) % 2 == 0) | (abs(row(lines.head) - 18) < 8)
    )


def a_line_that_was_lost():
    return kept(SCAN, lambda lines: row(lines.head) != 8)


def another_distance_than_the_headers():
    header, lines = acquired(SCAN)
    element = b"<kspace_encoding_step_1>2</kspace_encoding_step_1>"
    assert element in header
    return header.replace(element, element.replace(b"2", b"3")), lines


def no_calibration_lines():
    header, lines = kept(SCAN, lambda lines: row(lines.head) % 2 == 0)
    for batch in lines:
        batch.head["flags"] &= ~np.uint64(CALIBRATION)
    return header, lines


def few_calibration_lines():
    return kept(SCAN, lambda lines: (row(lines.head) % 2 == 0) | (abs(row(lines.head) - 18) < 2))


def samples_that_are_not_finite():
    header, lines = acquired(SCAN)
    lines[-1].data[3, 1, 7] = np.nan
    return header, lines


def another_number_of_coils_in_a_scan():
    header, lines = acquired(SCAN)
    last = lines[-1][5:]
    head = last.head.copy()
    head["active_channels"] = 9
    return header, [*lines[:-1], lines[-1][:5], replace(last, head=head, data=last.data[:, :9])]


FAULTS = {
    every_second_line_without_a_word: "2 x 1 apart (ky x kz), though the header's acceleration factor is 1 x 1",
    a_line_that_was_lost: "lack|acquired|apart",
    another_distance_than_the_headers: "2 x 1 apart (ky x kz), though the header's acceleration factor is 3 x 1",
    no_calibration_lines: "no calibration lines",
    few_calibration_lines: "too few",
    samples_that_are_not_finite: "not finite",
    another_number_of_coils_in_a_scan: "10 channels|9 channels",
}
UNTOUCHED = {
    (fault, chain)
    for fault in (no_calibration_lines, few_calibration_lines)  # which these do without, but for the gaps between lines
    for chain in ("fft", "adaptive")
}


def heard(header, lines, chain):
    """All that a client is told, and the images that it is given."""
    words, images = [], []
    try:
        for item in reconstruct(lines, header, chain):
            if isinstance(item, Text):
                words.append(item.text)
            elif isinstance(item, Image):
                images.append(item)
    except EchotrainError as error:
        words.append(f"error: {error}")
    return words, images


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_client_is_told(fault, chain):
    words, images = heard(*fault(), chain)
    wanted = ["were not acquired"] if (fault, chain) in UNTOUCHED else FAULTS[fault].split("|")
    told = [text for text in words if text.startswith(("warning: ", "error: ")) and any(w in text for w in wanted)]
    assert told, words
    assert images or told[-1].startswith("error: "), words


@pytest.mark.parametrize("chain", CHAINS)
def test_a_scan_that_suits_gives_images_and_no_warning(chain):
    scan = replace(SCAN, acceleration=1) if chain in ("fft", "adaptive") else SCAN
    words, images = heard(*acquired(scan), chain)
    assert len(images) == (2 if chain in ("adaptive", "partial_fourier") else 1)
    assert not [text for text in words if "warning" in text or "error" in text]
