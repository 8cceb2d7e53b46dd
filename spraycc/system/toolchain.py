"""Identities of programs and of the CPU: texts that are equal on two hosts if both behave the same.

The submit host and each executor compute them once for each program, and again if a file of the program has changed.
:func:`identity` starts processes: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

#: The name that stands for the CPU among the names of programs.
CPU = b"cpu"
#: A program that does not end within this time has no version text.
_TIMEOUT_S = 20.0
#: Programs that GCC's driver starts. Clang's driver starts the assembler if Clang has no integrated assembler.
_PARTS = ("cc1", "cc1plus", "as")
#: gfortran starts this one, too. It does not count for gcc: hosts without Fortran can compile C.
_FORTRAN_PART = "f951"
#: Directories in which a driver looks for names without a directory.
_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Files other than ELF files (scripts around a compiler) are read as a whole up to this size.
_SCRIPT_BYTES = 1024 * 1024
_NT_GNU_BUILD_ID = 3
_PT_NOTE = 4
#: Keys of /proc/cpuinfo that decide which code runs well. All other keys change with time or with the core.
_CPU_KEYS = re.compile(
    rb"^(?:vendor_id|cpu family|model|model name|cpu|machine|platform|isa|uarch|flags|cache size|Features"
    rb"|CPU (?:implementer|architecture|variant|part|revision))\s*:.*$",
    re.M,
)


#: Tells a file from another file in its place: device, inode, size, modification and change time. None: no file.
_State = tuple[int, int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class Identity:
    """A program or the CPU, as the examination found it."""

    #: Two lines: a line to show to the user, and a line to compare.
    text: str
    #: the files that were examined, each with its state before that; the program itself is the first
    files: tuple[tuple[str, _State], ...] = ()

    def is_current(self, *, with_parts: bool = True) -> bool:
        """True if no file has changed since the examination: the program, and ``with_parts`` the programs it starts.

        Takes some microseconds for each file.
        """
        return all(_state(path) == state for path, state in (self.files if with_parts else self.files[:1]))


def identity(name: bytes) -> Identity:
    """The identity of the program with this absolute path, or of :data:`CPU`. Never raises."""
    return Identity(cpu_identity()) if name == CPU else _program_identity(os.fsdecode(name))


def shown(text: str) -> str:
    """The part of an identity's text to show to the user."""
    return text.partition("\n")[0]


def _program_identity(path: str) -> Identity:
    """A compiler's identity: its version's first line, and a digest of the version, the program and its parts."""
    # A file's state is read before the file. So if the file changes meanwhile, the identity is not current.
    files = [(path, _state(path))]
    version = _output_of(path, "--version")
    facts = [version, _file(path)]
    for part in (*_PARTS, _FORTRAN_PART) if version.startswith("GNU Fortran") else _PARTS:
        places = _places(_output_of(path, f"-print-prog-name={part}").strip())
        files += [(place, _state(place)) for place in places]
        facts.append(_file(places[-1]) if places else "")
    first = version.strip().partition("\n")[0].strip()
    return Identity(f"{first or 'no version'}\n{_digest(facts)}", tuple(files))


def _places(name: str) -> list[str]:
    """The place of a driver's part. Before it, the places where another file would come first."""
    if os.path.isabs(name):
        return [name]
    found = shutil.which(name, path=_PATH) if name else None
    if not found:
        return []
    places = [os.path.join(directory, name) for directory in _PATH.split(os.pathsep)]
    return [*places[: places.index(found)], found] if found in places else [found]


def _state(path: str) -> _State:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def cpu_identity(cpuinfo: bytes | None = None) -> str:
    """The identity of this host's CPUs, which may be of several kinds."""
    if cpuinfo is None:
        try:
            with open("/proc/cpuinfo", "rb") as file:
                cpuinfo = file.read()
        except OSError:
            cpuinfo = b""
    kinds = sorted({"\n".join(line.decode("ascii", "replace") for line in _CPU_KEYS.findall(block))
                    for block in cpuinfo.split(b"\n\n")} - {""})  # fmt: skip
    model = re.search(r"^(?:model name|cpu|uarch)\s*: *(.+)$", kinds[0], re.M) if kinds else None
    return f"{model[1] if model else os.uname().machine}\n{_digest([os.uname().machine, *kinds])}"


def _digest(facts: list[str]) -> str:
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _output_of(path: str, option: str) -> str:
    """The program's output. This process's environment and working directory have no influence."""
    try:
        done = subprocess.run(
            [path, option], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
            env={"PATH": _PATH, "LC_ALL": "C"}, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _file(path: str) -> str:
    """A file's size with its build id, or else a digest of its contents, or else its modification time."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            head = file.read(_SCRIPT_BYTES)
    except OSError as exc:
        return f"{exc.strerror}"
    mark = build_id(head) if head.startswith(b"\x7fELF") else b""
    if mark:
        return f"{status.st_size} {mark.hex()}"
    if status.st_size <= len(head):
        return f"{status.st_size} {hashlib.sha256(head).hexdigest()}"
    return f"{status.st_size} {status.st_mtime_ns}"


def build_id(image: bytes) -> bytes:
    """The build id in the first bytes of an ELF file (elf(5)); empty if the file has none, or is damaged."""
    try:
        for offset, size, align in _note_segments(image):
            notes = image[offset : offset + size]
            at = 0
            while at + 12 <= len(notes):
                order = "<" if image[5] == 1 else ">"
                name_size, body_size, kind = struct.unpack_from(order + "3I", notes, at)
                name = notes[at + 12 : at + 12 + name_size]
                body = at + 12 + -(-name_size // align) * align
                if kind == _NT_GNU_BUILD_ID and name == b"GNU\0":
                    return notes[body : body + body_size]
                at = body + -(-body_size // align) * align
    except (struct.error, IndexError, OverflowError):
        pass
    return b""


def _note_segments(image: bytes) -> Iterator[tuple[int, int, int]]:
    """(offset, size, alignment) of each PT_NOTE."""
    wide, order = image[4] == 2, "<" if image[5] == 1 else ">"
    table = struct.unpack_from(order + ("Q" if wide else "I"), image, 32 if wide else 28)[0]
    entry_size, count = struct.unpack_from(order + "2H", image, 54 if wide else 42)
    for index in range(count):
        at = table + index * entry_size
        if struct.unpack_from(order + "I", image, at)[0] != _PT_NOTE:
            continue
        form = order + ("Q" if wide else "I")
        # p_offset, p_filesz and p_align
        places = (at + 8, at + 32, at + 48) if wide else (at + 4, at + 16, at + 28)
        offset, size, align = (struct.unpack_from(form, image, place)[0] for place in places)
        yield offset, size, 8 if align == 8 else 4
