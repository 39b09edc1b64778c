"""The state of a training on disk, so that it can be gone on with as if it had never stopped."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch

from echotrain.mrd.errors import DataError, StorageError

FILE = "checkpoint.pt"


class Checkpoint(NamedTuple):
    """All that the next step depends on; chance comes from (seed, step), so it has no state."""

    step: int
    """Steps done."""

    plan: dict[str, Any]
    """What was asked for, in plain values."""

    network: dict[str, Any]
    optimizer: dict[str, Any]
    ranges: dict[str, tuple[float, float]]
    """Least and most of each figure of the scans that were learnt from."""

    minutes: float
    """Spent so far."""

    adversary: dict[str, Any] | None = None
    """The state of the one against banding, where there is one."""


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint, which takes the place of the one before only once it is whole.

    Raises:
        StorageError: where it cannot be written.
    """
    partial = folder / f"{FILE}.partial"
    try:
        torch.save(checkpoint._asdict(), partial)
        partial.replace(folder / FILE)
    except (OSError, RuntimeError) as reason:
        raise StorageError(f"checkpoint {folder / FILE} cannot be written: {reason}") from reason


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint of a folder; nothing but tensors and plain values is taken from it.

    Raises:
        StorageError: where there is none.
        DataError: where it is damaged, or of another program.
    """
    path = folder / FILE
    if not path.is_file():
        raise StorageError(f"there is no {path} to resume from; start without --resume")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, TypeError, EOFError, KeyError, pickle.UnpicklingError) as reason:
        raise DataError(f"{path} is not a whole checkpoint of a training: {reason}") from reason
