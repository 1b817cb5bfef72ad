"""Memory that a step has freed is kept for the next step. No torch here: the command line calls it early."""

from __future__ import annotations

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's parameters, in glibc."""

LARGEST = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let the allocator of this process keep what is freed, whatever its size; whether it does.

    glibc gives every block of more than 32 MiB back to the system and takes it anew, page by page: a
    feature map of 128 x 64 x 32 x 32 floats is too large by a hair, and a ReLU of it then takes several
    times as long. In return the process may hold twice the memory that a step needs. Other allocators are
    left as they are.

    It concerns the whole process, so it is the command line that calls it, not the trainer.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018
        return bool(libc.mallopt(MMAP_THRESHOLD, LARGEST) and libc.mallopt(TRIM_THRESHOLD, LARGEST))
    except (AttributeError, OSError, TypeError):
        return False
