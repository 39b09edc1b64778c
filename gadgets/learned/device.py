"""What networks run on, and words where its memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from echotrain.mrd.errors import DataError


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def enough_memory(network: str, shape: Sequence[int]) -> Iterator[None]:
    """Run a network on something of `shape` within.

    Raises:
        DataError: where memory does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "tried to allocate" not in str(error).lower():
            raise
        raise DataError(
            f"memory does not suffice for {network} on data of the shape {' x '.join(map(str, shape))}; take a smaller "
            "network, fewer channels, or a server with more memory"
        ) from error
