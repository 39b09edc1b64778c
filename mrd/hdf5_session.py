"""A whole session in one HDF5 file: what was received, what was made of it, and the texts that tell of it.

Group `dataset` is laid out as ISMRMRD's own tools read it: header, lines and waveforms that were received, images that
were made. Images that were received are in group `input`, lines and waveforms that were made in `output`.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py

from .acquisitions import Acquisitions
from .decode import Item
from .errors import DataError, StorageError
from .hdf5 import open_file, storage_errors
from .hdf5_images import ImageRows
from .hdf5_write import LineRows, write_header
from .image import Image
from .text import Array, Dicom, Text
from .waveforms import Waveforms


def write_session(
    path: Path, header_xml: bytes, received: Iterable[Item], made: Iterable[Item], notes: Mapping[str, bytes]
) -> dict[str, int]:
    """Write a session, check that all of it is there, and put the file in the place of `path`, for its owner alone.

    `notes` are stored by their names in group `session`, with the texts among the items. What is counted is given
    by `GROUP/KIND`, as `dataset/images`. After an error nothing is left.

    Raises:
        StorageError: where the file cannot be written, or does not hold what was written.
        DataError: where there is what has no place in such a file, as arrays and DICOM files.
    """
    path = Path(path)
    with storage_errors(path, "written"):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
    partial = Path(name)
    try:
        with storage_errors(path, "written"), h5py.File(partial, "w") as file:
            write_header(file.create_group("dataset"), header_xml)
            counts: Counter[str] = Counter()
            texts = [
                *_write(file, received, counts, lines_in="dataset", images_in="input"),
                *_write(file, made, counts, lines_in="output", images_in="dataset"),
            ]
            told = file.create_group("session")
            for note, content in notes.items():
                told.create_dataset(note, data=content.replace(b"\0", b""), dtype=h5py.string_dtype())
            told.create_dataset("texts", data=texts, shape=(len(texts),), dtype=h5py.string_dtype())
        if (stored := _stored(partial)) != counts:
            raise StorageError(f"{path} was written with {dict(counts)}, but holds {dict(stored)}; its disk may be bad")
        with storage_errors(path, "written"):
            _to_disk(partial)
            partial.replace(path)
            _to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    return dict(counts)


def _write(
    file: h5py.File, items: Iterable[Item], counts: Counter[str], *, lines_in: str, images_in: str
) -> list[bytes]:
    """Write lines, waveforms and images where they belong; gives the texts among the items."""
    lines: LineRows | None = None
    images: ImageRows | None = None
    texts = []
    for item in items:
        if isinstance(item, Acquisitions | Waveforms):
            lines = lines or LineRows(file.require_group(lines_in))
            lines.write(item)
            counts[f"{lines_in}/{'lines' if isinstance(item, Acquisitions) else 'waveforms'}"] += len(item)
        elif isinstance(item, Image):
            images = images or ImageRows(file.require_group(images_in))
            images.write(item)
            counts[f"{images_in}/images"] += 1
        elif isinstance(item, Array | Dicom):
            raise DataError(f"a session with {type(item).__name__} items has no place in an ISMRMRD file")
        elif isinstance(item, Text):
            texts.append(item.text.replace("\0", "").encode("utf-8", "backslashreplace"))
    if lines:
        lines.flush()
    return texts


def _stored(path: Path) -> Counter[str]:
    """How much a file holds, counted as it was written."""
    counts: Counter[str] = Counter()
    with open_file(path) as file:
        for name in ("dataset", "input", "output"):
            for member, found in file.get(name, {}).items():
                if member in ("data", "waveforms"):
                    counts[f"{name}/{'lines' if member == 'data' else 'waveforms'}"] += len(found)
                elif member != "xml":
                    counts[f"{name}/images"] += len(found["header"])
    return counts


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a loss of power."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
