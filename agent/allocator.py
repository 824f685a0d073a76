"""How the C library keeps freed memory: a daemon that holds images and networks gives it back."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
_MAPPED_BYTES = 1 << 20
_KEPT_BYTES = 4 << 20
_ARENAS = 2


def return_freed_memory() -> bool:
    """Have large blocks mapped one by one and the heap trimmed, for all threads; whether the C library took it.

    By default glibc raises its limit for mapped blocks to the largest that was ever freed, keeps what lies below it,
    and gives each thread a heap of its own.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MAPPED_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, _ARENAS))
    taken = [mallopt(parameter, value) == 1 for parameter, value in wanted]
    return all(taken)
