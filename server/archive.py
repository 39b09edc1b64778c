"""A session as one ISMRMRD HDF5 file, which outlives its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from echotrain.mrd import Item
from echotrain.mrd.errors import DataError
from echotrain.mrd.hdf5_session import write_session

from .folder import SessionFolder
from .log_reader import LogReader

_NOTES = ("session.json", "chain.xml", "events.jsonl")


def archive_session(folder: SessionFolder, path: Path) -> dict[str, int]:
    """Write a session that does not run into `path`, which is replaced, and say what it holds, as `write_session` does.

    `torn_bytes` are those of a record at the end of either log that was cut off; they are left out.

    Raises:
        StorageError: where the file cannot be written, or is not whole.
        DataError: where the session holds what has no place in such a file, or nothing was received.
        StreamError: where a log is not an MRD stream.
        OSError: where the session cannot be read.
    """
    if not folder.input.exists():
        raise DataError(f"session {folder.id} has no input to archive")
    torn: list[int] = []
    notes = {name: (folder.path / name).read_bytes() for name in _NOTES if (folder.path / name).exists()}
    counts = write_session(
        path, folder.header.read_bytes(), _items(folder.input, torn), _items(folder.output, torn), notes
    )
    return {**counts, "torn_bytes": sum(torn)}


def _items(log: Path, torn: list[int]) -> Iterator[Item]:
    """The whole items of a log, if it is there."""
    if not log.exists():
        return
    with contextlib.closing(LogReader(log)) as reader:
        size = reader.size()
        yield from reader.read(size)
        torn.append(0 if reader.closed else size - reader.position)
