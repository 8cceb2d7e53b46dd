"""The file system client's cache on this host: read it without asking the file server, or refresh a part of it.

An NFS client answers stat(2) and open(2) from its cache for up to a minute. statx(2) has two flags:
``AT_STATX_DONT_SYNC`` returns the state in the cache, ``AT_STATX_FORCE_SYNC`` asks the file server (one GETATTR). After
a forced statx of a directory the client looks up all its names anew; after a forced statx of a file, it reads the
contents anew.
Measured on NFSv3 and NFSv4.2, Linux 6.1: docs/explanation/nfs.md. Local file systems ignore both flags.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Any

from spraycc.stamps import FILE, LINK, Lookup, Stamp, is_regular, look, of_error, of_status

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_FORCE_SYNC = 0x2000
_DONT_SYNC = 0x4000
#: STATX_BASIC_STATS
_MASK = 0x7FF
#: struct statx in <linux/stat.h>: the mode, then inode and size, then seconds and nanoseconds of ctime and mtime
_BUFFER_BYTES = 256
_MODE = struct.Struct("=28xH")
_NUMBERS = struct.Struct("=32xQQ48xqI4xqI")
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

#: None if the C library has no statx(2) (glibc before 2.28)
_statx: Any = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def cached(lookup: Lookup) -> Stamp:
    """The stamp in this host's cache. Asks the file server only for names that are not in the cache."""
    return _look(lookup, _DONT_SYNC)


def as_opened(lookup: Lookup) -> Stamp:
    """The stamp that a program on this host meets. The name may come from the cache, but the file's state does not.

    open(2) asks the file server for a file's attributes (close-to-open), but stat(2) believes the cache. So a compiler
    may read a newer header than the header that stat(2) describes, and only an open file gives the stamp of what the
    compiler reads. If NFSv4 has delegated the file to this host, an open sends no request, but a forced statx does.
    """
    stamp = cached(lookup) if lookup[:1] == FILE else _look(lookup, 0)
    if not is_regular(stamp):
        return stamp
    try:
        fd = os.open(lookup[1:], _OPEN_FLAGS)
    except OSError:
        return _look(lookup, _FORCE_SYNC)  # mostly a file that we may not read
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return of_status(lookup, found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _look(lookup: Lookup, flags: int) -> Stamp:
    if _statx is None:
        return look(lookup)
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    if lookup[:1] == LINK:
        flags |= _AT_SYMLINK_NOFOLLOW
    if _statx(_AT_FDCWD, lookup[1:], flags, _MASK, buffer):
        return of_error(ctypes.get_errno())
    (mode,) = _MODE.unpack_from(buffer)
    inode, size, ctime_s, ctime_ns, mtime_s, mtime_ns = _NUMBERS.unpack_from(buffer)
    return of_status(lookup, mode, inode, size, mtime_s * 10**9 + mtime_ns, ctime_s * 10**9 + ctime_ns)


def refresh(paths: Iterable[bytes]) -> None:
    """Ask the file server for the attributes of these files and directories, in turn. Never raises OSError."""
    if _statx is None:
        for path in paths:
            # Opening refreshes as well (close-to-open), at the price of a CLOSE on NFSv4.
            with contextlib.suppress(OSError):
                os.close(os.open(path, _OPEN_FLAGS))
        return
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    for path in paths:
        _statx(_AT_FDCWD, path, _FORCE_SYNC, _MASK, buffer)
