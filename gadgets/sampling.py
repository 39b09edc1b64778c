"""Which lines of a Cartesian grid were sampled: the regular lattice of parallel imaging, and the dense block within."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd.errors import DataError

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Lines at equal distances, and how far apart they are."""

    acceleration: tuple[int, int]
    """Every how many lines along ky and along kz."""

    mask: Mask
    """Which lines belong to it. Shape (kz, ky)."""


def sampling_lattice(sampled: Mask) -> Lattice:
    """The lattice that the lines of `sampled` make, with any offset; more lines may lie between. Shape (kz, ky).

    Raises:
        DataError: where lines of it are missing, so that there is none.
    """
    along_ky = _lattice(np.any(sampled, axis=0), "ky")
    along_kz = _lattice(np.any(sampled, axis=1), "kz")
    mask = np.zeros_like(sampled)
    mask[np.ix_(along_kz, along_ky)] = True
    missing = np.argwhere(mask & ~sampled)
    if len(missing):
        plane, row = missing[0].tolist()
        raise DataError(
            f"lines are not sampled at regular distances along ky and kz: {len(missing)} are missing, the first at ky "
            f"{row} of {sampled.shape[1]}, kz {plane} of {sampled.shape[0]}; sample a regular grid of lines, or "
            "reconstruct without parallel imaging"
        )
    return Lattice((_step(along_ky), _step(along_kz)), mask)


def _step(lines: NDArray[np.intp]) -> int:
    return int(lines[1] - lines[0]) if len(lines) > 1 else 1


def _lattice(sampled: Mask, axis: str) -> NDArray[np.intp]:
    """Lines at the largest distance between neighbours, all of them sampled from one end to the other."""
    lines = np.flatnonzero(sampled)
    if len(lines) < 2:
        return lines
    step = int(np.diff(lines).max())
    for first in range(int(lines[0]), int(lines[0]) + step):
        regular = np.arange(first, int(lines[-1]) + 1, step)
        if sampled[regular].all():
            return regular
    gaps = ", ".join(map(str, np.unique(np.diff(lines))))
    raise DataError(
        f"lines are not sampled at regular distances along {axis}: neighbours are {gaps} apart; sample every nth line, "
        "with calibration lines between, or reconstruct without parallel imaging"
    )


def dense_block(sampled: Mask) -> tuple[slice, slice]:
    """Lines without gaps around the one nearest to the centre, as slices of kz and ky. `sampled` is not empty."""
    lines = np.argwhere(sampled)
    nearest = lines[((lines - np.array(sampled.shape) // 2) ** 2).sum(axis=1).argmin()]
    low, high = nearest.tolist(), (nearest + 1).tolist()
    grown = True
    while grown:
        grown = False
        for axis in range(2):
            for end, step in ((low, -1), (high, 1)):
                edge = end[axis] + min(step, 0)
                beside = [slice(*ends) for ends in zip(low, high, strict=True)]
                beside[axis] = slice(edge, edge + 1)
                if 0 <= edge < sampled.shape[axis] and sampled[tuple(beside)].all():
                    end[axis] += step
                    grown = True
    return slice(low[0], high[0]), slice(low[1], high[1])
