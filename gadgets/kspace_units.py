"""The memory of one k-space while its lines come in: where a line belongs, what is there, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Encoding, KSpace, Limit
from echotrain.mrd.errors import DataError, HeaderError
from echotrain.mrd.records import ACQUISITION_HEADER

from .lines import COUNTERS, copied

COUNTER_MAX = 65535  # of a header's 16 bits

Ints = NDArray[np.int64]
Index = slice | Ints


def as_slice(index: Ints) -> slice | None:
    """The slice that picks what `index` picks, or None where its steps differ: slices are faster, and make views."""
    first = int(index[0])
    if len(index) == 1:
        return slice(first, first + 1)
    step = int(index[1]) - first
    if step == 0 or (len(index) > 2 and (index[1:] - index[:-1] != step).any()):
        return None
    stop = first + len(index) * step
    return slice(first, stop if stop >= 0 else None, step)


class Layout:
    """Where the lines of one encoding belong in a k-space whose `axes` are counters kept together.

    Places number the lines of a k-space in C order of (*axes, kz, ky).

    Raises:
        HeaderError: where the limits of a counter that is kept together or averaged are no range.
    """

    def __init__(self, encoding: Encoding, axes: Sequence[str], merged: Sequence[str]) -> None:
        limits, (_, self.n_ky, self.n_kz) = encoding.limits, encoding.encoded.matrix
        step_1, step_2 = limits.get("kspace_encoding_step_1"), limits.get("kspace_encoding_step_2")
        self.shift_ky = self.n_ky // 2 - (step_1.center if step_1 else self.n_ky // 2)
        self.shift_kz = self.n_kz // 2 - (step_2.center if step_2 else self.n_kz // 2)
        for name in (*axes, "average"):
            limit = limits.get(name, Limit(0, 0, 0))
            if not 0 <= limit.minimum <= limit.maximum <= COUNTER_MAX:
                raise HeaderError(
                    f"the header's limits of {name} are {limit.minimum} to {limit.maximum}, which is no range of a "
                    "counter; correct the header"
                )
        self.axes = tuple(axes)
        self.axis_limits = [limits.get(name, Limit(0, 0, 0)) for name in axes]
        self.extents = tuple(limit.maximum - limit.minimum + 1 for limit in self.axis_limits)
        self.n_outer = int(np.prod(self.extents, dtype=int))

        self.last_columns = [COUNTERS.index(name) for name in (*axes, *merged)]
        self.last = np.array([limits[name].maximum if name in limits else 0 for name in (*axes, *merged)], np.int64)
        self.average_limit = limits.get("average") if "average" in merged else None
        self.n_averages = self.average_limit.maximum + 1 if self.average_limit else 1

        ky, kz = np.arange(self.n_ky) - self.n_ky // 2, np.arange(self.n_kz)[:, None] - self.n_kz // 2
        self.distance = np.tile((ky**2 + kz**2).ravel(), self.n_outer)
        """From the centre of k-space, squared, by place."""

        self.wanted: NDArray[np.bool_] | None = None
        """Lines that the header's limits announce, by average and place; None where it has none. Flat."""
        if step_1 and (step_2 or self.n_kz == 1):
            rows = _within_limit(np.arange(self.n_ky) - self.shift_ky, step_1)
            planes = np.ones(1, np.bool_)
            if step_2 and self.n_kz > 1:
                planes = _within_limit(np.arange(self.n_kz) - self.shift_kz, step_2)
            wanted = np.tile((planes[:, None] & rows).ravel(), self.n_averages * self.n_outer)
            self.wanted = wanted if wanted.any() else None

    def places(self, head: NDArray[np.void], counters: Ints) -> Ints:
        """The place of each line. Shape (line,).

        Raises:
            DataError: where a counter leads outside the grid or the header's limits.
        """
        ky = counters[:, 0] + self.shift_ky
        if ky.min() < 0 or ky.max() >= self.n_ky:
            self._refuse(head, counters[:, 0], "kspace_encode_step_1", -self.shift_ky, self.n_ky - 1 - self.shift_ky)
        places = ky
        if self.n_kz > 1:
            kz = counters[:, 1] + self.shift_kz
            if kz.min() < 0 or kz.max() >= self.n_kz:
                self._refuse(
                    head, counters[:, 1], "kspace_encode_step_2", -self.shift_kz, self.n_kz - 1 - self.shift_kz
                )
            places = kz * self.n_ky + ky
        outer: Ints | int = 0
        for name, limit, extent in zip(self.axes, self.axis_limits, self.extents, strict=True):
            outer = outer * extent + self._within(head, counters, name, limit) - limit.minimum
        if self.axes:
            places = outer * (self.n_kz * self.n_ky) + places
        if self.average_limit:
            self._within(head, counters, "average", self.average_limit)
        return places

    def announced(self, places: Ints, averages: Ints) -> Ints:
        """Indices into `wanted`."""
        if self.n_averages == 1:
            return places
        return averages * (self.n_outer * self.n_kz * self.n_ky) + places

    def _within(self, head: NDArray[np.void], counters: Ints, name: str, limit: Limit) -> Ints:
        values: Ints = counters[:, COUNTERS.index(name)]
        if values.min() < limit.minimum or values.max() > limit.maximum:
            self._refuse(head, values, name, limit.minimum, limit.maximum)
        return values

    def _refuse(self, head: NDArray[np.void], values: Ints, name: str, low: int, high: int) -> None:
        wrong = np.flatnonzero((values < low) | (values > high))[0]
        raise DataError(
            f"line {head['scan_counter'][wrong]} has {name} {values[wrong]}, which lies outside {low} to {high}, the "
            "range that the header's encoded matrix and encoding limits allow; correct the header or the counter"
        )


