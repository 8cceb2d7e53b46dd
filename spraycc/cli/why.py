"""``spraycc why [TARGET]``: which tasks of a build failed, where its tasks ran, and for what reason."""

from __future__ import annotations

import json
from dataclasses import fields

import click

#: Single tasks that are shown without --all.
_SHOWN = 20


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.cli.recorded import build_option

    return click.Command(
        name,
        callback=_why,
        help=(
            "Which tasks of the last build failed, where its tasks ran, and why. With TARGET: only tasks that name it. "
            "A build without tasks does not count as the last."
        ),
        short_help="Where the last build's tasks failed and ran, and why.",
        params=[
            click.Argument(["target"], required=False),
            build_option(),
            click.Option(["--json", "as_json"], is_flag=True, help="One line of JSON for each task."),
            click.Option(["--all", "all_of_them"], is_flag=True, help="All tasks."),
        ],
    )


def _why(target: str | None, build: str, as_json: bool, all_of_them: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.output import say
    from spraycc.cli.recorded import choose, row_of
    from spraycc.ui.recorded_builds import failure_lines, heading, names_task, reason_lines, task_lines

    chosen = choose(build)
    if chosen is None:
        return 1
    found, record, root = chosen.found, chosen.record, chosen.root
    tasks = [task for task in record.tasks if target is None or names_task(task, target, root)]
    if as_json:
        for task in tasks:
            host = record.host_of(task.executor) if task.ran == "remote" else ""
            values = {each.name: getattr(task, each.name) for each in fields(task)}
            click.echo(json.dumps({**values, "host": host}))
        return 0
    if target is None and not all_of_them:
        for text in (heading(row_of(found)), *failure_lines(record, root), *reason_lines(record)):
            say(text)
        return 0
    if not tasks:
        inform(f"no task of build {found.number} has {target!r} in its output, source or command line")
        return 1
    for task in tasks if all_of_them else tasks[-_SHOWN:]:
        for text in task_lines(record, task, root):
            say(text)
    return 0
