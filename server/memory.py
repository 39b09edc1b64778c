"""How much memory a session may take and takes, by what Linux tells in /proc."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def default_bound() -> int:
    """Three quarters of the machine's memory, or of what this process's control group may have if less [bytes]."""
    return 3 * min(_bounds()) // 4


def limit_own_memory(n_bytes: int) -> None:
    """Let this process, and those that it starts, take at most `n_bytes` beyond what it has; 0 for no bound.

    Only private writable memory counts, not mapped logs nor reserved addresses. What asks for more is refused: NumPy
    raises a MemoryError and torch a RuntimeError.
    """
    if n_bytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = _fields(_PROC / "self" / "status").get("VmData", 0) + n_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard < 0 else min(soft, hard), hard))


def end_before_others() -> None:
    """Make this process the first that a system ends which is out of memory, and not the server."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text("500")


def is_memory_error(error: BaseException | None) -> bool:
    """Whether memory was refused, as NumPy, Python or torch say it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # as a gadget may raise an error from itself
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        seen.add(id(error))
        error = error.__cause__
    return False


def group_memory(group: int, bound: int) -> int:
    """The memory of a group of processes [bytes], exact only where it is beyond `bound`.

    Mapped files are not counted. What processes share, as after a fork, is divided among them only when the bound is in
    question, since the system takes long to tell.
    """
    members = _groups(int(time.monotonic())).get(group, ())
    whole = sum(_sum(_PROC / str(process) / "status", "RssAnon", "RssShmem", "VmSwap") for process in members)
    if whole <= bound:
        return whole
    return sum(_sum(_PROC / str(process) / "smaps_rollup", "Pss_Anon", "Pss_Shmem", "SwapPss") for process in members)


def _bounds() -> Iterator[int]:
    yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            _, controller, path = line.split(":", 2)
            if controller in ("", "memory"):  # of the second version, or of the first
                folder = Path("/sys/fs/cgroup", controller, path.lstrip("/"))
                for file in (place / name for place in (folder, *folder.parents) for name in _LIMITS):
                    with contextlib.suppress(OSError, ValueError):  # it may say `max`
                        yield int(file.read_text())


_LIMITS = ("memory.max", "memory.limit_in_bytes")


@functools.lru_cache(1)
def _groups(_second: int) -> dict[int, list[int]]:
    """The processes of each group; looked up once a second, however many sessions there are."""
    groups: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                stat = (folder / "stat").read_text(errors="replace")
                groups.setdefault(int(stat.rpartition(")")[2].split()[2]), []).append(int(folder.name))
    return groups


def _sum(path: Path, *names: str) -> int:
    fields = _fields(path)
    return sum(fields.get(name, 0) for name in names)


def _fields(path: Path) -> dict[str, int]:
    """The sizes in a file of /proc [bytes]; none where its process has ended."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: 1024 * int(size.split()[0]) for name, _, size in pairs if size.endswith(" kB")}
