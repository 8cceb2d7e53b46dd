"""The recorder: the files that a command and its processes have read, and the names that they looked for in vain.

``libspraycc-recorder.so`` (spraycc/native/recorder/) is preloaded into the command. Every process of the command maps
one file and writes each access there at once, so the record outlives any end of a process. The layout is that of
spraycc/native/recorder/recorder.h, in the host's byte order:

====================  =====================================================================================
0, 64 bytes           magic, position, flags, pending, and 4 numbers of the library's, 64 bits each
64, 48 bytes each     262,144 records: a stamp (spraycc/stamps.py) and a mark (see below)
12,582,976, 32 MiB    for each record, in the same order, the lookup and a NUL
====================  =====================================================================================

The high half of ``position`` counts records, the low half the bytes of the lookups. A flag says that something is
missing. ``pending`` counts programs that were executed and have not loaded the library. The executor writes 1 for the
command; each program takes 1 away. So a program that the recorder can't see (a static one, for instance) leaves another
number than 0.

A mark is a sum: 1 for a whole record, 2 for the command's product, 4 if the command had the file's contents. With 2,
the 4 says that the old contents may be a part of the product, as after an append.

The kind of a product's stamp says where the name leads now. This decides which later reads are of products:

- kind 2: a new directory. Everything below it is a product, too.
- kind 4: a symbolic link, or a directory that had another name. Reads through this name are of other files.
- kind 5: another file, or none. If the inode is not 0, a directory moved from this name to the name in the record with
  this number (counted from 1). So if everything below this name was a product, everything below the other name is.
- kind 0: the same file as before.

The command does not see the two variables that the recorder needs. The library removes them from the environment, and
passes them to the programs that the command executes (spraycc/native/recorder/environment.c).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc import stamps
from spraycc.executor.box import program_directories
from spraycc.stamps import Lookup, Stamp
from spraycc.system.preload import PRELOAD, can_name

#: Name of the library, in ``lib/spraycc`` beside the directory of the programs.
LIBRARY_NAME = "libspraycc-recorder.so"
#: The library maps the file that this variable names.
VARIABLE = b"SPRAYCC_RECORD"

MAGIC = 0x3130524343595053
RECORD_COUNT = 262_144
TEXT_BYTES = 32 * 1024 * 1024
#: magic, position, flags, pending
HEADER = struct.Struct("=QQQq32x")
RECORD = struct.Struct(f"={stamps.STAMP_BYTES}sQ")
TEXT_START = HEADER.size + RECORD_COUNT * RECORD.size
FILE_BYTES = TEXT_START + TEXT_BYTES
#: Marks of a record.
DONE = 1
WRITTEN = 2
OPENED = 4

_LOW_HALF = 0xFFFFFFFF
_EMPTY = HEADER.pack(MAGIC, 0, 0, 1)


@dataclass(frozen=True, slots=True)
class Accesses:
    """The files and names that a command accessed."""

    #: False if the command may have read more files than those in ``entries``.
    complete: bool
    #: In order, only the first access of each lookup: lookup, stamp, and True if the command made, replaced or removed
    #: the file. Such a file is the command's own product: the stamp means nothing, and later reads are left out.
    entries: list[tuple[Lookup, Stamp, bool]]
    #: the lookups by which the command had a file's contents, and not only its state
    opened: frozenset[Lookup] = frozenset()
    #: the paths of files whose old contents may be a part of what the command wrote: it did not empty the file first
    kept: frozenset[bytes] = frozenset()


class RecordFile:
    """The file that a command's processes share. The executor owns it and uses it for one task after another."""

    def __init__(self, path: bytes) -> None:
        """Make the file, which must not exist, on a local file system to which the command can write.

        Raises:
            OSError: the disk is full, or the directory can't be written.
        """
        self.path = path
        self._fd = -1
        self._make()

    def _make(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._fd, FILE_BYTES)
            # The rest are holes. The library checks each page for room before it writes, except the header's page.
            os.posix_fallocate(self._fd, 0, mmap.PAGESIZE)
            os.pwrite(self._fd, _EMPTY, 0)
        except OSError:
            self.close()
            raise

    def reset(self) -> None:
        """Forget everything, for the next task.

        Makes a new file in place of the old one. A process that an earlier task left behind keeps the old file. So this
        process neither writes into the next task's record nor dies of SIGBUS.
        """
        self.close()
        self._make()

    def close(self) -> None:
        """Remove the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def read(self) -> Accesses:
        """The records since the file was made or reset. The command's processes should have ended.

        The command can write into the file. So an invalid file gives incomplete reads, and no error.
        """
        header = os.pread(self._fd, HEADER.size, 0)
        if len(header) < HEADER.size:
            return Accesses(False, [])
        position = HEADER.unpack(header)[1]
        records = os.pread(self._fd, min(position >> 32, RECORD_COUNT) * RECORD.size, HEADER.size)
        texts = os.pread(self._fd, min(position & _LOW_HALF, TEXT_BYTES), TEXT_START)
        return parse(header, records, texts)


def parse(header: bytes, records: bytes, texts: bytes) -> Accesses:
    """The meaning of a file's three parts. Records and texts need only be as long as the header says."""
    magic, position, flags, pending = HEADER.unpack(header)
    lookups = texts.split(b"\0")
    lookups.pop()  # behind the last NUL
    count = position >> 32
    complete = (
        magic == MAGIC
        and flags == 0
        and pending == 0
        and count * RECORD.size == len(records)
        and position & _LOW_HALF == len(texts)
        and count == len(lookups)
    )
    entries: dict[Lookup, tuple[Lookup, Stamp, bool]] = {}
    opened: set[Lookup] = set()
    kept: set[bytes] = set()
    products = _Products()
    names = products.names
    # A few thousand records are usual, so the common case calls no function.
    for index in _untidy(texts):
        lookups[index] = _tidy(lookups[index])
    for lookup, (stamp, mark) in zip(lookups, RECORD.iter_unpack(records), strict=False):
        if mark & ~OPENED == DONE:
            if mark != DONE:
                opened.add(lookup)
            known = entries.get(lookup)
            if known is not None and not known[2]:
                continue
            if (lookup[1:] not in names and not products.has_trees) or not products.cover(lookup):
                entries[lookup] = (lookup, stamp, False)
        elif mark & ~OPENED == DONE | WRITTEN:
            name_now, number = stamps.LAYOUT.unpack(stamp)[:2]
            if mark & OPENED and not products.cover(lookup):
                kept.add(lookup[1:])
            if 0 < number <= len(lookups):
                products.move(lookup[1:], lookups[number - 1][1:])
            products.add(lookup[1:], name_now)
            if lookup not in entries:
                entries[lookup] = (lookup, stamps.MISSING, True)
        else:
            # A process was killed while it wrote this record. The lookups after this one may belong to other records.
            complete = False
            break
    return Accesses(complete, list(entries.values()), frozenset(opened), frozenset(kept))


