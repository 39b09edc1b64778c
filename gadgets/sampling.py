"""Which lines of a Cartesian grid were sampled: the regular lattice of parallel imaging, and the dense block within."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd.errors import DataError

Mask = NDArray[np.bool_]


class IrregularLinesError(DataError):
    """Lines do not make a lattice."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Lines at equal distances, and how far apart they are."""

    acceleration: tuple[int, int]
    """Every how many lines along ky and along kz."""

    shift: int
    """How far along ky the lines of a plane lie from those of the plane before (CAIPIRINHA), less than along ky."""

    mask: Mask
    """Which lines belong to it. Shape (kz, ky)."""

    @property
    def steps(self) -> tuple[int, int, int]:
        """Acceleration and shift: what the weights depend on."""
        return (*self.acceleration, self.shift)


def sampling_lattice(sampled: Mask) -> Lattice:
    """The lattice that the lines of `sampled` make, with any offset; more lines may lie between. Shape (kz, ky).

    Planes may reach differently far along ky, as in elliptical scans.

    Raises:
        IrregularLinesError: where lines of it are missing, so that there is none.

    References: F. Breuer et al., Magn Reson Med 2006, 55:549-556 (shifts in volumes).
    """
    planes = _regular(np.any(sampled, axis=1), "kz")
    if not len(planes):
        return Lattice((1, 1), 0, sampled)
    rows = [np.flatnonzero(sampled[plane]) for plane in planes]
    step = max((int(np.diff(row).max()) for row in rows if len(row) > 1), default=1)
    ky = np.arange(sampled.shape[1])
    within = np.array([(ky >= row[0]) & (ky <= row[-1]) for row in rows])
    for shift, first in product(range(step if len(planes) > 1 else 1), range(step)):
        regular = within & ((ky - first - shift * np.arange(len(planes))[:, None]) % step == 0)
        if sampled[planes][regular].all():
            mask = np.zeros_like(sampled)
            mask[planes] = regular
            return Lattice((step, int(planes[1] - planes[0]) if len(planes) > 1 else 1), shift, mask)
    raise _irregular("ky", np.concatenate([np.diff(row) for row in rows]))


def _regular(sampled: Mask, axis: str) -> NDArray[np.intp]:
    """Lines at the largest distance between neighbours, all of them sampled from one end to the other."""
    lines = np.flatnonzero(sampled)
    if len(lines) < 2:
        return lines
    step = int(np.diff(lines).max())
    for first in range(int(lines[0]), int(lines[0]) + step):
        regular = np.arange(first, int(lines[-1]) + 1, step)
        if sampled[regular].all():
            return regular
    raise _irregular(axis, np.diff(lines))


def _irregular(axis: str, gaps: NDArray[np.intp]) -> IrregularLinesError:
    return IrregularLinesError(
        f"lines are not sampled at regular distances along {axis}: neighbours are "
        f"{', '.join(map(str, np.unique(gaps)))} apart; sample every nth line, with calibration lines between, or take "
        "a reconstruction for lines in any pattern, such as CgSense"
    )


def without_gaps(sampled: Mask) -> bool:
    """Whether lines follow on one another in each plane, and planes on one another. Shape (kz, ky)."""
    begins = [np.diff(lines.astype(np.int8), axis=-1, prepend=0) > 0 for lines in (sampled, np.any(sampled, axis=1))]
    return all(bool((first.sum(axis=-1) <= 1).all()) for first in begins)


def missing_lines(sampled: Mask) -> str:
    """How many lines lack between the first and the last, in words; empty where none do.

    Along ky it is those of the plane that lacks most, as planes may reach differently far.
    """
    planes = np.flatnonzero(sampled.any(axis=1))
    if not len(planes):
        return ""
    lack_ky, lines = max(_lacking(sampled[plane]) for plane in planes)
    lack_kz, n_planes = _lacking(np.any(sampled, axis=1))
    along = (("ky", lack_ky, lines), ("kz", lack_kz, n_planes))
    return " and ".join(f"{lack} of {n} lines along {axis}" for axis, lack, n in along if lack)


def _lacking(sampled: Mask) -> tuple[int, int]:
    """How many samples of an axis lack between the first and the last, and how many these span."""
    indices = np.flatnonzero(sampled)
    span = int(indices[-1] - indices[0]) + 1
    return span - len(indices), span


def wide_gaps(sampled: Mask, factor: int) -> str:
    """Between which lines along ky more lack than every `factor`th would leave out, in words."""
    rows = [np.flatnonzero(plane) for plane in sampled]
    gaps = sorted({ends for row in rows for ends in zip(row[:-1].tolist(), row[1:].tolist(), strict=True)})
    wide = [f"{first} and {last}" for first, last in gaps if last - first > factor]
    more = f" and at {len(wide) - 3} more places" if len(wide) > 3 else ""
    return f"lines lack between {', '.join(wide[:3])}{more}"


def disagreement(sampled: Mask, announced: tuple[int, int]) -> str:
    """In which way lines lie otherwise than the header's acceleration factor says, in words; empty where they do not.

    Lines in no regular pattern agree with any factor but 1.
    """
    said = f"though the header's acceleration factor is {announced[0]} x {announced[1]}"
    try:
        found = sampling_lattice(sampled).acceleration
    except IrregularLinesError:
        return f"{missing_lines(sampled)} were not acquired, {said}" if prod(announced) == 1 else ""
    if prod(found) == prod(announced):
        return ""
    return f"neighbouring lines are {found[0]} x {found[1]} apart (ky x kz), {said}"


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
