"""The layout of MRD data in HDF5 files, and how such files are opened and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import DataError, EchotrainError, StorageError, nearest
from .records import ACQUISITION_HEADER, WAVEFORM_HEADER

_FLOATS = h5py.vlen_dtype(np.dtype("<f4"))

ACQUISITION_ROW = np.dtype([("head", ACQUISITION_HEADER), ("traj", _FLOATS), ("data", _FLOATS)])
WAVEFORM_ROW = np.dtype([("head", WAVEFORM_HEADER), ("data", h5py.vlen_dtype(np.dtype("<u4")))])

# Complex pixels are stored as pairs, since HDF5 of old has no complex numbers.
PIXELS: dict[np.dtype, np.dtype] = {
    np.dtype("<c8"): np.dtype([("real", "<f4"), ("imag", "<f4")]),
    np.dtype("<c16"): np.dtype([("real", "<f8"), ("imag", "<f8")]),
}


def headers(raw: NDArray[np.void], wanted: np.dtype) -> NDArray[np.void]:
    """Headers as they came from a file, in a contiguous array of dtype `wanted`; fields go by their order."""
    found: NDArray[np.void] = np.zeros(raw.shape, wanted)
    found[...] = raw
    return found


def groups(path: Path) -> list[str]:
    """Names of the groups of a file, each a scan or a set of images, in the order of their names.

    Raises:
        StorageError: where there is no such file, or it is not HDF5.
    """
    with open_file(path) as file:
        return group_names(file)


def group_names(file: h5py.File) -> list[str]:
    """Names of the groups that `file` holds."""
    return [name for name, member in file.items() if isinstance(member, h5py.Group)]


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """`path` opened for reading.

    Raises:
        StorageError: where there is no such file, or it is not HDF5, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        readable = h5py.is_hdf5(path)
        file = h5py.File(path, "r") if readable else None
    except OSError as reason:
        raise StorageError(f"{path} cannot be opened: {reason}") from reason
    if file is None:
        with path.open("rb") as plain:
            opening = plain.read(8)
        raise StorageError(f"{path} is not an HDF5 file: it begins with {opening!r}")
    with _damage(path), file:
        yield file


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What reading `path` raises, errors of ours aside, as StorageError: a bit that turned can raise anything."""
    try:
        yield
    except EchotrainError:
        raise
    except Exception as reason:
        raise StorageError(f"{path} cannot be read, so may be damaged: {type(reason).__name__}: {reason}") from reason


@contextmanager
def open_group(path: Path, group: str) -> Iterator[h5py.Group]:
    """Group `group` of `path`, for reading.

    Raises:
        StorageError: as `open_file`.
        DataError: where the file has no such group.
    """
    with open_file(path) as file:
        found = file.get(group)
        if not isinstance(found, h5py.Group):
            hint = nearest(group, group_names(file)) or "it has no groups at all"
            raise DataError(f"{path} has no group {group!r}; {hint}")
        yield found


@contextmanager
def replacing(path: Path) -> Iterator[h5py.File]:
    """A new file that takes the place of `path` at the end.

    After an error what was written stays beside it as `<name>.partial`, and a note on the error says so.

    Raises:
        StorageError: where the file cannot be made or put in its place.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with storage_errors(path, "written"):
        file = h5py.File(partial, "w")
    try:
        yield file
        with storage_errors(path, "written"):
            file.close()
            partial.replace(path)
    except BaseException as error:
        if file and not len(file):
            file.close()
            partial.unlink()
        else:
            file.close()
            error.add_note(f"what was written until then is in {partial}")
        raise


@contextmanager
def storage_errors(path: Path, done: str) -> Iterator[None]:
    """Errors of the HDF5 library within as StorageError; `done` says what was to be done to `path`."""
    try:
        yield
    except (OSError, RuntimeError) as reason:
        raise StorageError(f"{path} cannot be {done}: {reason}") from reason
