"""When each line of a recording is sent: at full speed, in real time by its time stamps, or faster or slower."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from echotrain.mrd import Acquisitions, Item, Waveforms
from echotrain.mrd.errors import DataError

TICK = 0.0025  # [s], of the time stamps of most scanners


def play(items: Iterable[Item], speed: float, wait: Callable[[float], None]) -> Iterator[tuple[Item | None, float]]:
    """Batches when they are due, each with how late it is [s]; None after each wait.

    `speed` 1 is real time by the time stamps, 2 twice as fast, 0 without any waiting. `wait` waits for at most the
    seconds it is given.

    Raises:
        DataError: where the lines carry no time stamps to go by.
    """
    if not speed:
        for item in items:
            yield item, 0.0
        return
    schedule = _Schedule(speed)
    start = time.monotonic()
    for item in items:
        due = schedule.due(item)
        while len(due):
            now = time.monotonic() - start
            count = int(np.searchsorted(due, now, side="right"))
            if not count:
                wait(float(due[0]) - now)
                yield None, 0.0
                continue
            if isinstance(item, Acquisitions | Waveforms):
                yield item[:count], now - float(due[0])
                item = item[count:] if count < len(due) else item
            else:
                yield item, now - float(due[0])
            due = due[count:]


class _Schedule:
    """Turns time stamps into due times [s] from the first line on."""

    def __init__(self, speed: float) -> None:
        self._seconds_per_tick = TICK / speed
        self._first: int | None = None
        self._before = 0.0

    def due(self, item: Item) -> NDArray[np.float64]:
        """Due times of a batch, never falling; lines of one tick are spread evenly over it."""
        if not isinstance(item, Acquisitions | Waveforms):
            return np.array([self._before])
        stamps = item.head["acquisition_time_stamp" if isinstance(item, Acquisitions) else "time_stamp"]
        if self._first is None:
            self._first = int(stamps[0])
            if not stamps.any():
                raise DataError("the lines carry no time stamps; play them at --speed max")
        ticks = stamps.astype(np.float64) - self._first
        starts = np.flatnonzero(np.diff(ticks, prepend=-np.inf))
        counts = np.diff(starts, append=len(ticks))
        ticks += (np.arange(len(ticks)) - np.repeat(starts, counts)) / np.repeat(counts, counts)
        due: NDArray[np.float64] = np.maximum.accumulate(np.maximum(ticks * self._seconds_per_tick, self._before))
        self._before = float(due[-1])
        return due


def parse_speed(text: str) -> float:
    """The factor that `max`, `realtime` or a number stand for; 0 for `max`.

    Raises:
        ValueError: where it is none of these.
    """
    if text in ("max", "realtime"):
        return 0.0 if text == "max" else 1.0
    factor = float(text)
    if not 0 < factor < float("inf"):
        raise ValueError("a speed is max, realtime, or a factor above 0")
    return factor


def in_batches(items: Iterable[Item], n_lines: int) -> Iterator[Item]:
    """The same items with batches cut to `n_lines` lines at most; 0 leaves them as they are."""
    for item in items:
        if n_lines and isinstance(item, Acquisitions):
            yield from (item[start : start + n_lines] for start in range(0, len(item), n_lines))
        else:
            yield item
