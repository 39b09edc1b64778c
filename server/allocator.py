"""How the C library's allocator treats large buffers that come and go."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT = 32 << 20  # the most that glibc takes from its heap
KEPT_FREE = 128 << 20


def keep_freed_buffers() -> None:
    """Let glibc keep the memory of freed buffers for the next ones of their size.

    Messages and batches are a megabyte each, thousands a second. By default their pages go back to the system every
    time, and clearing new ones costs more than the copy into them. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT)
    mallopt(_M_TRIM_THRESHOLD, KEPT_FREE)
