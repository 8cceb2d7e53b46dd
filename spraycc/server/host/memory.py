"""How much memory this host has to give: what the kernel calls available, and what our control groups allow."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

import trio

#: A process has reached its size after this time. Until then it counts with its expected size.
GROWS_S = 2.0
#: More processes than any quota allows.
PLENTY = 1 << 20
_CGROUPS = Path("/sys/fs/cgroup")
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.M)
_INACTIVE_FILE = re.compile(r"^inactive_file (\d+)", re.M)


class MemoryRoom:
    """How many more memory-hungry processes this host has room for."""

    def __init__(self) -> None:
        #: when processes began that have not grown yet
        self._young: deque[float] = deque()

    def begins(self) -> None:
        """A process begins."""
        self._young.append(trio.current_time())

    def room(self, size_bytes: int) -> int:
        """Further processes of this size; 0: their size is not known, and no limit."""
        grown = trio.current_time() - GROWS_S
        while self._young and self._young[0] < grown:
            self._young.popleft()
        available = available_bytes() if size_bytes else None
        return PLENTY if available is None else max(0, available // size_bytes - len(self._young))


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that new processes may still use without swapping; None where that can't be told.

    On login hosts a user's own slice often has the tighter limit (cgroup v2, memory.max). Of what it uses, files that
    were not touched lately are given back first.
    """
    try:
        found = _AVAILABLE.search((proc / "meminfo").read_text())
        groups = (proc / "self/cgroup").read_text()
    except OSError:
        return None
    if found is None:
        return None
    least = int(found[1]) * 1024
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::")), "/")
    group = cgroups / own.lstrip("/")
    while group != cgroups and cgroups in group.parents:
        least = min(least, _room_in(group, least))
        group = group.parent
    return max(0, least)


def _room_in(group: Path, otherwise: int) -> int:
    """What the limit of one control group leaves; ``otherwise`` where it has none, or none can be read."""
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return otherwise
        used = int((group / "memory.current").read_text())
        inactive = _INACTIVE_FILE.search((group / "memory.stat").read_text())
        return int(limit) - used + (int(inactive[1]) if inactive else 0)
    except (OSError, ValueError):
        return otherwise
