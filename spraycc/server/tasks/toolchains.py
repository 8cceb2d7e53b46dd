"""The compiler, and for some command lines the CPU, that an executor's host must have like the submit host."""

from __future__ import annotations

import os

import trio

from spraycc.model import Command, Description, Kind
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
        names = (command.program, CPU) if description.native else (command.program,)
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
