"""Reads a command's environment and files, for the pure descriptions of command lines."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import cached_property, lru_cache

from spraycc.jobserver.makeflags import without_jobserver_in

#: The server remembers this many environments, the latest, if none of them is larger than this. The tasks of a build
#: have a few environments: one for each directory in which a make runs.
_ENVIRONMENTS = 64
_ENVIRONMENT_BYTES = 128 * 1024
#: The server does not read a larger response file. The command line is then "unknown" and runs on the submit host.
_RESPONSE_FILE_BYTES = 4 * 1024 * 1024


class Environment:
    """The environment of a command, from its ``NAME=value`` entries. Each part is made when it is first needed."""

    def __init__(self, entries: tuple[bytes, ...]) -> None:
        self._entries = entries

    @cached_property
    def variables(self) -> Mapping[bytes, bytes]:
        """The values by name. Of several entries with the same name the first one counts."""
        parts = (entry.partition(b"=") for entry in reversed(self._entries))
        return {name: value for name, equals, value in parts if equals}

    @cached_property
    def remote(self) -> tuple[bytes, ...]:
        """The entries without the variables of the build on the submit host: its jobserver's and SprayCC's own."""
        return without_jobserver_in(tuple([entry for entry in self._entries if not entry.startswith(b"SPRAYCC_")]))


def environment_of(entries: tuple[bytes, ...]) -> Environment:
    """The environment with these entries. Equal environments share one object, so each is examined once."""
    if sum(map(len, entries)) > _ENVIRONMENT_BYTES:
        return Environment(entries)
    return _remembered(entries)


_remembered = lru_cache(_ENVIRONMENTS)(Environment)


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
    plain = b"/" + os.path.normpath(path).lstrip(b"/")
    # /dev/fd/3 would be the server's own descriptor. Only /dev/shm has files of users.
    if plain.startswith((b"/dev/", b"/proc/")) and not plain.startswith(b"/dev/shm/"):
        return None
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
