"""LD_PRELOAD: the paths that it can name, and the programs that load a preloaded library (ld.so(8), elf(5))."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PRELOAD = b"LD_PRELOAD="
#: The loader splits LD_PRELOAD at these, and replaces names after a dollar sign.
_NOT_IN_LD_PRELOAD = frozenset(b": $\t\n")

_ELF_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ = 1, 5, 10
_MOST_HEADER_BYTES = 4096
#: A script's interpreter may be a script. Linux allows one more.
_MOST_SCRIPTS = 4
_SET_ID = 0o6000
#: Libraries that end a program if another preloaded library comes before them (AddressSanitizer's).
_COME_FIRST = (b"libasan.so", b"libhwasan.so", b"libclang_rt.asan", b"libclang_rt.hwasan")
_could_preload: dict[tuple[bytes, int, int], bool] = {}


def can_name(library: bytes) -> bool:
    """True if LD_PRELOAD can hold this path."""
    return not _NOT_IN_LD_PRELOAD & set(library)


def can_preload(program: bytes, env: Sequence[bytes] = ()) -> bool:
    """Whether this program loads a preloaded library of this interpreter's kind, and behaves as without the library.

    True for an ELF program of the same class, byte order and machine that glibc's loader starts, and for a script of
    such a program. The loader complains on the program's stderr about a library of another class, and a static program
    loads nothing. A setuid or setgid program takes no library from its user. AddressSanitizer's library ends the
    program if another library comes before it. spraycc/native/preload/program.c decides the same for the programs
    that a command executes.
    """
    if any(entry.startswith(PRELOAD) and _comes_first(entry) for entry in env):
        return False
    return _can_preload(program, _MOST_SCRIPTS)


def obstacle(program: bytes) -> str:
    """Why this ELF program loads no preloaded library; empty if it loads one, or can't be read.

    "set-id": setuid or setgid; "foreign": another class or machine; "static"; "loader": another C library or an old
    glibc, or a library that must come first.
    """
    try:
        if os.stat(program).st_mode & _SET_ID:
            return "set-id"
        with open(program, "rb", buffering=0) as file:
            head = file.read(_MOST_HEADER_BYTES)
            if (head[:6], head[18:20]) != _our_identity():
                return "foreign"
            if _Program(head, file.fileno()).loader() is None and not _is_name_of_loader(program):
                return "static"
    except (OSError, struct.error):
        return ""
    return "" if can_preload(program) else "loader"


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
            answer = (head[:6], head[18:20]) == _our_identity() and _loads(head, file.fileno(), program)
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


@functools.cache
def _our_loader() -> bytes | None:
    with open("/proc/self/exe", "rb", buffering=0) as file:
        return _Program(file.read(_MOST_HEADER_BYTES), file.fileno()).loader()


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


class _Program:
    """The parts of an open ELF file: Elf32_Ehdr, Elf64_Ehdr and so on of elf(5)."""

    def __init__(self, head: bytes, fd: int) -> None:
        self._fd = fd
        is_64 = head[4] == 2
        order = "<" if head[5] == 1 else ">"
        # e_phoff, e_phentsize, e_phnum
        table, size, count = struct.unpack_from(order + ("32xQ14xHH" if is_64 else "28xI10xHH"), head)
        headers = os.pread(fd, min(size * count, _MOST_HEADER_BYTES), table)
        # p_type, p_offset, p_vaddr, p_filesz
        layout = order + ("I4xQQ8xQ" if is_64 else "III4xI")
        self._segments = [
            _Segment(*struct.unpack_from(layout, headers, start))
            for start in range(0, len(headers) - size + 1, size or 1)
        ]  # fmt: skip
        self._entry = order + ("QQ" if is_64 else "II")

    def loader(self) -> bytes | None:
        """The path of the program's loader."""
        loaders = [segment for segment in self._segments if segment.kind == _PT_INTERP]
        if not loaders:
            return None
        return os.pread(self._fd, min(loaders[-1].size, _MOST_HEADER_BYTES), loaders[-1].offset).rstrip(b"\0")

    def needed(self) -> list[bytes]:
        """The first bytes of the names of the libraries that the program itself needs: enough for ``_COME_FIRST``."""
        texts, entries = self._texts()
        return [os.pread(self._fd, 32, texts + value) for tag, value in entries if tag == _DT_NEEDED]

    def texts(self) -> bytes:
        """The names of libraries, symbols and versions."""
        start, entries = self._texts()
        size = next((value for tag, value in entries if tag == _DT_STRSZ), 0)
        return os.pread(self._fd, size, start)

    def _texts(self) -> tuple[int, list[tuple[int, int]]]:
        """The offset of the texts in the file, and the entries of the dynamic segment."""
        entries: list[tuple[int, int]] = []
        for segment in self._segments:
            if segment.kind == _PT_DYNAMIC:
                size = struct.calcsize(self._entry)
                data = os.pread(self._fd, min(segment.size, _MOST_HEADER_BYTES), segment.offset)
                entries += struct.iter_unpack(self._entry, data[: len(data) // size * size])
        texts = 0
        for tag, value in entries:
            for segment in self._segments:
                if tag == _DT_STRTAB and segment.kind == _PT_LOAD and 0 <= value - segment.address < segment.size:
                    texts = value - segment.address + segment.offset
        return texts, entries


def _loads(head: bytes, fd: int, path: bytes) -> bool:
    """Whether a loader of glibc starts the program and can load the library, and no other library must come first."""
    program = _Program(head, fd)
    loader = program.loader()
    if loader is None:
        # The loader may be executed with a program's path as its word.
        return _is_name_of_loader(path) and _is_recent(program)
    if not _is_name_of_loader(loader):
        return False
    if loader != _our_loader():
        with open(loader, "rb", buffering=0) as file:
            if not _is_recent(_Program(file.read(_MOST_HEADER_BYTES), file.fileno())):
                return False
    return not any(map(_comes_first, program.needed()))


def _is_name_of_loader(path: bytes) -> bool:
    return os.path.basename(path).startswith((b"ld-linux", b"ld64.so", b"ld.so.1"))


def _is_recent(loader: _Program) -> bool:
    """Whether this is the loader of glibc 2.35 or later, by its own versions. Older ones may lack dlsym (program.c)."""
    return b"GLIBC_2.35\0" in loader.texts()
