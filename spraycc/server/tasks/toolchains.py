"""The compiler, and for some command lines the CPU, that an executor's host must have like the submit host."""

from __future__ import annotations

import os
import shutil

import trio

from spraycc.model import Command, Description, Kind
from spraycc.server.tasks.command_files import environment_of
from spraycc.system.threads import run_in_thread
from spraycc.system.toolchain import CPU, identity

#: Kinds whose outputs depend on the compiler's version.
_COMPILED = frozenset({Kind.COMPILE, Kind.DEPENDENCIES, Kind.PREPROCESS, Kind.ASSEMBLE, Kind.PCH})

#: Names (of programs, or the CPU) and the identity of each on this host.
Identities = tuple[tuple[bytes, str], ...]


class Toolchains:
    """Identities of programs, each computed once, and again if the program's file has changed."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[object, str]] = {}
        self._lock = trio.Lock()

    async def needed_by(self, command: Command, description: Description) -> Identities:
        """The programs (or the CPU) that an executor's host must have exactly as this host has them."""
        if description.kind not in _COMPILED:
            return ()
        started = [path for name in description.starts if (path := _path_of(name, command))]
        names = [command.program, *started, *([CPU] if description.native else [])]
        return tuple([(name, await self._identity(name)) for name in names])

    async def _identity(self, name: bytes) -> str:
        stamp = _stamp(name)
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            async with self._lock:  # many tasks ask at once when a build begins
                known = self._known.get(name)
                if known is None or known[0] != stamp:
                    known = self._known[name] = (stamp, await run_in_thread(identity, name))
        return known[1]


def _path_of(name: bytes, command: Command) -> bytes | None:
    """The file of a program that the command starts. A directory stands for the gcc in it."""
    path = os.path.join(command.cwd, name)
    if os.path.isdir(path):
        return os.path.join(path, b"gcc")
    if b"/" in name:
        return path
    found = shutil.which(os.fsdecode(name), path=os.fsdecode(environment_of(command.env).variables.get(b"PATH", b"")))
    return os.fsencode(found) if found and os.path.isabs(found) else None


def needs_of(same: Identities) -> str:
    """``TaskArrived.needs`` for these identities: tasks with the same text have the same needs."""
    return "\n".join(os.fsdecode(name) for name, _ in same)


def _stamp(name: bytes) -> object:
    if name == CPU:
        return None
    try:
        status = os.stat(name)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
