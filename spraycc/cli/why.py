"""``spraycc why [TARGET]``: where the tasks of the last build ran, and for what reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

#: Single tasks that are shown without --all.
_SHOWN = 20


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_why,
        help="Where the tasks of the last build ran, and why. With TARGET: only tasks that name it.",
        params=[
            click.Argument(["target"], required=False),
            click.Option(["--json", "as_json"], is_flag=True, help="One line of JSON for each task."),
            click.Option(["--all", "all_of_them"], is_flag=True, help="All tasks."),
        ],
    )


def _why(target: str | None, as_json: bool, all_of_them: bool) -> int:
    from spraycc import workspace
    from spraycc.cli.messages import inform

    root = workspace.find()
    path = newest_record(root)
    if path is None:
        inform(f"no build was recorded for {os.fsdecode(root)} on this host")
        return 1
    tasks = [task for task in _tasks(path) if target is None or _fits(task, target, os.fsdecode(root))]
    if as_json:
        for task in tasks:
            click.echo(json.dumps(task))
        return 0
    if target is None and not all_of_them:
        for line in reason_counts(tasks):
            click.echo(line)
        return 0
    if not tasks:
        inform(f"no task of the last build has {target!r} in its output, source or command line")
        return 1
    for task in tasks if all_of_them else tasks[-_SHOWN:]:
        click.echo(task_line(task, os.fsdecode(root)))
    return 0


def newest_record(root: bytes) -> Path | None:
    """The file of the last build in the workspace ``root`` on this host."""
    from spraycc import runtime_dir

    directories = [Path(directory, "builds") for directory in runtime_dir.state_directories_of(root)]
    records = (path for directory in directories for path in directory.glob("*.jsonl"))
    return max(records, key=lambda path: path.name, default=None)


def reason_counts(tasks: list[dict[str, Any]]) -> list[str]:
    """The counts, the most frequent first."""
    counts = Counter((task["ran"], _reason(task)) for task in tasks)
    lines = [f"{count:7}  {ran:9}  {reason}" for (ran, reason), count in counts.most_common()] or ["no tasks"]
    stale = [task for task in tasks if task.get("stale")]
    if stale:
        lines.append(f"{len(stale):7}  of them were tried again: their hosts saw other files than the submit host.")
        lines.append(f"         `spraycc why {stale[0]['target']}` names the files of the first one")
    return lines


def task_line(task: dict[str, Any], root: str) -> str:
    """One task in words, its target relative to the workspace ``root`` if it is in it."""
    target = os.path.normpath(os.path.join(task["cwd"], task["target"]))
    target = target[len(root) + 1 :] if target.startswith(f"{root}/") else task["target"]
    text = f"{target}: {task['ran']}: {_reason(task)}"
    if task["executor"] and task["ran"] == "remote":
        text += f" (executor {task['executor']}, {task['s']:.2f} s)"
    return text + "".join(f"\n    attempt {i}: {why}" for i, why in enumerate(task["refusals"], start=1))


def _reason(task: dict[str, Any]) -> str:
    return f"{task['reason']}; {task['why']}" if task["why"] else str(task["reason"])


def _fits(task: dict[str, Any], target: str, root: str) -> bool:
    if task["target"] == target or target in task["argv"]:
        return True
    path = os.path.normpath(os.path.join(str(task["cwd"]), str(task["target"])))
    return path == os.path.join(root, target)


def _tasks(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                task = json.loads(line)
            except ValueError:
                continue  # cut by a full disk, or not fully written yet
            if isinstance(task, dict) and "target" in task:
                yield task
