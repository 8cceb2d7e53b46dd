"""A build's figures in one line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_line(figures: Mapping[str, Any]) -> str:
    """The tasks and where they ran, the time, their CPU time, and the commands that ran at once on average.

    ``1,284 tasks in 61 s: 1,240 on 96 executors, 44 on this host; 58 min of CPU, 70 at once on average``

    The CPU time is that of executors and of compile slots. Missing figures count as zero. Zeros are left out.
    """
    tasks, remote, here = (int(figures.get(key, 0)) for key in ("tasks", "remote", "local"))
    wall_s = float(figures.get("wall_s", 0.0))
    cpu_s = float(figures.get("cpu_s_remote", 0.0)) + float(figures.get("cpu_s_here", 0.0))
    places = []
    if remote:
        executors = min(remote, int(figures.get("executors_peak", 0)))  # more may be connected
        places.append(f"{remote:,} on {counted(executors, 'executor') if executors else 'executors'}")
    if here:
        places.append(f"{here:,} on this host")
    head = f"{counted(tasks, 'task') if tasks else 'no tasks'} in {span(wall_s)}"
    parts = [f"{head}: {', '.join(places)}" if places else head]
    odd = [f"{figures['failed']:,} failed"] if figures.get("failed") else []
    if retried := int(figures.get("retried", 0)):
        stale = int(figures.get("stale", 0))
        why = f" ({stale:,} because a host saw old files)" if stale else ""
        odd.append(f"{counted(retried, 'attempt')} repeated{why}")
    if figures.get("cancelled"):
        odd.append(f"{figures['cancelled']:,} cancelled")
    if figures.get("second"):
        odd.append(f"{counted(int(figures['second']), 'second attempt')} ({figures.get('second_won', 0):,} won)")
    if odd:
        parts.append(", ".join(odd))
    if (remote or cpu_s) and wall_s > 0:
        at_once = float(figures.get("run_s", 0.0)) / wall_s
        average = f"{at_once:.1f}" if at_once < 9.95 else f"{at_once:,.0f}"
        # Below 0.1 the build tool did something else for most of the time.
        parts.append(f"{span(cpu_s)} of CPU" + (f", {average} at once on average" if at_once >= 0.1 else ""))
    return "; ".join(parts)


def span(seconds: float) -> str:
    """``3.4 s``, ``61 s``, ``58 min``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min" if minutes >= 10 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


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


def counted(number: int, noun: str) -> str:
    """``1 task``, ``1,284 tasks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
