"""Stamps: a file's state as one host sees it, in a form that two hosts can compare.

A *lookup* is one byte for the kind of access, then an absolute path exactly as the program wrote it. Symbolic links
and ``..`` stay in the path. A *stamp* is the result of a lookup. The inode, the size and both times of an NFS file come
from the file server. So all up-to-date NFS clients get equal stamps, and a client with an old cache gets an old stamp.

The native recorder (spraycc/native/recorder/) writes the same two values, so the layout is fixed: five 64-bit numbers
in the host's byte order. The submit host and the executors' hosts have the same byte order, as they run the same
compilers.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct

#: The first byte of a lookup.
FILE = b"f"  #: follow all symbolic links, as open(2) and stat(2) do
NAMES = b"n"  #: follow all symbolic links; the stamp changes when a name in the directory is made, removed or replaced
LINK = b"l"  #: do not follow the last symbolic link, as lstat(2) and readlink(2) do
#: Lookups of files that each host has on its own disks: inodes and times may differ, and mean nothing.
CONTENTS = b"c"  #: follow all symbolic links; the stamp changes with the contents only
EXISTS = b"e"  #: follow all symbolic links; the stamp tells only files, directories and missing names apart
#: Lookups of permissions. The recorder writes them only if a call was denied.
READ = b"r"  #: the user may read the file
WRITE = b"w"  #: the user may write the file, or make it
EXECUTE = b"x"  #: the user may execute the file, or search the directory
CHANGE = b"d"  #: the user may make and remove this name

#: Kinds that are compared on each host's own disks, and kinds of permissions.
OWN = frozenset((CONTENTS, EXISTS))
PERMISSIONS = frozenset((READ, WRITE, EXECUTE, CHANGE))
#: All kinds of lookups.
KINDS = frozenset((FILE, NAMES, LINK)) | OWN | PERMISSIONS

Lookup = bytes
Stamp = bytes

#: Components that do nothing: empty, or a dot.
_IDLE = re.compile(rb"(?:/\.?)+(?=/|\Z)")

#: kind, inode, size, modification time, change time (times in ns)
LAYOUT = struct.Struct("=QQQqq")
#: kind, size, digest
_CONTENTS_LAYOUT = struct.Struct("=QQ24s")
DIGEST_BYTES = 24
STAMP_BYTES = LAYOUT.size
_AFTER_INODE = struct.calcsize("=QQ")

# The kinds. Numbers that the kind does not need are 0.
_MISSING = 0  #: no such file (ENOENT or ENOTDIR)
_REGULAR = 1  #: a regular file: all numbers
_DIRECTORY = 2  #: a directory, no numbers: its contents are a lookup of their own
_NAMES = 3  #: a directory's contents: inode and times
_LINK = 4  #: a symbolic link: all numbers
_OTHER = 5  #: a fifo, a socket or a device: no numbers
_ERROR = 6  #: the lookup failed: the inode is the errno
_CONTENTS = 7  #: a regular file's contents: size and digest

#: The stamp of a name that does not exist.
MISSING: Stamp = bytes(STAMP_BYTES)
#: The stamp of a special file, and of a permission that the user has.
ALLOWED: Stamp = LAYOUT.pack(_OTHER, 0, 0, 0, 0)
#: The stamp of a permission that the user does not have.
DENIED: Stamp = LAYOUT.pack(_ERROR, errno.EACCES, 0, 0, 0)


def tidy(path: bytes) -> bytes:
    """The absolute path without components that do nothing, and without a slash at its end. ``..`` stays."""
    if b"//" not in path and b"/./" not in path and not path.endswith((b"/", b"/.")):
        return path
    return _IDLE.sub(b"", path) or b"/"


def look(lookup: Lookup) -> Stamp:
    """The stamp that this host sees now. May wait for the file server. Never raises OSError."""
    path = lookup[1:]
    try:
        status = os.lstat(path) if lookup[:1] == LINK else os.stat(path)
    except OSError as exc:
        return of_error(exc.errno or errno.EIO)
    return of_status(lookup, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def of_error(number: int) -> Stamp:
    """The stamp of a lookup that failed with this errno."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        return MISSING
    return LAYOUT.pack(_ERROR, number, 0, 0, 0)


def of_status(lookup: Lookup, mode: int, inode: int, size_bytes: int, mtime_ns: int, ctime_ns: int) -> Stamp:
    """The stamp for this lookup, from the result of stat(2) or lstat(2)."""
    if stat.S_ISREG(mode):
        return LAYOUT.pack(_REGULAR, inode, size_bytes, mtime_ns, ctime_ns)
    if stat.S_ISLNK(mode):
        return LAYOUT.pack(_LINK, inode, size_bytes, mtime_ns, ctime_ns)
    if not stat.S_ISDIR(mode):
        return ALLOWED
    if lookup[:1] == NAMES:
        return LAYOUT.pack(_NAMES, inode, 0, mtime_ns, ctime_ns)
    return LAYOUT.pack(_DIRECTORY, 0, 0, 0, 0)


def of_contents(size_bytes: int, digest: bytes) -> Stamp:
    """The stamp of a regular file's contents."""
    return _CONTENTS_LAYOUT.pack(_CONTENTS, size_bytes, digest)


def of_existence(stamp: Stamp) -> Stamp:
    """The stamp for EXISTS, from the stamp for FILE."""
    kind = LAYOUT.unpack(stamp)[0]
    return stamp if kind in (_MISSING, _ERROR) else LAYOUT.pack(kind, 0, 0, 0, 0)


def is_contents(stamp: Stamp) -> bool:
    """Whether this is the stamp of a regular file's contents."""
    return bool(LAYOUT.unpack(stamp)[0] == _CONTENTS)


def is_same_state(stamp: Stamp, other: Stamp) -> bool:
    """Whether both are of a regular file with the same size and times."""
    return is_regular(stamp) and is_regular(other) and stamp[_AFTER_INODE:] == other[_AFTER_INODE:]


def is_regular(stamp: Stamp) -> bool:
    """Whether this is the stamp of a regular file."""
    return bool(LAYOUT.unpack(stamp)[0] == _REGULAR)


def is_failure(stamp: Stamp) -> bool:
    """Whether the lookup found no file, or failed."""
    return LAYOUT.unpack(stamp)[0] in (_MISSING, _ERROR)


def describe(stamp: Stamp) -> str:
    """The stamp in words, for messages: "missing", "file, inode 5, 12 bytes, modified 1700000000.123, changed …"."""
    kind, inode, size, mtime_ns, ctime_ns = LAYOUT.unpack(stamp)
    if kind == _REGULAR and not (inode or mtime_ns or ctime_ns):
        return "file"
    names = {_REGULAR: "file", _LINK: "symbolic link", _NAMES: "directory"}
    if kind in names:
        length = "" if kind == _NAMES else f"{size} bytes, "
        times = f"modified {_seconds(mtime_ns)}, changed {_seconds(ctime_ns)}"
        return f"{names[kind]}, inode {inode}, {length}{times}"
    if kind == _ERROR:
        return os.strerror(inode)
    if kind == _CONTENTS:
        size, digest = _CONTENTS_LAYOUT.unpack(stamp)[1:]
        return f"{size} bytes with the digest {digest.hex()[:12]}"
    return {_MISSING: "missing", _DIRECTORY: "directory"}.get(kind, "special file")


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"
