"""Encoded scans in memory, so that a benchmark's sender does nothing but send."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import numpy as np

from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import Acquisitions, encode


def header_and_frame(scan: Scan) -> tuple[bytes, Acquisitions]:
    """The header of `scan`, and the lines of its first repetition as one batch."""
    header, batches = simulate(scan)
    one_shape = list(itertools.takewhile(lambda lines: lines.head["idx"]["repetition"][0] == 0, batches))
    head = np.concatenate([lines.head for lines in one_shape])
    return header, Acquisitions(head, np.concatenate([lines.data for lines in one_shape]))


def repetitions(frame: Acquisitions, count: int, lines_per_message: int) -> Iterator[memoryview]:
    """The same lines again and again as records, with the repetition's number in the headers."""
    encoded = [
        np.array(encode(frame[start : start + lines_per_message])) for start in range(0, len(frame), lines_per_message)
    ]
    record_bytes = 2 + 340 + 8 * frame.n_channels * frame.n_samples
    offset = 2 + frame.head.dtype.fields["idx"][1] + frame.head.dtype["idx"].fields["repetition"][1]
    for repetition in range(count):
        for message in encoded:
            copy = message.copy()  # the last may still be on its way
            numbers = np.ndarray((len(copy) // record_bytes,), "<u2", copy.data, offset, (record_bytes,))
            numbers[:] = repetition
            yield copy.data


def touch_memory(n_bytes: int = 3 << 30) -> None:
    """Have a virtual machine's host back its memory, so that who writes a page next does not pay for that.

    Some hosts take freed memory back within seconds, and then each page of a log costs more than its copy.
    """
    n_bytes = min(n_bytes, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    np.ones(n_bytes, np.uint8)
