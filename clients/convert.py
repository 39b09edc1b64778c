"""Raw data of other formats into ISMRMRD HDF5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py

from echotrain.mrd.errors import DataError, StorageError

from . import siemens

# What is known, by the end of the file's name: what it is, and what converts it.
FORMATS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    ".dat": ("Siemens raw data (twix)", siemens.convert),
}


def convert(source: Path, target: Path) -> None:
    """Write `source` as ISMRMRD HDF5 to `target`, which is replaced.

    Raises:
        StorageError: where a file cannot be read or written.
        DataError: where the format is not known, or the file is not what its name says.
    """
    source = Path(source)
    if not source.is_file():
        raise StorageError(f"there is no file {source}")
    known = FORMATS.get(source.suffix.lower())
    if known is None:
        names = ", ".join(f"*{suffix}: {name}" for suffix, (name, _) in FORMATS.items())
        what = "an HDF5 file; ISMRMRD files need no conversion" if h5py.is_hdf5(source) else "of no known format"
        raise DataError(f"{source} is {what}; what can be converted: {names}")
    known[1](source, Path(target))
