"""Text for submit and cancel commands: a batch job's script, a time, elements of an array. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from spraycc.cluster.driver import BatchId, Submission
from spraycc.settings import Settings

#: A batch job's script writes this, and the status.
SETUP_ENDED = "the line of 'setup' ended the batch job with status"


def script(submission: Submission, settings: Settings) -> bytes:
    """The script of a batch job: the set-up line, then its executors.

    The script holds no secret: some systems show the script to every user. Slurm refuses a script without `#!`. An
    executor starts even if its host can't write the log.
    """
    command = shlex.join((*submission.command, "--id-from-array", submission.tag))
    lines = ["#!/bin/sh"]
    log = shlex.quote(submission.log)
    lines.append(f"if (: >>{log}) 2>/dev/null; then exec >>{log} 2>&1; fi")
    lines.append("cd / || exit")
    if settings.setup:
        # If the line ends the shell, the log says so.
        told = f'echo "{SETUP_ENDED} $?"'
        lines += [f"trap {shlex.quote(told)} EXIT", settings.setup, "trap - EXIT"]
    if settings.cpus_per_executor == 1:
        lines.append(f"exec {command}")
    else:
        # A signal ends the shell too. The executors get the signal as well, or leave when their server is gone.
        lines += [f"{command} --copy {copy} &" for copy in range(1, settings.cpus_per_executor + 1)]
        lines.append("wait")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def unless_given(options: Sequence[tuple[str, str | None]], arguments: Sequence[str]) -> list[str]:
    """The words of the options that have a value and that the user's arguments do not give too.

    Some systems take the first of two equal options, some the last, some none. So the user's counts by itself.
    """
    return [word for flag, value in options if value and flag not in arguments for word in (flag, value)]


def clock(seconds: int) -> str:
    """``H:MM:SS``."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def fold(batches: Sequence[BatchId]) -> list[tuple[str, list[tuple[int, int]]]]:
    """(submission, ranges of elements) of batch jobs, for short command lines. No ranges: the whole submission."""
    by_array: dict[str, list[int]] = {}
    for batch in sorted(set(batches)):
        by_array.setdefault(batch.submission_id, []).append(batch.element)
    folded = []
    for array, elements in by_array.items():
        ranges: list[tuple[int, int]] = []
        for element in elements:
            if ranges and ranges[-1][1] == element - 1:
                ranges[-1] = (ranges[-1][0], element)
            else:
                ranges.append((element, element))
        folded.append((array, [] if elements[0] == 0 else ranges))
    return folded


def spans(ranges: Sequence[tuple[int, int]]) -> str:
    """``1-3,7``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
