"""Keeps the C library from returning memory to the kernel that is needed again at once."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# <malloc.h> of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_PIECE_BYTES = 4 * 1024 * 1024


def keep_freed_memory(at_most_bytes: int) -> None:
    """Keep freed memory up to this size in the process. Does nothing if the C library is not glibc.

    By default glibc maps each block of 128 KiB or more afresh, or shrinks the heap after it. The pieces in which files
    travel are such blocks, and having the kernel zero the pages again cost ten times what their copying did.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, min(_PIECE_BYTES, at_most_bytes))
        mallopt(_M_TRIM_THRESHOLD, at_most_bytes)
