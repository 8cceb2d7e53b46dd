"""Recorded builds in words: the list of ``spraycc builds``, and what ``spraycc why`` says. Pure.

The texts hold names as the build has them. The caller escapes them before a terminal gets them, see
:func:`spraycc.cli.output.say`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from spraycc.records.read import Found, Record, Task
from spraycc.records.timeline import reason_of
from spraycc.ui.printable import printable

#: Failed tasks, or tasks that may have failed, that are shown.
_SHOWN = 10
#: Characters of a command that the list always shows.
_LEAST_COMMAND = 12
_NOT_SEEN = "ran on this host, where SprayCC does not see the status of each command"


class BuildRow(NamedTuple):
    """A build in the list. ``--json`` prints these keys."""

    number: int
    build: str
    #: seconds since 1970
    began: float
    command: str
    cwd: str
    #: None in a record that was cut
    tasks: int | None
    remote: int | None
    failed: int | None
    #: seconds; None if the build has no end
    wall_s: float | None
    #: exit status of the build tool; None: not known
    status: int | None
    #: "ended", "running", or "cut": the record has lost its end
    state: str


def build_row(found: Found, header: dict[str, Any], end: dict[str, Any], *, is_open: bool) -> BuildRow:
    """The row of a build, from the first and the last line of its record."""
    figures = end.get("figures", {})
    # The server gets the command line without the user's -j.
    jobs = f" -j{header['cap']}" if header.get("cap") is not None else ""
    return BuildRow(
        number=found.number,
        build=found.build,
        began=found.began,
        command=f"{header.get('argv', '?')}{jobs}",
        cwd=str(header.get("cwd", "")),
        tasks=figures.get("tasks"),
        remote=figures.get("remote"),
        failed=figures.get("failed"),
        wall_s=end.get("wall_s") or end.get("ended"),
        status=end.get("status"),
        state="running" if is_open else "ended" if end else "cut",
    )


def list_lines(rows: Iterable[BuildRow], width: int | None) -> list[str]:
    """The list. ``width``: the terminal's columns, to which commands are cut; None: they are not cut.

    Some characters of each command are always there, even if the line is then too long.
    """
    head = ("build", "id", "when", "tasks", "remote", "wall", "status", "command")
    # Escaped before the widths are measured.
    cells = [head, *(tuple(map(printable, _cells(row))) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head) - 1)]
    left = {1, 2}  # words stand on the left, numbers on the right
    lines = []
    for row in cells:
        padded = [
            cell.ljust(size) if column in left else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=False))
        ]
        before, name = "  ".join([*padded, ""]), row[-1]
        room = len(name) if width is None else max(_LEAST_COMMAND, width - len(before))
        lines.append(before + (name if len(name) <= room else name[: room - 1] + "…"))
    return lines


def _cells(row: BuildRow) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.began))
    status = {"running": "runs", "cut": "cut"}.get(row.state, "?" if row.status is None else str(row.status))
    wall = "-" if row.wall_s is None else wall_text(row.wall_s)
    counts = ["-" if count is None else f"{count:,}" for count in (row.tasks, row.remote)]
    return str(row.number), row.build, when, *counts, wall, status, row.command


def wall_text(seconds: float) -> str:
    """``4.2 s``, ``3:05``, ``2:03:05``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def heading(row: BuildRow) -> str:
    """``build 2, 2026-11-29 19:40:01, status 2: make -j8``."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.began))
    state = {"running": "it runs", "cut": "its record has lost its end"}.get(row.state)
    state = state or ("its exit status is not known" if row.status is None else f"status {row.status}")
    return f"build {row.number}, {when}, {state}: {row.command}"


def failure_lines(record: Record, root: str) -> list[str]:
    """Which tasks failed, where and with which status, the last first; empty if the build did not fail."""
    failed = [task for task in record.tasks if task.has_failed]
    # The server's count: a record that is full may lack tasks that failed.
    count = max(len(failed), _whole(record, "failed"))
    lines = []
    if count > len(failed):
        lines.append(f"{_count(count, 'task')} failed; the record has {len(failed):,} of them" + ":" * bool(failed))
    elif failed:
        lines.append(f"{_count(count, 'task')} failed:")
    if count:
        lines += [f"  {failure_line(record, task, root)}" for task in reversed(failed[-_SHOWN:])]
        if len(failed) > _SHOWN:
            lines.append(f"  … and {len(failed) - _SHOWN} before; `spraycc why --all` shows all tasks")
    elif record.end.get("status"):
        unseen = [task for task in record.tasks if task.ran == "here" and task.status is None]
        if unseen:
            names = ", ".join(target_name(task, root) for task in reversed(unseen[-_SHOWN:]))
            lines.append(f"no task is known to have failed; {_count(len(unseen), 'task')} {_NOT_SEEN}. The last:")
            lines.append(f"  {names}")
        else:
            lines.append("no task failed: a command failed that SprayCC does not wrap, or the build tool itself")
    return lines


def failure_line(record: Record, task: Task, root: str) -> str:
    """``src/a.o: status 1 on node07 (executor 5_2), 1.24 s``."""
    assert task.status is not None
    where = "this host" if task.ran == "here" else f"{record.host_of(task.executor)} (executor {task.executor})"
    return f"{target_name(task, root)}: {_status(task.status)} on {where}, {task.s:.2f} s"


def reason_lines(record: Record) -> list[str]:
    """The tasks by place and reason, the most frequent first; then the attempts that did not count, by outcome."""
    tasks = record.tasks
    counts = Counter((task.ran, reason_of(task)) for task in tasks)
    lines = [f"{count:7}  {ran:9}  {reason}" for (ran, reason), count in counts.most_common()]
    dropped, total = record.end.get("dropped", 0), _whole(record, "tasks")
    if dropped and total > len(tasks):
        which = f"{len(tasks):,} of the build's {total:,} tasks"
        lines.insert(0, f"{_count(dropped, 'line')} of the record were not kept. It has {which}:")
    if not lines:
        lines = ["no tasks"]
    stale = [task for task in tasks if task.stale]
    if stale:
        lines.append(f"{len(stale):7}  of them were tried again: their hosts saw other files than the submit host.")
        lines.append(f"         `spraycc why {stale[0].target}` names the files of the first one")
    return lines


def task_lines(record: Record, task: Task, root: str) -> list[str]:
    """One task in words, its target relative to the workspace ``root`` if it is in it."""
    text = f"{target_name(task, root)}: {task.ran}: {reason_of(task)}"
    if task.executor and task.ran == "remote":
        host = record.host_of(task.executor)
        where = f"executor {task.executor}" if host == task.executor else f"{host}, executor {task.executor}"
        text += f" ({where}, {task.s:.2f} s)"
    if task.has_failed and task.status is not None:
        text += f", failed: {_status(task.status)}"
    lost = [run for run in task.runs if run.outcome not in ("done", "cancelled")]
    hosts = [f" on {record.host_of(run.executor)}" for run in lost]
    if len(hosts) != len(task.refusals):
        hosts = [""] * len(task.refusals)
    refusals = enumerate(zip(task.refusals, hosts, strict=True), start=1)
    return [text, *(f"    attempt {number}{host}: {why}" for number, (why, host) in refusals)]


def target_name(task: Task, root: str) -> str:
    """The task's target, relative to the workspace ``root`` if it is in it."""
    target = os.path.normpath(os.path.join(task.cwd, task.target))
    return target[len(root) + 1 :] if target.startswith(f"{root}/") else task.target


def names_task(task: Task, words: str, root: str) -> bool:
    """Whether the user's words name this task: its target, or a part of its command line."""
    if task.target == words or words in task.argv:
        return True
    return os.path.normpath(os.path.join(task.cwd, task.target)) == os.path.join(root, words)


def _whole(record: Record, figure: str) -> int:
    """A figure of the build's end; 0 if it is not known."""
    return int(record.end.get("figures", {}).get(figure, 0))


def lost_line(lost: list[Found], chosen: Found) -> str:
    """Says that builds are newer than the chosen one, and their records have no tasks. ``lost``: the newest first."""
    which = f"build {lost[0].number}" if len(lost) == 1 else f"builds {lost[0].number} to {lost[-1].number}"
    return (
        f"no task of {which} is in the record: the disk was full, or the server was killed. "
        f"Build {chosen.number} is the newest with tasks"
    )


def _status(status: int) -> str:
    return f"killed by signal {status - 128}" if 128 < status <= 192 else f"status {status}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