def _within_limit(values: Ints, limit: Limit) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (values >= limit.minimum) & (values <= limit.maximum)
    return inside


@dataclass(frozen=True, slots=True)
class PlacedLines:
    """Lines of one encoding that belong to k-space, and what is known of each."""

    data: NDArray[np.complex64]
    head: NDArray[np.void]
    number: Ints
    """How many lines of the stream came before."""

    places: Ints
    announced: Ints
    ends: NDArray[np.bool_] | None
    """Which lines say that their k-space is whole; None: no line does."""

    imaging: NDArray[np.bool_] | None
    calibration: NDArray[np.bool_] | None
    """Which lines are for imaging, and for calibration; both None where all are for imaging alone."""

    image_space: bool

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, index: Index | NDArray[np.bool_]) -> PlacedLines:
        def picked(array: Any) -> Any:
            return None if array is None else array[index]

        return PlacedLines(
            self.data[index],
            self.head[index],
            self.number[index],
            self.places[index],
            self.announced[index],
            picked(self.ends),
            picked(self.imaging),
            picked(self.calibration),
            self.image_space,
        )


class Grid:
    """Samples of one k-space, of the shape of its first lines."""

    def __init__(self, layout: Layout, like: PlacedLines) -> None:
        _, n_channels, n_samples = like.data.shape
        self._layout = layout
        self._image_space = like.image_space
        # Zeros come from the system page by page as they are touched.
        self._data = np.zeros((layout.n_outer, n_channels, layout.n_kz, layout.n_ky, n_samples), np.complex64)
        self._count = np.zeros(layout.n_outer * layout.n_kz * layout.n_ky, np.int32)
        self._repeated = False
        self._head = np.zeros(layout.n_outer, ACQUISITION_HEADER)
        self._distance = np.full(layout.n_outer, np.iinfo(np.int64).max)

    def place(self, lines: PlacedLines) -> None:
        """Put lines where they belong; lines of a place that is taken add to it.

        Raises:
            DataError: where they differ in shape from those before.
        """
        shape, other = (self._data.shape[1], self._data.shape[-1]), lines.data.shape[1:]
        if shape != other or self._image_space != lines.image_space:
            hint = "; PadAsymmetricEcho completes partial echoes" if shape[0] == other[0] else ""
            raise DataError(
                f"line {lines.head['scan_counter'][0]} has {other[0]} channels x {other[1]} samples"
                f"{' in image space' * lines.image_space}, lines before it of the same k-space {shape[0]} x {shape[1]}"
                f"{' in image space' * self._image_space}; they must be alike{hint}"
            )
        self._keep_heads(lines)
        target = as_slice(lines.places)
        if target is not None and not self._count[target].any():
            self._count[target] = 1
            self._assign(target, lines)
        elif target is None and not self._count[lines.places].any() and _distinct(lines.places):
            self._count[lines.places] = 1
            self._data[self._indices(lines.places)] = lines.data
        else:
            self._add(lines)

    def kspace(self, *, mean: bool, calibration: KSpace | None = None) -> KSpace:
        """What was placed, where `mean` divided by the number of lines at each place. The grid is used up."""
        layout, rows = self._layout, (self._layout.n_kz, self._layout.n_ky)
        if mean and self._repeated:
            count = np.maximum(self._count, 1).astype(np.float32)
            self._data /= count.reshape(layout.n_outer, 1, *rows, 1)
        return KSpace(
            self._data.reshape(*layout.extents, *self._data.shape[1:]),
            (self._count > 0).reshape(*layout.extents, *rows),
            self._head.reshape(layout.extents),
            layout.axes,
            calibration,
            self._image_space,
        )

    def copied(self) -> Grid:
        """What was placed so far, in memory of its own."""
        other = copy(self)
        other._data, other._count, other._head = self._data.copy(), self._count.copy(), self._head.copy()
        return other

    def _assign(self, target: slice, lines: PlacedLines) -> None:
        """Put lines at places of equal steps, as one copy where they share kz."""
        outer, ky = divmod(int(lines.places[0]), self._layout.n_ky)
        if outer == int(lines.places[-1]) // self._layout.n_ky:
            outer, kz = divmod(outer, self._layout.n_kz)
            stop = None if target.stop is None else target.stop - target.start + ky
            rows = slice(ky, stop if stop is None or stop >= 0 else None, target.step)
            self._data[outer, :, kz, rows] = lines.data.transpose(1, 0, 2)
        else:
            self._data[self._indices(lines.places)] = lines.data

    def _indices(self, places: Ints) -> tuple[Any, ...]:
        """Indices of places into the data, that give the shape (line, channel, kx)."""
        outer, ky = np.divmod(places, self._layout.n_ky)
        outer, kz = np.divmod(outer, self._layout.n_kz)
        return outer, slice(None), kz, ky

    def _add(self, lines: PlacedLines) -> None:
        """Add lines to what stands at their places, each place's lines in the order in which they came."""
        self._repeated = True
        order = np.argsort(lines.places, kind="stable")
        ordered = lines.places[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        turn = np.empty(len(order), np.int64)
        turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        for repeat in range(int(turn.max()) + 1):
            chosen = turn == repeat
            self._data[self._indices(lines.places[chosen])] += lines.data[chosen]
            self._count[lines.places[chosen]] += 1

    def _keep_heads(self, lines: PlacedLines) -> None:
        """Keep the header of the line nearest to the centre, the first of such."""
        distance = self._layout.distance[lines.places]
        if self._layout.n_outer == 1:
            nearest = int(distance.argmin())
            if distance[nearest] < self._distance[0]:
                self._distance[0] = distance[nearest]
                self._head[0] = lines.head[nearest]
            return
        outer = lines.places // (self._layout.n_kz * self._layout.n_ky)
        order = np.lexsort((distance, outer))
        first = order[np.flatnonzero(np.r_[True, np.diff(outer[order]) > 0])]
        nearer = first[distance[first] < self._distance[outer[first]]]
        self._distance[outer[nearer]] = distance[nearer]
        self._head[outer[nearer]] = copied(lines.head[nearer])


def _distinct(values: Ints) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] != ordered[:-1]).all())


