"""Scans into HDF5 files that ISMRMRD's own tools read: lines are gathered and written in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .acquisitions import Acquisitions
from .errors import DataError
from .hdf5 import ACQUISITION_ROW, WAVEFORM_ROW, replacing, storage_errors
from .waveforms import Waveforms

CHUNK_ROWS = 128
BLOCK_BYTES = 4 << 20


def write_acquisitions(
    path: Path, header_xml: bytes | str, items: Iterable[Acquisitions | Waveforms], group: str = "dataset"
) -> None:
    """Write a scan: its header, its lines in their order, and its waveforms. The file is replaced.

    After an error what was written stays beside it as `<name>.partial`.

    Raises:
        StorageError: where the file cannot be written.
        DataError: where a line's header says another shape than its data has.
    """
    with replacing(path) as file:
        with storage_errors(path, "written"):
            found = file.create_group(group)
            write_header(found, header_xml)
            lines = LineRows(found)
        for item in items:
            with storage_errors(path, "written"):
                lines.write(item)
        with storage_errors(path, "written"):
            lines.flush()


class LineRows:
    """The lines and waveforms of a group, written in blocks."""

    def __init__(self, group: h5py.Group) -> None:
        self._lines = _Rows(group, "data", ACQUISITION_ROW)
        self._waveforms = _Rows(group, "waveforms", WAVEFORM_ROW)

    def write(self, item: Acquisitions | Waveforms) -> None:
        """Append a batch of either.

        Raises:
            DataError: where a line's header says another shape than its data has.
        """
        if isinstance(item, Waveforms):
            self._waveforms.append(item.head, data=item.data)
        else:
            _check(item)
            samples = np.ascontiguousarray(item.data, "<c8").view("<f4")
            self._lines.append(item.head, data=samples, traj=item.trajectory)

    def flush(self) -> None:
        """Write what was gathered."""
        self._lines.flush()
        self._waveforms.flush()


def write_header(group: h5py.Group, xml: bytes | str) -> None:
    """Put MRD header XML into `group`."""
    dataset = group.create_dataset("xml", (1,), h5py.vlen_dtype(bytes), maxshape=(1,))
    dataset[0] = xml.encode() if isinstance(xml, str) else xml


def _check(lines: Acquisitions) -> None:
    if lines.readout_in_image_space:
        raise DataError("lines whose readout is in image space cannot be stored; write them before the transform")
    lines.check()


class _Rows:
    """A dataset of rows that grows; small batches are gathered until they fill a block."""

    def __init__(self, group: h5py.Group, name: str, dtype: np.dtype) -> None:
        self._group = group
        self._name = name
        self._dtype = dtype
        self._held: list[NDArray[np.void]] = []
        self._held_bytes = 0

    def append(self, head: NDArray[np.void], **values: NDArray[Any] | None) -> None:
        rows = np.empty(len(head), self._dtype)
        rows["head"] = head
        for name, array in values.items():
            rows[name] = np.fromiter(_flat(array, len(head)), object, len(head))
            self._held_bytes += 0 if array is None else array.nbytes
        self._held.append(rows)
        if self._held_bytes >= BLOCK_BYTES or len(self._held) >= CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._held:
            return
        rows = np.concatenate(self._held)
        dataset = self._group.get(self._name)
        if dataset is None:
            dataset = self._group.create_dataset(self._name, (0,), self._dtype, maxshape=(None,), chunks=(CHUNK_ROWS,))
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows
        self._held, self._held_bytes = [], 0


def _flat(array: NDArray[Any] | None, n_rows: int) -> Iterator[NDArray[Any]]:
    """The values of each row, of any number."""
    if array is None:
        return iter([np.zeros(0, np.float32)] * n_rows)
    return iter(array.reshape(n_rows, -1))
