"""Noise of receive channels as it was measured, for whitening the lines of the same scan or of later ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Noise of one measurement. It goes through a chain and is kept by the server, but never travels over a wire."""

    covariance: NDArray[np.complex128]
    """E[n n^H] of one sample. Shape (channel, channel)."""

    dwell_us: float
    """Time from sample to sample."""

    n_samples: int
    """Samples that the covariance is from."""

    channel_bits: tuple[int, ...] = ()
    """Bit of each channel in channel_mask; empty where the mask does not tell."""

    coil_names: tuple[str, ...] = ()
    """Name of each channel's coil element; empty where the header does not tell."""

    measurement_id: str = ""
    """By which later scans name it."""

    scanner: str = ""
    """`Header.scanner` of the measurement."""

    time: float = 0.0
    """When it was measured [s since the epoch]; 0 until a server keeps it."""

    @property
    def n_channels(self) -> int:
        return len(self.covariance)

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation of each channel. Shape (channel,)."""
        deviations: NDArray[np.float64] = np.sqrt(self.covariance.diagonal().real)
        return deviations

    def __str__(self) -> str:
        """What a person wants to know of it."""
        return (
            f"{self.n_samples} noise samples of {self.n_channels} channels at a dwell time of {self.dwell_us:g} us; "
            f"standard deviation {self.deviations.min():.3g} to {self.deviations.max():.3g}; "
            f"condition {np.linalg.cond(self.covariance):.3g}"
        )

    def age(self, now: float) -> str:
        """How long before `now` [s since the epoch] it was measured, in words."""
        return in_words(now - self.time)

    def of_channels(self, chosen: Sequence[int]) -> Noise:
        """The noise of the channels at the indices `chosen`, in their order."""
        return replace(
            self,
            covariance=self.covariance[np.ix_(chosen, chosen)],
            channel_bits=tuple(self.channel_bits[index] for index in chosen) if self.channel_bits else (),
            coil_names=tuple(self.coil_names[index] for index in chosen) if self.coil_names else (),
        )


def in_words(seconds: float) -> str:
    """A length of time, in the largest unit of which it has two; nothing less than 0 s."""
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def distinct_names(names: Sequence[str], n_channels: int) -> tuple[str, ...]:
    """`names`, or none where they do not name each of the channels."""
    return tuple(names) if all(names) and len(set(names)) == len(names) == n_channels else ()
