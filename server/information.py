"""Answers to queries about the server."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from echotrain import __version__
from echotrain.mrd import Query, Response

# The version of Gadgetron that clients may take us for, with ours as the build; clients compare its numbers.
GADGETRON_VERSION = f"4.7.2+echotrain.{__version__}"


def answer(key: str) -> str:
    """What is known under `key`, or which keys there are."""
    found = _ANSWERS.get(key)
    return found() if found else f"Unknown query {key[:100]!r}; known: {', '.join(_ANSWERS)}"


def answered(item: Any) -> Any:
    """The answer to a query; any other item as it is."""
    return Response(item.correlation_id, answer(item.key)) if isinstance(item, Query) else item


@functools.cache
def _ismrmrd_version() -> str:
    return version("ismrmrd")  # which is looked for among files


def _info() -> str:
    lines = {
        "Version": GADGETRON_VERSION,
        "System Memory size": f"{_memory() // 2**20} MB",
        "Python Support": "YES",
        "Julia Support": "NO",
        "Matlab Support": "NO",
        "CUDA Support": "YES" if _gpus() else "NO",
    }
    listed = "\n".join(f"  -- {name:<18} : {value}" for name, value in lines.items())
    return f"Echotrain {__version__}, serving as Gadgetron\n{listed}\n"


def _memory() -> int:
    """Physical memory of the machine [bytes]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[Path]:
    """What the driver knows of each GPU; the front has no torch to ask."""
    folder = Path("/proc/driver/nvidia/gpus")
    return sorted(folder.glob("*/information")) if folder.is_dir() else []


def _driver() -> str:
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return "none"


def _gpu_models() -> str:
    return "\n".join(path.read_text().splitlines()[0] for path in _gpus()) or "none"


_ANSWERS: dict[str, Callable[[], str]] = {
    "ismrmrd::version": _ismrmrd_version,
    "gadgetron::version": lambda: GADGETRON_VERSION,
    "gadgetron::build": lambda: f"echotrain {__version__}",
    "gadgetron::info": _info,
    "gadgetron::info::memory": lambda: str(_memory()),
    "gadgetron::info::python": lambda: "1",
    "gadgetron::info::matlab": lambda: "0",
    "gadgetron::info::cuda": lambda: str(int(bool(_gpus()))),
    "gadgetron::cuda::devices": lambda: str(len(_gpus())),
    "gadgetron::cuda::driver": _driver,
    "gadgetron::cuda::runtime": lambda: "that of torch, in each worker",
    "gadgetron::cuda::memory": lambda: "unknown to the door; workers know it",
    "gadgetron::cuda::capabilities": _gpu_models,
}
