"""A build's figures in one line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_line(figures: Mapping[str, Any]) -> str:
    """``35 tasks (33 remote, 2 here), 12.3 s, 45.6 s of CPU on executors, parallelism 3.7, 12.4 MB returned``.

    Missing figures count as zero. Most zeros are left out.
    """
    tasks = int(figures.get("tasks", 0))
    remote = int(figures.get("remote", 0))
    wall_s = float(figures.get("wall_s", 0.0))
    cpu_s = float(figures.get("cpu_s_remote", 0.0))
    parts = [f"{_count(tasks, 'task')} ({remote} remote, {int(figures.get('local', 0))} here)" if tasks else "no tasks"]
    parts += [f"{figures[key]} {key}" for key in ("failed", "retried", "stale", "cancelled") if figures.get(key)]
    if figures.get("second"):
        parts.append(f"{_count(int(figures['second']), 'second attempt')} ({figures.get('second_won', 0)} won)")
    parts.append(f"{wall_s:.1f} s")
    if remote:
        parts.append(f"{cpu_s:.1f} s of CPU on executors")
        if wall_s > 0:
            parts.append(f"parallelism {cpu_s / wall_s:.1f}")
        parts.append(f"{size(int(figures.get('bytes_returned', 0)))} returned")
    return ", ".join(parts)


def size(count: int) -> str:
    """Bytes in a unit of their order, powers of 1000: ``999 B``, ``12.4 MB``."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
