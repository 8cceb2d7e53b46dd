"""Reads a build's processes in /proc: the recipe that a runner belongs to, and the number of slots in use.

A *recipe* is a process that make (ninja, cargo, ctest) started. All processes below a recipe share its token. So the
recipe of a runner is the last process on the way up before a build tool. A build tool is known by its process name. A
tool under a foreign dynamic loader has the loader's name, so its command line is read instead.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from spraycc.build_tools import RECIPE_STARTERS

#: The names of the processes that start recipes, as the kernel has them.
_TOOL_NAMES = frozenset(map(os.fsencode, RECIPE_STARTERS))
_READINGS = 3
#: In a longer chain of processes no recipe is searched for.
_MOST_LEVELS = 64


@dataclass(frozen=True, slots=True)
class Process:
    """One process, from /proc/PID/stat (proc_pid_stat(5))."""

    pid: int
    parent: int
    name: bytes
    #: "R", "S", "Z" and so on
    state: str
    threads: int
    #: user and system time in clock ticks, including the children it has waited for
    ticks: int
    #: start time in clock ticks since boot: distinguishes processes that had the same pid
    started: int
    #: the process is a build tool: it starts recipes
    is_tool: bool = False


def read_process(pid: int) -> Process | None:
    """The process; None if it has ended or can't be read."""
    try:
        return _read(pid)
    except OSError:
        return None


def _read(pid: int) -> Process | None:
    """The process; None if it has ended or the server may not read it.

    Raises:
        OSError: (EMFILE, ENFILE, ENOMEM) a shortage, which says nothing about the process.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    try:
        data = os.read(fd, 1024)
    except ProcessLookupError:  # the process has ended
        return None
    finally:
        os.close(fd)
    # The name may hold blanks and parentheses. It ends with the last closing parenthesis of the line.
    head, _, tail = data.rpartition(b") ")
    fields = tail.split()
    if len(fields) < 20:
        return None
    name = head.partition(b"(")[2]
    return Process(
        pid,
        int(fields[1]),
        name,
        fields[0].decode("ascii", "replace"),
        int(fields[17]),
        sum(map(int, fields[11:15])),
        int(fields[19]),
        _is_tool(pid, name),
    )


def _is_tool(pid: int, name: bytes) -> bool:
    if name in _TOOL_NAMES:
        return True
    if not name.startswith(b"ld-"):
        return False
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return False
    return any(os.path.basename(word) in _TOOL_NAMES for word in words[:8])


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe that a runner is part of."""

    #: unique among the recipes of this host
    key: str
    #: process id of the build tool that started the recipe; 0 if none was found
    tool: int = 0


def recipe_of(runner: int, top: int, read: Callable[[int], Process | None] = read_process) -> Recipe:
    """The recipe that the process ``runner`` is part of.

    Args:
        runner: process id of a runner.
        top: process id of the build's first process; 0 if it is not known.
        read: returns the process with an id.
    """
    below = read(runner)
    for _ in range(_MOST_LEVELS):
        if below is None or below.parent <= 1:
            break
        if below.parent == top:
            return Recipe(_key(below), top)
        above = read(below.parent)
        if above is None:
            break
        if above.is_tool:
            return Recipe(_key(below), above.pid)
        below = above
    return Recipe(f"{runner}:?")


def top_tool(tool: int, top: int, read: Callable[[int], Process | None] = read_process) -> int:
    """The uppermost build tool on the way from ``tool`` to ``top``, ``top`` itself not included."""
    found = pid = tool
    for _ in range(_MOST_LEVELS):
        process = read(pid)
        if process is None or pid in (top, 1):
            break
        if process.is_tool:
            found = pid
        pid = process.parent
    return found


def _key(process: Process) -> str:
    return f"{process.pid}:{process.started}"


def read_processes() -> dict[int, Process]:
    """All processes of the host. Takes some 10 microseconds each: call it in a thread.

    A process may end before it is read, and its successor may start after the list was read: then neither is in it. So
    the list is read again, and new processes are added: at least one of the two is found, perhaps both.

    Raises:
        OSError: no descriptor is left, so the list would lack processes.
    """
    found: dict[int, Process] = {}
    for _ in range(_READINGS):
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in found and (process := _read(int(name))) is not None:
                found[process.pid] = process
    return found


def _is_below(processes: Mapping[int, Process], pid: int, tops: Collection[int]) -> bool:
    for _ in range(_MOST_LEVELS):
        if pid in tops:
            return True
        if pid not in processes:
            break
        pid = processes[pid].parent
    return False


@dataclass(frozen=True, slots=True)
class Use:
    """The slots, the CPU time and the processes of a build."""

    #: slots in use, including those of idle tools: at least this many tokens and implicit slots are accounted for
    slots: int
    #: CPU time of all living processes, in clock ticks
    ticks: int
    #: number of processes
    count: int
    #: number of processes that run, are ready to run, or wait for a disk
    busy: int = 0


def slots_in_use(processes: Mapping[int, Process], tops: Collection[int]) -> Use:
    """The slots that the trees below ``tops`` use. Rather too many than too few: lost tokens are lent again.

    A tool without recipes uses one slot (its implicit slot, or its parent's token). A recipe uses one slot for each
    tool below it. Without a tool it uses one for each thread of its last processes, because those may hold tokens of
    their own (rustc does). A process that has ended but was not waited for still has its token.
    """
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for process in processes.values():
        children[process.parent].append(process)
    total = ticks = count = busy = 0

    def tree(pid: int) -> Iterable[Process]:
        yield processes[pid]
        for child in children[pid]:
            yield from tree(child.pid)

    def slots(process: Process, is_top: bool) -> int:
        below = sum(slots(child, False) for child in children[process.pid])
        if process.is_tool or is_top:
            return max(1, below)
        return below if below else max(1, process.threads)

    for top in tops:
        if top in processes and not _is_below(processes, processes[top].parent, tops):
            total += slots(processes[top], True)
            for process in tree(top):
                ticks += process.ticks
                count += 1
                busy += process.state in "RD"
    return Use(total, ticks, count, busy)
