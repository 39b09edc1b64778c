"""NumPy arrays as torch tensors over the same memory, and back, so that numerical functions take either."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", NDArray[Any], Tensor)
One = TypeVar("One")
Other = TypeVar("Other")

N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_tensor(array: NDArray[Any] | Tensor) -> Tensor:
    """`array` as a contiguous tensor; copied only where it is read-only, unaligned or strided, which torch refuses."""
    if isinstance(array, Tensor):
        return array.contiguous()
    # A single record of a log counts as contiguous whatever its stride, but torch looks at the stride.
    flat = np.require(array, requirements=("C", "A", "W")).reshape(-1)
    return torch.from_numpy(flat).reshape(array.shape)


def as_given(tensor: Tensor, given: Array) -> Array:
    """`tensor` as the kind of array that `given` is."""
    return tensor if isinstance(given, Tensor) else tensor.numpy()


_beside = ThreadPoolExecutor(1, "beside")


def side_by_side(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """What two functions give; the other runs in a thread of its own where torch leaves a core free for it.

    Torch's own threads split each small operation and wait for one another, which costs more than it brings here.
    Neither function may call this one.
    """
    if torch.get_num_threads() >= N_CORES:
        return one(), other()
    future = _beside.submit(other)
    try:
        return one(), future.result()
    finally:
        future.cancel()
