"""NumPy arrays as torch tensors over the same memory, and back, so that numerical functions take either."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", NDArray[Any], Tensor)

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
