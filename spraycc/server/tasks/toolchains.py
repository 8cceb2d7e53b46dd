"""The compiler, and for some command lines the CPU, that an executor's host must have like the submit host."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import trio

from spraycc.model import BuildId, Command, Description, Kind
from spraycc.server.tasks.command_files import environment_of
from spraycc.system.threads import run_in_thread
from spraycc.system.toolchain import CPU, Identity, identity

#: Kinds whose outputs depend on the compiler's version.
_COMPILED = frozenset({Kind.COMPILE, Kind.DEPENDENCIES, Kind.PREPROCESS, Kind.ASSEMBLE, Kind.PCH})

#: Within a build, the server looks at the program itself for each task, and at the program's parts at most once in this
#: time. Each look stops the event loop, and may take a round trip to a file server.
_LOOK_S = 1.0

#: Names (of programs, or the CPU) and the identity of each on this host.
Identities = tuple[tuple[bytes, str], ...]


@dataclass(slots=True)
class _Known:
    """A program's identity, and when all its files were looked at."""

    identity: Identity
    build: BuildId
    looked_s: float

    def is_current(self, build: BuildId) -> bool:
        now = trio.current_time()
        if build == self.build and now < self.looked_s + _LOOK_S:
            return self.identity.is_current(with_parts=False)
        self.build, self.looked_s = build, now
        return self.identity.is_current()


class Toolchains:
    """Identities of programs, each computed once, and again if a file of the program has changed."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}
        self._lock = trio.Lock()

    async def needed_by(self, command: Command, description: Description, build: BuildId) -> Identities:
        """The programs (or the CPU) that an executor's host must have exactly as this host has them."""
        if description.kind not in _COMPILED:
            return ()
        started = [path for name in description.starts if (path := _path_of(name, command))]
        names = [command.program, *started, *([CPU] if description.native else [])]
        return tuple([(name, await self._identity(name, build)) for name in names])

    async def _identity(self, name: bytes, build: BuildId) -> str:
        known = self._known.get(name)
        if known is None or not known.is_current(build):
            self._known.pop(name, None)  # tasks that ask meanwhile must wait for the new identity
            async with self._lock:  # many tasks ask at once when a build begins
                known = self._known.get(name)
                if known is None:
                    now = trio.current_time()
                    known = self._known[name] = _Known(await run_in_thread(identity, name), build, now)
        return known.identity.text


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
    """``TaskArrived.needs`` for these identities: tasks with the same text have the same needs.

    The text has the identities, too: after an upgrade of this host, executors that lacked the old compiler may be fit.
    """
    return "\n".join(f"{os.fsdecode(name)}\n{text}" for name, text in same)
