"""Lines gathered into k-space that can be reconstructed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from echotrain.mrd import Acquisitions, Flag, Header, Image, KSpace, Text
from echotrain.mrd.errors import DataError, HeaderError
from echotrain.mrd.flags import NOT_IMAGING, has_flag

from .gadget import Gadget
from .kspace_units import Index, Ints, Layout, PlacedLines, Unit, as_slice
from .lines import COUNTERS, counters, runs, turn_forward, without_discarded
from .parameters import parameter
from .sampling import disagreement

_AXES = ("average", "contrast", "phase", "repetition", "set", "slice")  # that a k-space can have, in this order
_LEFT_OUT = NOT_IMAGING & ~Flag.IS_PARALLEL_CALIBRATION
_KINDS = {
    Flag.IS_NOISE_MEASUREMENT: "noise",
    Flag.IS_NAVIGATION_DATA: "navigation",
    Flag.IS_PHASECORR_DATA: "phase correction",
    Flag.IS_DUMMYSCAN_DATA: "dummy",
    Flag.IS_HPFEEDBACK_DATA | Flag.IS_RTFEEDBACK_DATA: "feedback",
    Flag.IS_PHASE_STABILIZATION_REFERENCE | Flag.IS_PHASE_STABILIZATION: "phase stabilisation",
}

Key = tuple[int, ...]  # encoding space, then the counters that are split


class CollectKSpace(Gadget[Acquisitions, KSpace]):
    """Put Cartesian lines on their grids, and give each k-space on as soon as it is whole.

    Each combination of the counters in `split`, and each encoding space, is a k-space of its own. Segments are merged,
    averages as `averages` says, and every other counter becomes an axis as long as the header's limits. What is not
    sampled, or to be discarded, stays zero, so partial Fourier acquisitions are filled with zeros.

    With `trigger` auto, a k-space is given on when all lines that the header's encoding limits announce are there; or
    a line of it is the last in its slice or repetition, with its counters that are not split at their maximum; or a
    line is the last of the measurement; or, where repetitions are split, a line of a later repetition comes. What is
    left is given on at the end, which is all that happens with `trigger` end.

    Lines for parallel calibration alone go into `KSpace.calibration` only. Calibration serves the later k-spaces with
    the same counters, repetition apart, that have none of their own. Gadgets that say so are given it early as well,
    as soon as a line follows that is for imaging alone; others only with imaging lines.

    The client is told where lines lie otherwise than the header's acceleration factor says, or it has none.

    Raises:
        HeaderError: where the header describes no encoding, or one that is not Cartesian.
        DataError: where a line does not fit its grid, the header's limits, or the lines before it.
    """

    takes_image_space_readout = True

    split: tuple[Literal["slice", "contrast", "phase", "repetition", "set", "average", "segment"], ...] = parameter(
        ("slice", "contrast", "phase", "repetition", "set"), "Counters of which each value is a k-space of its own."
    )
    averages: Literal["mean", "sum", "keep"] = parameter(
        "mean", "What becomes of averages that are not split: their mean by line, their sum, or an axis."
    )
    trigger: Literal["auto", "end"] = parameter("auto", "Give k-space on as soon as it is whole, or all at the end.")

    _early: bool | None = None
    """Whether there are gadgets to be given early calibration; None before `connect`."""

    def connect(self, following: Sequence[Gadget[Any, Any]], /) -> None:
        self._early = self._early is not False and _take_early_calibration(following)

    def start(self, header: Header, /) -> None:
        if not header.encodings:
            raise HeaderError("the header describes no encoding, so no grid; send a complete header")
        for encoding in header.encodings:
            if encoding.trajectory not in ("cartesian", "epi"):
                raise HeaderError(
                    f"the header's trajectory is {encoding.trajectory}; CollectKSpace grids cartesian and epi lines "
                    "only, so take a chain for other trajectories"
                )
        merged = [name for name in ("average", "segment") if name not in self.split]
        if self.averages == "keep" and "average" in merged:
            merged.remove("average")
        axes = [name for name in _AXES if name not in (*self.split, *merged)]
        self._header = header
        self._layouts = [Layout(encoding, axes, merged) for encoding in header.encodings]
        self._split_columns = [COUNTERS.index(name) for name in self.split]
        # Where repetition stands in a key; key[0] is the encoding.
        self._repetition_in_key = self.split.index("repetition") + 1 if "repetition" in self.split else None
        self._repetition: int | None = None
        self._n_lines = 0
        self._open: dict[Key, Unit] = {}
        self._given: set[Key] = set()
        self._calibrations: dict[Key, KSpace] = {}
        self._unused: set[Key] = set()
        self._n_reopened = 0
        self._warned = False
        self._left_out: Counter[str] = Counter()

    def process(self, lines: Acquisitions, /) -> Iterator[Any]:
        flags = lines.head["flags"]
        left_out = has_flag(flags, _LEFT_OUT)
        if left_out.any():
            for flag, kind in _KINDS.items():
                self._left_out[kind] += int(np.count_nonzero(has_flag(flags, flag)))
            if left_out.all():
                return
            lines = lines[~left_out]
        lines = without_discarded(turn_forward(lines))
        for run in runs(lines.head["encoding_space_ref"]):
            yield from self._checked(self._collect(lines[run]))

    def finish(self) -> Iterator[Any]:
        yield from self._checked(self._give_open())
        if self._n_reopened > 1:
            yield Text(f"warning: CollectKSpace: {self._n_reopened} k-spaces were begun again after they were given on")
        if self._unused:
            yield Text(
                f"warning: CollectKSpace: calibration lines of {len(self._unused)} k-spaces met no imaging lines"
            )
        kinds = [f"{n} {kind}" for kind, n in self._left_out.items() if n]
        if kinds:
            yield Text(f"CollectKSpace: left out lines that are not k-space of an image: {', '.join(kinds)}")
        self._calibrations.clear()

    def _checked(self, items: Iterable[KSpace | Text]) -> Iterator[KSpace | Text]:
        """What was collected, after words, once, on lines that lie otherwise than the header says."""
        for item in items:
            units = item.units() if isinstance(item, KSpace) and not item.early and not self._warned else ()
            for unit in units:
                announced = self._header.encoding(int(unit.head["encoding_space_ref"])).acceleration
                if otherwise := disagreement(unit.sampled, announced):
                    self._warned = True
                    yield Text(f"warning: CollectKSpace: {otherwise}; images are made from the lines that came")
                    break
            yield item

    def _collect(self, lines: Acquisitions) -> Iterator[Any]:
        """Take lines of one encoding space."""
        if not lines.data.size:
            raise DataError(
                f"line {lines.head['scan_counter'][0]} has {lines.n_channels} channels x {lines.n_samples} samples, "
                "so nothing that could be collected; leave such lines out"
            )
        encoding = int(lines.head["encoding_space_ref"][0])
        self._header.encoding(encoding)  # raises where there is no such encoding
        counted = counters(lines.head)
        placed = self._placed(lines, counted, self._layouts[encoding])
        keys = counted[:, self._split_columns]
        start = 0
        for stop, repetition in self._cuts(lines, counted):
            if stop > start:
                yield from self._fill(encoding, keys[start:stop], placed[start:stop])
            yield from self._give_open(before=repetition)
            start = stop
        if start < len(lines):
            yield from self._fill(encoding, keys[start:], placed[start:])
        self._n_lines += len(lines)

    def _placed(self, lines: Acquisitions, counted: Ints, layout: Layout) -> PlacedLines:
        places = layout.places(lines.head, counted)
        flags = lines.head["flags"]
        ends = None
        if self.trigger == "auto":
            ends = has_flag(flags, Flag.LAST_IN_SLICE | Flag.LAST_IN_REPETITION)
            ends = ends & (counted[:, layout.last_columns] >= layout.last).all(axis=1) if ends.any() else None
        imaging = calibration = None
        alone, both = Flag.IS_PARALLEL_CALIBRATION, Flag.IS_PARALLEL_CALIBRATION_AND_IMAGING
        calibration = has_flag(flags, alone | both)
        if calibration.any():
            imaging = ~has_flag(flags, alone) | has_flag(flags, both)
        return PlacedLines(
            data=lines.data,
            head=lines.head,
            number=np.arange(self._n_lines, self._n_lines + len(lines)),
            places=places,
            announced=layout.announced(places, counted[:, COUNTERS.index("average")]),
            ends=ends,
            imaging=imaging,
            calibration=None if imaging is None else calibration,
            image_space=lines.readout_in_image_space,
        )

    def _cuts(self, lines: Acquisitions, counted: Ints) -> list[tuple[int, int | None]]:
        """Where several k-spaces are given on: (lines before, the repetition that begins or None where all end)."""
        if self.trigger == "end":
            return []
        cuts: list[tuple[int, int | None]] = []
        last = lines.has(Flag.LAST_IN_MEASUREMENT)
        if last.any():
            cuts += [(int(index) + 1, None) for index in np.flatnonzero(last)]
        if self._repetition_in_key is not None:
            # No open k-space is older than the line before, so only a rise can leave one behind.
            repetition = counted[:, COUNTERS.index("repetition")]
            before = repetition[0] if self._repetition is None else self._repetition
            if (repetition != before).any():
                rises = np.flatnonzero(np.diff(repetition, prepend=before) > 0)
                cuts += [(int(index), int(repetition[index])) for index in rises]
            self._repetition = int(repetition[-1])
        return sorted(cuts, key=itemgetter(0))

    def _fill(self, encoding: int, keys: Ints, lines: PlacedLines) -> Iterator[KSpace | Text]:
        """Place lines in their units; gives what this ends, in the order in which it ended."""
        told: list[tuple[int, KSpace | Key]] = []
        for key, index in _groups(keys):
            self._fill_unit((encoding, *key), lines if index is None else lines[index], told)
        for _, item in sorted(told, key=itemgetter(0)):
            if isinstance(item, KSpace):
                yield item
            else:
                yield from self._reopened(item)

    def _fill_unit(self, key: Key, lines: PlacedLines, told: list[tuple[int, KSpace | Key]]) -> None:
        """Place lines of one key; adds to `told`, by number of line, each k-space ended and each key begun again."""
        while True:
            unit = self._open.get(key)
            if unit is None:
                first = int(lines.number[0])
                unit = self._open[key] = Unit(self._layouts[key[0]], first, announced=self.trigger == "auto")
                if key in self._given:
                    told.append((first, key))
            taken = unit.ends_after(lines)
            if not taken:
                unit.place(lines)
                early = unit.early_calibration(lines, mean=self.averages != "sum") if self._early else None
                if early is not None:
                    told.append((int(lines.number[-1]), _early(early)))
                return
            unit.place(lines if taken == len(lines) else lines[:taken])
            told += ((int(lines.number[taken - 1]), kspace) for kspace in self._give(key))
            if taken == len(lines):
                return
            lines = lines[taken:]

    def _reopened(self, key: Key) -> Iterator[Text]:
        """Tell the client, once, that lines came for a k-space after it was given on."""
        self._n_reopened += 1
        if self._n_reopened == 1:
            names = ", ".join(f"{name} {value}" for name, value in zip(self.split, key[1:], strict=True))
            yield Text(
                f"warning: CollectKSpace: lines of {names or 'the k-space'} came after it was given on, and begin "
                "another; set trigger to end to wait for all lines"
            )

    def _give_open(self, before: int | None = None) -> Iterator[KSpace]:
        """Give the open units on, all or those of a repetition before `before`, in the order of their first lines."""
        at = self._repetition_in_key
        ending = [key for key in self._open if before is None or at is None or key[at] < before]
        for key in sorted(ending, key=lambda key: self._open[key].first):
            yield from self._give(key)

    def _give(self, key: Key) -> Iterator[KSpace]:
        """Give a unit on; one without imaging lines only leaves its calibration."""
        unit = self._open.pop(key)
        at = self._repetition_in_key
        scene = key if at is None else key[:at] + key[at + 1 :]  # the same in every repetition
        mean = self.averages != "sum"
        calibration = unit.whole_calibration(mean=mean)
        if calibration is not None:
            self._calibrations[scene] = calibration
            self._unused.add(scene)
            if self._early and unit.imaging is None:
                yield _early(calibration)
        if unit.imaging is not None:
            self._given.add(key)
            self._unused.discard(scene)
            yield unit.imaging.kspace(mean=mean, calibration=self._calibrations.get(scene))


def _take_early_calibration(following: Sequence[Gadget[Any, Any]]) -> bool:
    """Whether all gadgets on k-space, up to the first that makes images of it, take early calibration."""
    for gadget in following:
        if KSpace in gadget.accepts:
            if not gadget.takes_early_calibration:
                return False
            if Image in gadget.yields:
                return True
    return False


def _early(calibration: KSpace) -> KSpace:
    return replace(calibration, calibration=calibration, early=True)


def _groups(keys: Ints) -> Iterator[tuple[Key, Index | None]]:
    """Lines with the same counters: those counters, and which lines, or None for all."""
    if len(keys) == 1 or not (keys[1:] != keys[0]).any():
        yield tuple(keys[0].tolist()), None
        return
    order = np.lexsort(keys.T)
    ordered = keys[order]
    for run in runs(ordered):
        index = order[run]
        picked = as_slice(index)
        yield tuple(ordered[run.start].tolist()), index if picked is None else picked
