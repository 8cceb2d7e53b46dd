"""Keeps the C library from returning memory to the kernel when the process needs that memory again at once."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# <malloc.h> of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_PIECE_BYTES = 4 * 1024 * 1024


def keep_freed_memory(at_most_bytes: int) -> None:
    """Keep freed memory up to this size in the process. Does nothing if the C library is not glibc.

    By default glibc maps each block of 128 KiB or more anew, or shrinks the heap when the block is freed. The pieces
    in which files travel are such blocks. The kernel's zeroing of their pages costs ten times as much as the copying.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, min(_PIECE_BYTES, at_most_bytes))
        mallopt(_M_TRIM_THRESHOLD, at_most_bytes)