class Unit:
    """One k-space whose lines are still coming."""

    def __init__(self, layout: Layout, first: int, *, announced: bool) -> None:
        self.layout = layout
        self.first = first
        """The number of its first line."""

        self.imaging: Grid | None = None
        self.calibration: Grid | None = None
        self.early: KSpace | None = None
        """The calibration as it was handed on early, unless more of it came."""
        self._was_early = False
        self._missing = layout.wanted.copy() if announced and layout.wanted is not None else None
        self._n_missing = 0 if self._missing is None else int(np.count_nonzero(self._missing))

    def ends_after(self, lines: PlacedLines) -> int:
        """How many of `lines` it takes to end this k-space: the last announced is there, or a line says so; 0: more."""
        whole, told = self._completed(lines), 0
        if lines.ends is not None:
            telling = np.flatnonzero(lines.ends)
            if self.imaging is None and lines.imaging is not None:
                # Calibration that ends before any imaging line is kept for the lines to come.
                telling = telling[np.logical_or.accumulate(lines.imaging)[telling]]
            told = int(telling[0]) + 1 if len(telling) else 0
        return min(whole, told) if whole and told else whole or told

    def place(self, lines: PlacedLines) -> None:
        """Take lines."""
        imaging = lines
        if lines.imaging is not None and lines.calibration is not None:
            calibration = lines[lines.calibration]
            if len(calibration):
                self.early = None
                self.calibration = self.calibration or Grid(self.layout, calibration)
                self.calibration.place(calibration)
            imaging = lines[lines.imaging]
        if len(imaging):
            self.imaging = self.imaging or Grid(self.layout, imaging)
            self.imaging.place(imaging)
            if self._missing is not None:
                self._missing[imaging.announced] = False
                self._n_missing = int(np.count_nonzero(self._missing))

    def early_calibration(self, last: PlacedLines, *, mean: bool) -> KSpace | None:
        """All calibration lines, once, when `last`, the lines that came last, end with one that is not for it."""
        if self.calibration is None or self._was_early or (last.calibration is not None and last.calibration[-1]):
            return None
        self._was_early = True
        self.early = self.calibration.copied().kspace(mean=mean)
        return self.early

    def whole_calibration(self, *, mean: bool) -> KSpace | None:
        """All calibration lines, as the same object that was handed on early where no more came; uses them up."""
        if self.early is not None or self.calibration is None:
            return self.early
        return self.calibration.kspace(mean=mean)

    def _completed(self, lines: PlacedLines) -> int:
        """How many of `lines` it takes until all those announced are there; 0 where they do not suffice."""
        if self._missing is None or len(lines) < self._n_missing:
            return 0
        fresh = self._missing[lines.announced]
        if lines.imaging is not None:
            fresh &= lines.imaging
        found, first = np.unique(lines.announced[fresh], return_index=True)
        if len(found) < self._n_missing:
            return 0
        return int(np.flatnonzero(fresh)[first.max()]) + 1
