"""How much memory this host has to give: what the kernel calls available, and what our control groups allow."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.M)
_INACTIVE_FILE = re.compile(r"^inactive_file (\d+)", re.M)


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
