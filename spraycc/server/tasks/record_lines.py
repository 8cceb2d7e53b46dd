"""The lines of a build's record, made from the server's values. docs/reference/records.md describes them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from spraycc.model import Kind
from spraycc.records.format import ARGV_CHARACTERS, LINK_CHARACTERS, VERSION, Header, TaskLine
from spraycc.records.liveness import this_process
from spraycc.server.tasks.task import Phase, Task

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def header_of(
    build: str,
    argv: tuple[bytes, ...],
    cwd: bytes,
    *,
    began: float,
    release: str,
    cluster: str,
    executors: int,
    cap: int | None,
    tool: str,
    directory: Path,
) -> Header:
    """A record's first line. ``began`` is in seconds since 1970; ``directory`` is there while the build is open."""
    return {
        "record": VERSION,
        "build": build,
        "argv": _text(argv, ARGV_CHARACTERS),
        "cwd": os.fsdecode(cwd),
        "began": round(began, 3),
        "host": os.uname().nodename,
        "release": release,
        "cluster": cluster,
        "executors": executors,
        "cap": cap,
        "tool": tool,
        "server": this_process(),
        "directory": str(directory),
    }


def line_of(task: Task, started: float) -> TaskLine:
    """The line of a task that has ended, in a build that began at ``started`` (time.monotonic)."""
    description, usage = task.description, task.usage
    now = time.monotonic()
    at = round(task.arrived - started, 4)
    names_inputs = description.kind is Kind.LINK or description.kind is Kind.ARCHIVE
    here = None
    if task.here_began is not None:
        ended = now if task.here_ended is None else task.here_ended
        here = [round(task.here_began - started, 4), round(ended - started, 4)]
    return {
        "target": target_of(task),
        "source": os.fsdecode(description.inputs[0]) if description.inputs else "",
        "argv": _text(task.command.argv, LINK_CHARACTERS if names_inputs else ARGV_CHARACTERS),
        "cwd": os.fsdecode(task.command.cwd),
        "kind": description.kind._value_,
        "placement": description.placement._value_,
        "reason": description.reason,
        "ran": "here" if task.runs_here else "remote" if task.phase is Phase.ANSWERED else "cancelled",
        "why": task.why_here,
        "refusals": task.refusals,
        "attempts": task.attempts,
        "stale": task.stale,
        "executor": task.executor or "",
        "status": task.status,
        "s": round(round(now - started, 4) - at, 4),
        "at": at,
        "runs": [
            [
                run.executor,
                round(run.began - started, 4),
                # The server aborts an attempt that still runs when the task has its result.
                round((now if run.ended is None else run.ended) - started, 4),
                run.outcome or "cancelled",
                run.second,
            ]
            for run in task.runs
        ],
        "here": here,
        "user_s": round(usage.user_s, 4),
        "system_s": round(usage.system_s, 4),
        "rss": usage.peak_rss_bytes,
        "wall_s": round(usage.wall_s, 4),
        "bytes": task.returned_bytes,
    }


def target_of(task: Task) -> str:
    """The name by which records and messages speak of a task: its last output, else its first source or program."""
    description = task.description
    names = description.outputs[-1:] or description.inputs[:1] or task.command.argv[:1]
    return os.fsdecode(names[0]) if names else ""


def encoded(line: object) -> bytes:
    """A line as bytes, with its end."""
    return _encode(line).encode() + b"\n"


def _text(argv: tuple[bytes, ...], most: int) -> str:
    # Cut as bytes first: a command line may be megabytes.
    text = os.fsdecode(b" ".join(argv)[: most + 1])
    return text if len(text) <= most else text[:most] + "…"
