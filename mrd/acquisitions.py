"""A batch of readouts of one shape: what flows through the first part of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .flags import Flag, has_flag
from .records import ACQUISITION_HEADER, VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Acquisitions:
    """n >= 1 readouts (lines) of one shape, in the order in which they were acquired.

    Arrays may be read-only, strided and unaligned views of the bytes that arrived; `aligned` gives samples fit for
    arithmetic. Gadgets do not write into what they were given.
    """

    head: NDArray[np.void]
    """ISMRMRD acquisition headers. Shape (line,), dtype ACQUISITION_HEADER."""

    data: NDArray[np.complex64]
    """Samples. Shape (line, channel, sample)."""

    trajectory: NDArray[np.float32] | None = None
    """k-space positions in units of the scanner's. Shape (line, sample, dim), or None."""

    readout_in_image_space: bool = False
    """Whether the sample axis has been Fourier transformed already and runs along x, centred."""

    def __len__(self) -> int:
        return len(self.head)

    def __getitem__(self, index: slice | NDArray[Any] | int) -> Acquisitions:
        """The lines that `index` picks; an integer gives a batch of that one line."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        trajectory = None if self.trajectory is None else self.trajectory[index]
        return Acquisitions(self.head[index], self.data[index], trajectory, self.readout_in_image_space)

    def __iter__(self) -> Iterator[Acquisitions]:
        """Batches of one line each."""
        return (self[index] for index in range(len(self)))

    @property
    def n_channels(self) -> int:
        return int(self.data.shape[1])

    @property
    def n_samples(self) -> int:
        return int(self.data.shape[2])

    def has(self, flag: Flag) -> NDArray[np.bool_]:
        """Which lines carry any of the bits of `flag`. Shape (line,)."""
        return has_flag(self.head["flags"], flag)

    def aligned(self) -> NDArray[np.complex64]:
        """The samples as a contiguous, aligned array; copied only where they are not. Shape (line, channel, sample)."""
        if self.data.flags.c_contiguous and self.data.flags.aligned:
            return self.data
        return np.array(self.data, order="C")

    def check(self) -> None:
        """See that each header counts what its line has, as whoever writes lines must.

        Raises:
            DataError: where one does not.
        """
        n_dims = 0 if self.trajectory is None else self.trajectory.shape[2]
        counts = {"active_channels": self.n_channels, "number_of_samples": self.n_samples}
        for name, count in (counts | {"trajectory_dimensions": n_dims}).items():
            wrong = self.head[name] != count
            if wrong.any():
                said = int(self.head[name][wrong.argmax()])
                raise DataError(f"the header of a line says {name} = {said}, but the line has {count}")

    def with_data(self, data: NDArray[np.complex64], *, readout_in_image_space: bool | None = None) -> Acquisitions:
        """The same lines with other samples; the headers' counts follow the new shape."""
        head = self.head
        if data.shape[1:] != self.data.shape[1:]:
            head = head.copy()
            head["active_channels"] = data.shape[1]
            head["available_channels"] = np.maximum(head["available_channels"], data.shape[1])
            head["number_of_samples"] = data.shape[2]
        space = self.readout_in_image_space if readout_in_image_space is None else readout_in_image_space
        return replace(self, head=head, data=data, readout_in_image_space=space)


def acquisition_headers(n_lines: int, n_channels: int, n_samples: int) -> NDArray[np.void]:
    """Headers for `n_lines` lines of one shape, all else zero. Shape (line,)."""
    head = np.zeros(n_lines, ACQUISITION_HEADER)
    head["version"] = VERSION
    head["number_of_samples"] = n_samples
    head["available_channels"] = head["active_channels"] = n_channels
    return head
