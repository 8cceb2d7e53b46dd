"""How a batch job's script, a time, and indices of an array are written. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from spraycc.cluster.driver import BatchId, Order
from spraycc.settings import Settings


def script(order: Order, settings: Settings) -> bytes:
    """What a batch job runs: the set-up line, then its executors. Says a path and no secret: some systems show it to
    everybody.

    Slurm takes it only with its first line. The log is opened so that a host that can't write it starts all the same.
    """
    command = shlex.join((*order.command, "--id-from-array", order.tag))
    lines = ["#!/bin/sh"]
    log = shlex.quote(order.log)
    lines.append(f"if (: >>{log}) 2>/dev/null; then exec >>{log} 2>&1; fi")
    lines.append("cd / || exit")
    if settings.setup:
        lines.append(settings.setup)
    if settings.cpus_per_executor == 1:
        lines.append(f"exec {command}")
    else:
        # Signals reach the shell too, which dies of them; the executors have had them as well, or lose their server.
        lines += [f"{command} --copy {copy} &" for copy in range(1, settings.cpus_per_executor + 1)]
        lines.append("wait")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def clock(seconds: int) -> str:
    """``H:MM:SS``."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def fold(batches: Sequence[BatchId]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Batch jobs by submission, indices as ranges: a hundred elements are one word on a command line."""
    by_job: dict[str, list[int]] = {}
    for batch in sorted(set(batches)):
        by_job.setdefault(batch.job, []).append(batch.index)
    folded = []
    for job, indices in by_job.items():
        ranges: list[tuple[int, int]] = []
        for index in indices:
            if ranges and ranges[-1][1] == index - 1:
                ranges[-1] = (ranges[-1][0], index)
            else:
                ranges.append((index, index))
        folded.append((job, [] if indices[0] == 0 else ranges))
    return folded


def spans(ranges: Sequence[tuple[int, int]]) -> str:
    """``1-3,7``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
