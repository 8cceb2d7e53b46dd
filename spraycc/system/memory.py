"""The memory that this process shares with others: how much exists and is free, and kills for lack of memory.

A batch system or a login host often confines its users by a control group. Then the group's limits count, and processes
in other groups share no memory with this process. This module knows both versions of control groups (cgroups(7) and the
kernel's admin-guide).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

#: A limit from this size on means no limit: version 1 has the largest multiple of the page size.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group with a limit. The last three fields are paths of the group's files."""

    name: str
    limit_bytes: int
    current: str
    statistics: str
    events: str

    def available_bytes(self) -> int | None:
        used = _number(self.current)
        if used is None:
            return None
        statistics = _fields(self.statistics)
        # The kernel drops cached files when memory is short.
        cached = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
        return max(0, self.limit_bytes - used + cached)


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of this host, or of the control group that confines this process to a part of it.

    The limits are those of :meth:`explore`; each call reads the other figures anew.
    """

    #: name of the confining control group; empty without a limit
    part: str
    #: 0 if not known
    total_bytes: int
    _root: str
    #: the groups that confine this process to less than the host's memory, the smallest limit first
    _groups: tuple[_Group, ...]

    @classmethod
    def explore(cls, root: str = "/") -> Memory:
        """The memory that counts for this process. ``root``: the directory of proc and sys."""
        total = _meminfo(root).get("MemTotal", 0)
        groups = [group for group in _groups(root) if group.limit_bytes < (total or _NO_LIMIT)]
        groups.sort(key=lambda group: group.limit_bytes)
        name, limit_bytes = (groups[0].name, groups[0].limit_bytes) if groups else ("", total)
        return cls(name, limit_bytes, root, tuple(groups))

    def available_bytes(self) -> int | None:
        """Bytes that new processes can still use without swapping; None if no file says so."""
        known = [_meminfo(self._root).get("MemAvailable"), *(group.available_bytes() for group in self._groups)]
        return min((size for size in known if size is not None), default=None)

    def kills(self) -> int:
        """The number of processes that the kernel has killed for lack of memory: in our part, or on the whole host."""
        if self.part and (count := _fields(self._groups[0].events).get("oom_kill")) is not None:
            return count
        return _fields(os.path.join(self._root, "proc/vmstat")).get("oom_kill", 0)


def _groups(root: str) -> Iterator[_Group]:
    """The control groups of this process that have a memory limit, from the process's own group upwards."""
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
        while True:
            limit, *files = (os.path.join(top + path.rstrip("/"), name) for name in names)
            if (limit_bytes := _number(limit)) is not None:
                yield _Group(path or "/", limit_bytes, *files)
            if not path:
                break
            # In a container the container's own group is the root of the mount: look at that, too.
            path = path.rpartition("/")[0]


def _meminfo(root: str) -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    return {name.rstrip(":"): 1024 * value for name, value in _fields(os.path.join(root, "proc/meminfo")).items()}


def _fields(path: str) -> dict[str, int]:
    """The fields of a file that has a name and a number in each line."""
    lines = [line.split() for line in _read(path).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) >= 2 and words[1].isdecimal()}


def _number(path: str) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
