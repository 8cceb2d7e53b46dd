"""Reads a command's environment and files, for the pure descriptions of command lines."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

#: The server does not read a larger response file. The command line is then "unknown" and runs on the submit host.
_RESPONSE_FILE_BYTES = 4 * 1024 * 1024


class Environment(Mapping[bytes, bytes]):
    """``NAME=value`` entries as a mapping. Entries are parsed only when a name is looked up."""

    def __init__(self, entries: tuple[bytes, ...]) -> None:
        self._entries = entries

    def __getitem__(self, name: bytes) -> bytes:
        start = name + b"="
        for entry in self._entries:
            if entry.startswith(start):
                return entry[len(start) :]
        raise KeyError(name)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (entry.partition(b"=")[0] for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def real_path(path: bytes) -> bytes:
    """The same as os.path.realpath, but for an existing directory with one system call instead of one for each part."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(path)
    try:
        real = os.readlink(b"/proc/self/fd/%d" % fd)
        if real.startswith(b"/") and not real.endswith(b" (deleted)"):
            return real
    except OSError:
        pass  # no /proc
    finally:
        os.close(fd)
    return os.path.realpath(path)


def read_response_file(path: bytes) -> bytes | None:
    """The contents of a plain file of reasonable size, else None. A fifo's bytes must be left for the command."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > _RESPONSE_FILE_BYTES:
            return None
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read()
    except OSError:
        return None
    finally:
        os.close(fd)
