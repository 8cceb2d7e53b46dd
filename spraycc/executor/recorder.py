"""The recorder: the files that a command and its processes have read, and the names that they looked for in vain.

``libspraycc-recorder.so`` (spraycc/native/recorder/) is preloaded into the command. Every process of the command maps
one file and writes each access there at once, so the record outlives any end of a process. The layout is that of
spraycc/native/recorder/recorder.h, in the host's byte order:

====================  =====================================================================================
0, 64 bytes           magic, position, flags, pending, and 4 numbers of the library's, 64 bits each
64, 48 bytes each     262,144 records: a stamp (spraycc/stamps.py) and a mark (1: whole, 2: the command's product)
12,582,976, 32 MiB    for each record, in the same order, the lookup and a NUL
====================  =====================================================================================

The high half of ``position`` counts records, the low half the bytes of the lookups. A flag says that something is
missing. ``pending`` counts programs that were executed and have not loaded the library. The executor writes 1 for the
command; each program takes 1 away. So a program that the recorder can't see (a static one, for instance) leaves another
number than 0.

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
import functools
import mmap
import os
import struct
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc import stamps
from spraycc.executor.box import program_directories
from spraycc.stamps import Lookup, Stamp

#: Name of the library, in ``lib/spraycc`` beside the directory of the programs.
LIBRARY_NAME = "libspraycc-recorder.so"
#: The library maps the file that this variable names.
VARIABLE = b"SPRAYCC_RECORD"
_PRELOAD = b"LD_PRELOAD="

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

_LOW_HALF = 0xFFFFFFFF
_EMPTY = HEADER.pack(MAGIC, 0, 0, 1)

#: The loader splits LD_PRELOAD at these, and replaces names after a dollar sign.
_NOT_IN_LD_PRELOAD = b": $\t\n"


@dataclass(frozen=True, slots=True)
class Accesses:
    """The files and names that a command accessed."""

    #: False if the command may have read more files than those in ``entries``.
    complete: bool
    #: In order, only the first access of each lookup: lookup, stamp, and True if the command made, replaced or removed
    #: the file. Such a file is the command's own product: the stamp means nothing, and later reads are left out.
    entries: list[tuple[Lookup, Stamp, bool]]


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
    products = _Products()
    names = products.names
    # A few thousand records are usual, so the common case calls no function.
    for index in _untidy(texts):
        lookups[index] = _tidy(lookups[index])
    for lookup, (stamp, mark) in zip(lookups, RECORD.iter_unpack(records), strict=False):
        if mark == DONE:
            known = entries.get(lookup)
            if known is not None and not known[2]:
                continue
            if (lookup[1:] not in names and not products.has_trees) or not products.cover(lookup):
                entries[lookup] = (lookup, stamp, False)
        elif mark == DONE | WRITTEN:
            name_now, number = stamps.LAYOUT.unpack(stamp)[:2]
            if 0 < number <= len(lookups):
                products.move(lookup[1:], lookups[number - 1][1:])
            products.add(lookup[1:], name_now)
            if lookup not in entries:
                entries[lookup] = (lookup, stamps.MISSING, True)
        else:
            # A process was killed while it wrote this record. The lookups after this one may belong to other records.
            complete = False
            break
    return Accesses(complete, list(entries.values()))


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

    The library removes exactly these additions: the first entry, and its own path, which comes first in LD_PRELOAD. So
    the command gets ``env`` byte for byte.
    """
    first = [VARIABLE + b"=" + path]
    if not any(entry.startswith(_PRELOAD) for entry in env):
        first.append(_PRELOAD + library)
    ours = _PRELOAD + library + b":"
    changed = [ours + entry[len(_PRELOAD) :] if entry.startswith(_PRELOAD) else entry for entry in env]
    return (*first, *changed)


def find_recorder() -> bytes | None:
    """Path of the library: ``SPRAYCC_RECORDER``, else in ``lib/spraycc`` of the installation. None if missing."""
    named = os.environ.get("SPRAYCC_RECORDER")
    above = [*map(os.path.dirname, program_directories()), sysconfig.get_path("data")]
    places = [named] if named else [os.path.join(directory, "lib", "spraycc", LIBRARY_NAME) for directory in above]
    for place in places:
        path = os.fsencode(os.path.abspath(place))
        if os.path.isfile(path) and os.access(path, os.R_OK) and not set(path) & set(_NOT_IN_LD_PRELOAD):
            return path
    return None


