"""The memory that this executor's commands share with others: how much there is, what is free, who was killed for it.

A batch job is often confined to a part of its host by a control group; then that is what counts, and executors in other
ones are no neighbours. Both layouts of control groups, from cgroups(7) and the kernel's admin-guide.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

#: A limit that is no limit: in version 1 the largest multiple of the page size that fits.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Memory:
    """Read anew at each call; a file that is missing or unreadable makes the answer "not known", 0."""

    #: name of the part of this host, empty for all of it
    part: str
    total_bytes: int
    #: the confining control group's files; empty without one
    _current: str = ""
    _statistics: str = ""
    _events: str = ""
    _limit_bytes: int = 0

    @classmethod
    def explore(cls, root: str = "/") -> Memory:
        """What counts for this process. ``root``: where proc and sys are."""
        total = _meminfo(root).get("MemTotal", 0)
        best: Memory | None = None
        for name, directory, names in _groups(root):
            limit = _number(os.path.join(directory, names[0]))
            if limit is not None and limit < min(total or _NO_LIMIT, best.total_bytes if best else _NO_LIMIT):
                current, statistics, events = (os.path.join(directory, file) for file in names[1:])
                best = cls(name, limit, current, statistics, events, limit)
        return best or cls("", total)

    def available_bytes(self, root: str = "/") -> int:
        """How much more could be used now."""
        free = _meminfo(root).get("MemAvailable", 0)
        if not self._limit_bytes:
            return free
        used = _number(self._current)
        if used is None:
            return free
        statistics = _fields(self._statistics)
        # Cached files are given up when memory is short.
        cached = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
        return max(0, min(free or _NO_LIMIT, self._limit_bytes - used + cached))

    def kills(self, root: str = "/") -> int:
        """Processes that the kernel has killed for want of memory so far: here, or on the whole host."""
        if self._events and (count := _fields(self._events).get("oom_kill")) is not None:
            return count
        return _fields(os.path.join(root, "proc/vmstat")).get("oom_kill", 0)


def _groups(root: str) -> Iterator[tuple[str, str, tuple[str, str, str, str]]]:
    """This process's control groups that may limit memory, and those above: name, directory, names of the files."""
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            top = os.path.join(root, "sys/fs/cgroup/memory")
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "memory.oom_control")
        elif number == "0":
            top = os.path.join(root, "sys/fs/cgroup")
            names = ("memory.max", "memory.current", "memory.stat", "memory.events")
        else:
            continue
        while path:
            yield path, top + path.rstrip("/"), names
            path = path.rpartition("/")[0]
        # In a container its own group is the mount's root.
        yield "/", top, names


def _meminfo(root: str) -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    return {name.rstrip(":"): 1024 * value for name, value in _fields(os.path.join(root, "proc/meminfo")).items()}


def _fields(path: str) -> dict[str, int]:
    """A file of lines with a name and a number each."""
    found = {}
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found


def _number(path: str) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
