"""Scans out of HDF5 files: lines read in blocks, given as batches of one shape, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .acquisitions import Acquisitions
from .errors import DataError
from .flags import COMPRESSED, has_flag
from .hdf5 import ACQUISITION_ROW, WAVEFORM_ROW, headers, open_group
from .waveforms import Waveforms

BLOCK_BYTES = 2 << 20  # stays near the cache; measured best for rows of 8 KiB between 1 and 4 MiB
MAX_BLOCK_ROWS = 1024


def read_header(path: Path, group: str = "dataset") -> bytes:
    """The MRD header XML of a scan.

    Raises:
        StorageError: where the file is missing or not HDF5.
        DataError: where the group or the header is missing.
    """
    with open_group(path, group) as found:
        xml = found.get("xml")
        if not isinstance(xml, h5py.Dataset) or not xml.size:
            raise DataError(f"{path} has no MRD header: {group}/xml is missing or empty")
        return bytes(np.asarray(xml[()]).reshape(-1)[0])


def count_lines(path: Path, group: str = "dataset") -> int:
    """How many lines a scan has.

    Raises:
        StorageError: where the file is missing or not HDF5.
        DataError: where group or lines are missing.
    """
    with open_group(path, group) as found:
        return len(_rows(found, "data", ACQUISITION_ROW))


def read_items(
    path: Path, group: str = "dataset", *, waveforms: bool = True, batch_bytes: int = BLOCK_BYTES
) -> Iterator[Acquisitions | Waveforms]:
    """The lines of a scan in the order of the file, in batches of one shape of about `batch_bytes` at most.

    A waveform comes before the first line that is later than it, by time stamp.

    Raises:
        StorageError: where the file is missing, not HDF5 or damaged.
        DataError: where group or lines are missing, or a row does not hold what its header says.
    """
    with open_group(path, group) as found:
        lines = _lines(_rows(found, "data", ACQUISITION_ROW), batch_bytes)
        if waveforms and "waveforms" in found:
            yield from _merged(lines, _waveforms(_rows(found, "waveforms", WAVEFORM_ROW), batch_bytes))
        else:
            yield from lines


def _rows(group: h5py.Group, name: str, wanted: np.dtype) -> h5py.Dataset:
    """Dataset `name`, once its layout is known to be that of ISMRMRD."""
    where = f"{group.file.filename}: {group.name}/{name}"
    rows = group.get(name)
    if not isinstance(rows, h5py.Dataset):
        raise DataError(f"{where} is missing; the group holds {', '.join(group) or 'nothing'}")
    if _outline(rows.dtype) != _outline(wanted) or rows.ndim != 1:
        raise DataError(f"{where} is not laid out as ISMRMRD lays it out, but as {rows.dtype} {rows.shape}")
    if rows.chunks and len(rows) > rows.chunks[0] * rows.id.get_num_chunks():
        raise DataError(f"{where} says that it has {len(rows)} rows, but does not hold them; the file is damaged")
    return rows


def _outline(dtype: np.dtype) -> Any:
    """What must agree between the dtypes of two files: names, and element types of what varies in length."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return {name: h5py.check_vlen_dtype(field[0]) or field[0].names for name, field in fields.items()}


def _blocks(rows: h5py.Dataset, block_bytes: int) -> Iterator[tuple[int, NDArray[np.void]]]:
    """Blocks of rows with the number of the first; how many rows fit is judged from the row before."""
    before = rows[:1]
    start = 0
    while start < len(rows):
        row_bytes = rows.dtype.itemsize + before["data"][-1].nbytes
        block = rows[start : start + min(max(block_bytes // row_bytes, 1), MAX_BLOCK_ROWS)]
        yield start, block
        before = block[-1:]
        start += len(block)


def _runs(shape: NDArray[np.int64]) -> Iterator[tuple[slice, tuple[int, ...]]]:
    """Stretches of equal rows of `shape`, each with that row."""
    starts = [0, *(np.flatnonzero((shape[1:] != shape[:-1]).any(axis=1)) + 1).tolist(), len(shape)]
    for start, end in pairwise(starts):
        yield slice(start, end), tuple(shape[start].tolist())


def _shapes(head: NDArray[np.void], *names: str) -> NDArray[np.int64]:
    return np.stack([head[name].astype(np.int64) for name in names], axis=1)


def _check_lengths(rows: h5py.Dataset, start: int, values: NDArray[Any], wanted: NDArray[np.int64], what: str) -> None:
    have = np.fromiter(map(len, values), np.int64, len(values))
    if (have != wanted).any():
        row = int((have != wanted).argmax())
        raise DataError(
            f"row {start + row} of {rows.name} in {rows.file.filename} has {have[row]} {what} values, "
            f"but its header says {wanted[row]}; the file is damaged or was written wrongly"
        )


def _lines(rows: h5py.Dataset, block_bytes: int) -> Iterator[Acquisitions]:
    for start, block in _blocks(rows, block_bytes):
        head = headers(block["head"], ACQUISITION_ROW["head"])
        if has_flag(head["flags"], COMPRESSED).any():
            raise DataError(f"{rows.file.filename}: {rows.name} holds compressed lines, which are not supported")
        shape = _shapes(head, "active_channels", "number_of_samples", "trajectory_dimensions")
        _check_lengths(rows, start, block["data"], 2 * shape[:, 0] * shape[:, 1], "data")
        _check_lengths(rows, start, block["traj"], shape[:, 1] * shape[:, 2], "trajectory")
        for run, (n_channels, n_samples, n_dims) in _runs(shape):
            n = run.stop - run.start
            data = np.concatenate(block["data"][run]).view(np.complex64).reshape(n, n_channels, n_samples)
            trajectory = np.concatenate(block["traj"][run]).reshape(n, n_samples, n_dims) if n_dims else None
            yield Acquisitions(head[run], data, trajectory)


def _waveforms(rows: h5py.Dataset, block_bytes: int) -> Iterator[Waveforms]:
    for start, block in _blocks(rows, block_bytes):
        head = headers(block["head"], WAVEFORM_ROW["head"])
        shape = _shapes(head, "channels", "number_of_samples")
        _check_lengths(rows, start, block["data"], shape[:, 0] * shape[:, 1], "waveform")
        for run, (n_channels, n_samples) in _runs(shape):
            shape_of_run = (run.stop - run.start, n_channels, n_samples)
            yield Waveforms(head[run], np.concatenate(block["data"][run]).reshape(shape_of_run))


def _merged(lines: Iterator[Acquisitions], waveforms: Iterator[Waveforms]) -> Iterator[Acquisitions | Waveforms]:
    """Both in the order of their time stamps; batches are cut where one falls between the other's."""
    waiting = next(waveforms, None)
    for batch in lines:
        stamps = batch.head["acquisition_time_stamp"]
        start = 0
        while waiting is not None:
            later = stamps[start:] > waiting.head["time_stamp"][0]
            if not later.any():
                break
            cut = start + int(later.argmax())
            if cut > start:
                yield batch[start:cut]
            start = cut
            early = np.append(waiting.head["time_stamp"] < stamps[cut], False)
            n_early = int(early.argmin())
            yield Waveforms(waiting.head[:n_early], waiting.data[:n_early])
            waiting = Waveforms(waiting.head[n_early:], waiting.data[n_early:])
            if not len(waiting):
                waiting = next(waveforms, None)
        yield batch[start:]
    if waiting is not None:
        yield waiting
    yield from waveforms