def _untidy(texts: bytes) -> set[int]:
    """The indices of lookups whose path is not tidy. One search through all texts is much faster than many."""
    found: set[int] = set()
    for idle in (b"//", b"/./", b"/\0", b"/.\0"):
        index = counted = 0
        at = texts.find(idle)
        while at >= 0 and (end := texts.find(b"\0", at)) >= 0:
            index += texts.count(b"\0", counted, at)
            counted = at
            found.add(index)
            at = texts.find(idle, end)
    return found


def _tidy(lookup: Lookup) -> Lookup:
    """The lookup with a tidy path. With a slash at its end, a path follows the last symbolic link, too."""
    path = stamps.tidy(lookup[1:])
    if len(path) + 1 == len(lookup):
        return lookup
    follows = lookup.startswith(stamps.LINK) and lookup.endswith((b"/", b"/."))
    return (stamps.FILE if follows else lookup[:1]) + path


# Where the name of a product leads now: the kinds in the text above.
_AS_BEFORE, _TREE, _ELSEWHERE, _ANOTHER = 0, 2, 4, 5


class _Products:
    """The names that the command has made, replaced or removed so far, by the texts of their paths."""

    def __init__(self) -> None:
        #: where each name leads now
        self.names: dict[bytes, int] = {}
        self.has_trees = False

    def add(self, path: bytes, name_now: int) -> None:
        if name_now == _AS_BEFORE:
            self.names.setdefault(path, _ANOTHER)
        else:
            self.names[path] = name_now
            self.has_trees |= name_now == _TREE

    def move(self, path: bytes, to: bytes) -> None:
        """A directory has moved from this path to the other."""
        if self.names.get(path) == _TREE or (path not in self.names and self._is_below_tree(path)):
            self.names[to] = _TREE
            start = path + b"/"
            below = [(name, now) for name, now in self.names.items() if name.startswith(start)]
            self.names.update((to + b"/" + name.removeprefix(start), now) for name, now in below)

    def cover(self, lookup: Lookup) -> bool:
        """Whether the lookup leads to products only."""
        path = lookup[1:]
        name_now = self.names.get(path)
        if name_now is not None:
            return name_now != _ELSEWHERE or lookup.startswith(stamps.LINK)
        return self._is_below_tree(path)

    def _is_below_tree(self, path: bytes) -> bool:
        """Whether the nearest product above the path is a tree, by the text. ``..`` may lead out of a tree."""
        while self.has_trees and (slash := path.rfind(b"/")) > 0 and not path.endswith(b"/.."):
            path = path[:slash]
            name_now = self.names.get(path)
            if name_now is not None:
                return name_now == _TREE
        return False


def environment(env: Sequence[bytes], library: bytes, path: bytes) -> tuple[bytes, ...]:
    """The environment (``NAME=value`` entries) with which a command is recorded in the file ``path``.

    The library removes exactly these additions: the first entry, and its own path, which comes first in LDPRELOAD. So
    the command gets ``env`` byte for byte.
    """
    first = [VARIABLE + b"=" + path]
    if not any(entry.startswith(PRELOAD) for entry in env):
        first.append(PRELOAD + library)
    ours = PRELOAD + library + b":"
    changed = [ours + entry[len(PRELOAD) :] if entry.startswith(PRELOAD) else entry for entry in env]
    return (*first, *changed)


def find_recorder() -> bytes | None:
    """Path of the library: ``SPRAYCC_RECORDER``, else in ``lib/spraycc`` of the installation. None if missing."""
    named = os.environ.get("SPRAYCC_RECORDER")
    above = [*map(os.path.dirname, program_directories()), sysconfig.get_path("data")]
    places = [named] if named else [os.path.join(directory, "lib", "spraycc", LIBRARY_NAME) for directory in above]
    for place in places:
        path = os.fsencode(os.path.abspath(place))
        if os.path.isfile(path) and os.access(path, os.R_OK) and can_name(path):
            return path
    return None
