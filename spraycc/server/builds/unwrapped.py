"""Compilers of a build that run without a runner, so the server gets no task for them: which they are, and why.

The watch reads the host's processes from time to time. It ends with the first compile on an executor, so most builds
cost one reading or none. GCC's drivers start a program for the work (cc1). Other drivers, such as Clang's, may do the
work themselves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from spraycc.commands.interception import LIBRARY_NAME, VARIABLE
from spraycc.commands.names import Family, is_launcher, tool_of
from spraycc.model import BuildId
from spraycc.server.host.process_end import HostProcesses
from spraycc.server.host.process_tree import Process
from spraycc.server.tasks.stats import Figures
from spraycc.system.preload import obstacle

log = logging.getLogger(__name__)

#: Seconds between two readings: at least so many,
SAMPLE_S = 2.0
#: at least this part of the time since the build's start, as a later reading tells less,
_OF_AGE = 0.05
#: and this many times the time of a reading, so the readings use at most 1 % of a CPU.
_PAUSES = 100
#: The programs that GCC's drivers start for a compile, as the kernel names their processes.
_INNER = frozenset([b"cc1", b"cc1plus", b"cc1obj", b"cc1objplus", b"f951"])
#: In a longer chain of processes no cause is searched for.
_MOST_LEVELS = 64
_LIBRARY = os.fsencode(LIBRARY_NAME)


@dataclass(frozen=True, slots=True)
class Program:
    """One process on the way from a compiler up to the build's tool."""

    #: the program's file, without symbolic links
    path: bytes
    #: the first word of the command line
    called: bytes = b""
    #: a runner above has given it a slot
    has_slot: bool = False
    #: the environment switches interception off
    is_off: bool = False
    #: shims are first on PATH
    has_shims: bool = False
    #: LD_PRELOAD names the library
    names_library: bool = False
    #: the library is in the process
    has_library: bool = False
    #: why it loads no library: as ``spraycc.system.preload.obstacle``, or "other-user" if the server may not read it
    obstacle: str = ""
    in_workspace: bool = False


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A compiler without a runner, and what kept the library from it."""

    #: the compiler's path, as it was called if that is absolute
    compiler: bytes
    #: the program that has executed the compiler, or stands above that program
    by: bytes
    #: "switched-off"
    #: "by-path": shims intercept, and see no compiler that is called by its path
    #: "unknown-name"
    #: "static", "foreign", "set-id", "loader", "other-user": ``Program.obstacle`` of the culprit
    #: "workspace": the culprit is in the workspace
    #: "replaced": a program between ``by`` and the compiler had no library, and is gone
    #: "system-call": ``by`` has the library, and executed the compiler without the C library
    #: "": not known
    cause: str
    #: the program that the cause is about
    culprit: bytes

    def as_map(self) -> dict[str, Any]:
        return {
            "compiler": os.fsdecode(self.compiler),
            "by": os.fsdecode(self.by),
            "cause": self.cause,
            "culprit": os.fsdecode(self.culprit),
        }


def unwrapped(chain: Sequence[Program]) -> Unwrapped | None:
    """Say why the first program of ``chain`` has no runner. None if it has one, or is no compiler.

    ``chain`` leads from a compiler's driver up to the build's tool.
    """
    driver, above = chain[0], chain[1:]
    if not above or any(program.has_slot for program in chain) or is_launcher(driver.path):
        return None
    cause, culprit = _cause(driver, above)
    return Unwrapped(driver.called if driver.called.startswith(b"/") else driver.path, above[0].path, cause, culprit)


def _cause(driver: Program, above: Sequence[Program]) -> tuple[str, bytes]:
    """The cause, and the program that it is about."""
    if driver.is_off or above[0].is_off:
        return "switched-off", b""
    levels = [level for level, program in enumerate(above) if program.has_library]
    if not levels and any(program.has_shims for program in above):
        return "by-path", driver.path
    if levels[:1] == [0]:
        name = os.path.basename(driver.called or driver.path)
        if tool_of(name) is None:
            return "unknown-name", name
        return ("system-call", above[0].path) if driver.names_library else ("replaced", above[0].path)
    # The lowest program with the library has executed the culprit.
    culprit = above[levels[0] - 1] if levels else above[0]
    return culprit.obstacle or ("workspace" if culprit.in_workspace else ""), culprit.path


def drivers(processes: Mapping[int, Process], top: int, before: Mapping[int, Process]) -> dict[int, bool]:
    """The compilers' drivers at work below ``top``, with and without runners: process id -> it has started cc1.

    Args:
        processes: all processes of the host.
        top: the build's tool.
        before: the processes at the last reading. A driver that does the work itself counts if it has used CPU since.
            Others may wait, as launchers under a compiler's name do.
    """
    found = {}
    for process in processes.values():
        if process.name in _INNER:
            found[process.parent] = True
        elif _may_work_itself(process.name):
            old = before.get(process.pid)
            if old is not None and old.started == process.started and old.ticks < process.ticks:
                # Clang may start itself for the work.
                parent = processes.get(process.parent)
                pid = parent.pid if parent is not None and parent.name == process.name else process.pid
                found.setdefault(pid, False)
    return {pid: has_inner for pid, has_inner in found.items() if len(path_up(processes, pid, top)) > 1}


def _may_work_itself(name: bytes) -> bool:
    tool = tool_of(name)
    return tool is not None and (tool.is_opaque or Family.CLANG in (tool.family or Family(0)))


def path_up(processes: Mapping[int, Process], pid: int, top: int) -> list[int]:
    """The process ids from ``pid`` up to ``top``; empty if ``pid`` is not below ``top``."""
    path = []
    for _ in range(_MOST_LEVELS):
        path.append(pid)
        if pid == top:
            return path
        if pid not in processes:
            break
        pid = processes[pid].parent
    return []


def read_program(process: Process, workspace: bytes) -> Program | None:
    """The program of a process; None if the process has ended."""
    pid = process.pid
    try:
        path = os.readlink(os.fsencode(f"/proc/{pid}/exe"))
        words, entries = (_read(pid, name).split(b"\0") for name in ("cmdline", "environ"))
        has_library = _LIBRARY in _read(pid, "maps")
    except PermissionError:
        return Program(process.name, obstacle="other-user")
    except OSError:
        return None
    env = {name: value for name, _, value in (entry.partition(b"=") for entry in entries)}
    return Program(
        path,
        words[0],
        has_slot=bool(env.get(b"SPRAYCC_SLOT")),
        is_off=env.get(VARIABLE) == b"",
        has_shims=bool(env.get(b"SPRAYCC_SHIMS")),
        names_library=_LIBRARY in env.get(b"LD_PRELOAD", b""),
        has_library=has_library,
        obstacle=obstacle(path),
        in_workspace=path.startswith(workspace + b"/"),
    )


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


class CompilerWatch:
    """Watches one build for compilers without a runner, in :meth:`run`. Notes the first one in the build's figures."""

    def __init__(
        self,
        build: BuildId,
        figures: Figures,
        workspace: bytes,
        host: HostProcesses | None = None,
        read: Callable[[Process, bytes], Program | None] = read_program,
    ) -> None:
        """
        Args:
            build: the build's id.
            figures: the build's.
            workspace: without symbolic links.
            host: the host's processes; None: those of this host.
            read: in place of :func:`read_program`.
        """
        self._build = build
        self._figures = figures
        self._workspace = workspace
        self._host = host or HostProcesses()
        self._read = read
        self._scope = trio.CancelScope()

    def close(self) -> None:
        """End :meth:`run`."""
        self._scope.cancel()

    async def run(self, top: int) -> None:
        """Watch the processes below the build's tool ``top``. A fault ends the watch, not the build."""
        with self._scope:
            try:
                await self._run(top)
            except Exception:
                log.exception("build %s: its compilers are no longer watched", self._build)

    async def _run(self, top: int) -> None:
        before: dict[int, Process] = {}
        pause_s = SAMPLE_S
        started = trio.current_time()
        while True:
            await trio.sleep(pause_s)
            if self._figures.compiles_remote:
                return
            began = trio.current_time()
            try:
                processes = await self._host.read_all()
            except OSError:  # no descriptor is free
                continue
            now = trio.current_time()
            pause_s = max(SAMPLE_S, _OF_AGE * (now - started), _PAUSES * (now - began))
            self._sample(processes, top, before)
            before = processes

    def _sample(self, processes: dict[int, Process], top: int, before: dict[int, Process]) -> None:
        self._figures.samples += 1
        for pid, has_inner in drivers(processes, top, before).items():
            # Most drivers have a runner. One process tells it.
            driver = self._read(processes[pid], self._workspace)
            if driver is None or driver.has_slot:
                continue
            if not has_inner and tool_of(os.path.basename(driver.path)) is None:  # a script
                continue
            if not self._figures.unwrapped:
                above = [self._read(processes[level], self._workspace) for level in path_up(processes, pid, top)[1:]]
                found = unwrapped([driver, *(program for program in above if program is not None)])
                if None in above or found is None:
                    continue
                self._figures.unwrapped = found.as_map()
                log.info("build %s: a compiler has no runner: %s", self._build, self._figures.unwrapped)
            self._figures.samples_unwrapped += 1
            return
