"""What becomes of the memory of arrays that are done: kept for the next ones, where a process asks for that."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
# The most that it takes for any of them.
MOST = 2**31 - 1


def keep_freed(kept: int, mapped_from: int = 0, heaps: int = 0) -> None:
    """Let the next array have the last one's memory: by itself glibc gives arrays of megabytes back at once, and the
    kernel hands them out again page by page, each set to zero.

    Up to `kept` bytes stay at a heap's end, and only arrays of `mapped_from` bytes or more (0: none) are still mapped
    by themselves and given back. Threads share `heaps` heaps (0: as many as glibc likes), as what one of them keeps is
    of no use to the others. It is a setting of the whole process; where the C library knows none, nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, kept)
    if mapped_from:
        mallopt(_M_MMAP_THRESHOLD, mapped_from)
    else:
        mallopt(_M_MMAP_MAX, 0)
    if heaps:
        mallopt(_M_ARENA_MAX, heaps)