_ELF_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5
_MOST_HEADER_BYTES = 4096
#: A script's interpreter may be a script. Linux allows one more.
_MOST_SCRIPTS = 4
_SET_ID = 0o6000
#: Libraries that end a program if another preloaded library comes before them (AddressSanitizer's).
_COME_FIRST = (b"libasan.so", b"libhwasan.so", b"libclang_rt.asan", b"libclang_rt.hwasan")
_could_preload: dict[tuple[bytes, int, int], bool] = {}


def can_preload(program: bytes, env: Sequence[bytes] = ()) -> bool:
    """Whether this program loads a preloaded library of this interpreter's kind, and behaves as without the library.

    True for an ELF program of the same class, byte order and machine that glibc's loader starts, and for a script of
    such a program. The loader complains on the program's stderr about a library of another class, and a static program
    loads nothing. A setuid or setgid program takes no library from its user. AddressSanitizer's library ends the
    program if another library comes before it. spraycc/native/preload/program.c decides the same for the programs
    that a command executes.
    """
    if any(entry.startswith(_PRELOAD) and _comes_first(entry) for entry in env):
        return False
    return _can_preload(program, _MOST_SCRIPTS)


def _comes_first(names: bytes) -> bool:
    return any(name in names for name in _COME_FIRST)


def _can_preload(program: bytes, scripts: int) -> bool:
    try:
        status = os.stat(program)
        key = (program, status.st_mtime_ns, status.st_size)
        if key in _could_preload:
            return _could_preload[key]
        if status.st_mode & _SET_ID:
            return False
        with open(program, "rb", buffering=0) as file:
            head = file.read(_MOST_HEADER_BYTES)
            if head.startswith(b"#!"):
                words = head[2:].split(b"\n", 1)[0].split(None, 1)
                return scripts > 0 and bool(words) and _can_preload(words[0], scripts - 1)
            answer = (head[:6], head[18:20]) == _our_identity() and _loads(head, file.fileno())
    except (OSError, struct.error):
        return False
    _could_preload[key] = answer
    return answer


@functools.cache
def _our_identity() -> tuple[bytes, bytes] | None:
    """This interpreter's class and byte order, and its machine."""
    with open("/proc/self/exe", "rb", buffering=0) as file:
        head = file.read(20)
    return (head[:6], head[18:20]) if head.startswith(_ELF_MAGIC) and len(head) == 20 else None


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def _loads(head: bytes, fd: int) -> bool:
    """Whether glibc's loader starts the program, and no library that the program names must come first.

    Elf32_Ehdr, Elf64_Ehdr and so on: elf(5).
    """
    is_64 = head[4] == 2
    order = "<" if head[5] == 1 else ">"
    # e_phoff, e_phentsize, e_phnum
    table, size, count = struct.unpack_from(order + ("32xQ14xHH" if is_64 else "28xI10xHH"), head)
    headers = os.pread(fd, min(size * count, _MOST_HEADER_BYTES), table)
    # p_type, p_offset, p_vaddr, p_filesz
    layout = order + ("I4xQQ8xQ" if is_64 else "III4xI")
    segments = [
        _Segment(*struct.unpack_from(layout, headers, start))
        for start in range(0, len(headers) - size + 1, size or 1)
    ]  # fmt: skip
    loaders = [segment for segment in segments if segment.kind == _PT_INTERP]
    if not loaders:
        return False
    path = os.pread(fd, min(loaders[-1].size, _MOST_HEADER_BYTES), loaders[-1].offset).rstrip(b"\0")
    if not os.path.basename(path).startswith((b"ld-linux", b"ld64.so", b"ld.so.1")):
        return False
    return not any(_comes_first(name) for name in _needed(fd, segments, order + ("QQ" if is_64 else "II")))


def _needed(fd: int, segments: Sequence[_Segment], layout: str) -> list[bytes]:
    """The first bytes of the names of the libraries that the program itself needs: enough for ``_COME_FIRST``."""
    entries: list[tuple[int, int]] = []
    for segment in segments:
        if segment.kind == _PT_DYNAMIC:
            size = struct.calcsize(layout)
            data = os.pread(fd, min(segment.size, _MOST_HEADER_BYTES), segment.offset)
            entries += struct.iter_unpack(layout, data[: len(data) // size * size])
    texts = 0
    for tag, value in entries:
        for segment in segments:
            if tag == _DT_STRTAB and segment.kind == _PT_LOAD and 0 <= value - segment.address < segment.size:
                texts = value - segment.address + segment.offset
    return [os.pread(fd, 32, texts + value) for tag, value in entries if tag == _DT_NEEDED]
