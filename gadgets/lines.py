"""What gadgets on lines share: runs of alike lines, headers copied, samples turned forward and discarded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Flag
from echotrain.mrd.records import ACQUISITION_HEADER, ENCODING_COUNTERS

COUNTERS = ENCODING_COUNTERS.names or ()
"""Names of the columns that `counters` gives; those after the last name are the user's."""

_HEADER_BYTES = np.dtype((np.void, ACQUISITION_HEADER.itemsize))
_COUNTERS_AS_ARRAY = np.dtype(
    {
        "names": ["counters"],
        "formats": [("<u2", (ENCODING_COUNTERS.itemsize // 2,))],
        "offsets": [ACQUISITION_HEADER.fields["idx"][1] if ACQUISITION_HEADER.fields else 0],
        "itemsize": ACQUISITION_HEADER.itemsize,
    }
)


def counters(head: NDArray[np.void]) -> NDArray[np.int64]:
    """The encoding counters of lines as one array. Shape (line, counter)."""
    return head.view(_COUNTERS_AS_ARRAY)["counters"].astype(np.int64)


def copied(head: NDArray[np.void]) -> NDArray[np.void]:
    """Headers that may be written to and do not hold on to the bytes that arrived."""
    # As bytes, since NumPy copies a struct field by field, which takes six times as long.
    return head.view(_HEADER_BYTES).copy().view(ACQUISITION_HEADER)


def runs(key: NDArray[np.generic]) -> Iterator[slice]:
    """Slices of neighbours with the same key, in order; a key may be a row of several numbers."""
    changes = key[1:] != key[:-1]
    edges = (np.flatnonzero(changes if key.ndim == 1 else changes.any(axis=1)) + 1).tolist()
    return map(slice, [0, *edges], [*edges, len(key)])


def turn_forward(lines: Acquisitions) -> Acquisitions:
    """The same lines with samples that run forward: IS_REVERSE says that they run backwards, and is cleared.

    `center_sample` stays, as the vendors' converters leave it. Nothing is copied where no line is reversed.
    """
    reverse = lines.has(Flag.IS_REVERSE)
    if not reverse.any():
        return lines
    head = copied(lines.head)
    head["flags"] &= ~np.uint64(Flag.IS_REVERSE)
    before, after = head["discard_pre"][reverse], head["discard_post"][reverse]
    head["discard_pre"][reverse], head["discard_post"][reverse] = after, before
    data = np.array(lines.data, order="C")
    data[reverse] = lines.data[reverse, :, ::-1]
    trajectory = lines.trajectory
    if trajectory is not None:
        trajectory = np.array(trajectory, order="C")
        trajectory[reverse] = trajectory[reverse, ::-1]
    return Acquisitions(head, data, trajectory, lines.readout_in_image_space)


def without_discarded(lines: Acquisitions) -> Acquisitions:
    """The same lines with zeros for the samples that discard_pre and discard_post take off their ends.

    Nothing is copied where there are none, nor where the readout is in image space, which knows no single samples.
    """
    before, after = lines.head["discard_pre"], lines.head["discard_post"]
    if lines.readout_in_image_space or not (before.any() or after.any()):
        return lines
    sample = np.arange(lines.n_samples)
    kept = (sample >= before[:, None]) & (sample[::-1] >= after[:, None])
    return replace(lines, data=np.where(kept[:, None], lines.data, np.complex64(0)))
