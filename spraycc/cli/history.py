"""``spraycc history show`` and ``spraycc history clear``: durations and memory of this workspace's earlier tasks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spraycc.cli.command_group import CommandGroup

if TYPE_CHECKING:
    from spraycc.history.estimates import Entry, Key
    from spraycc.history.store import Store

#: Targets that are shown without --all.
_SHOWN = 20


def command(name: str) -> click.Command:
    """The subcommand."""
    show = click.Command(
        "show",
        callback=_show,
        help="Durations and memory by target, the longest first. With TARGET: only names with this text.",
        params=[
            click.Argument(["target"], required=False),
            click.Option(["--json", "as_json"], is_flag=True, help="One line of JSON for each target."),
            click.Option(["--all", "all_of_them"], is_flag=True, help="All targets."),
        ],
    )
    clear = click.Command("clear", callback=_clear, help="Forget all targets, also in running servers.")
    return CommandGroup(
        name,
        help="Durations and memory of this workspace's earlier tasks. The longest tasks start first.",
        short_help="Durations and memory of earlier tasks.",
        commands=[show, clear],
    )


def _show(target: str | None, as_json: bool, all_of_them: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.output import say

    store, root, exists = _store()
    entries = store.load()[1] if exists else []
    wanted = sorted(
        (item for item in entries if target is None or target in os.fsdecode(item[0][1])),
        key=lambda item: (-item[1].seconds, item[0]),
    )
    if as_json:
        for item in wanted:
            click.echo(_json(*item))
        return 0
    if not wanted:
        inform(
            f"no target of {root} has {target!r} in its name"
            if entries
            else f"nothing is known of {root} yet: a task is noted when it has succeeded on an executor"
        )
        return 1
    for (kind, name), entry in wanted if all_of_them else wanted[:_SHOWN]:
        memory = f"{entry.memory_bytes / 1e6:7.0f} MB"
        runs = f"{entry.runs} run{'' if entry.runs == 1 else 's'}"
        say(f"{entry.seconds:9.2f} s ± {entry.deviation:.2f} {memory}  {kind:12} {os.fsdecode(name)} ({runs})")
    if len(wanted) > _SHOWN and not all_of_them:
        inform(f"{len(wanted) - _SHOWN} more targets (--all)")
    return 0


def _clear() -> int:
    from spraycc.cli.messages import inform

    store, root, exists = _store()
    count = store.clear() if exists else 0
    inform(f"{count} target{'' if count == 1 else 's'} of {root} forgotten")
    return 0


def _store() -> tuple[Store, str, bool]:
    """The workspace's store, the workspace, and whether its file exists."""
    from spraycc import directories, workspace
    from spraycc.cli.messages import warn
    from spraycc.history.store import FILE_NAME, Store

    root = workspace.find()
    # A server that found the first place full or unwritable has used another one.
    paths = [Path(place) / FILE_NAME for place in directories.places("state")]
    for path in paths:
        try:
            os.stat(path)
            return Store(path, os.path.realpath(root), warn), os.fsdecode(root), True
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            warn(f"{path}: {exc.strerror}")
    return Store(paths[0], os.path.realpath(root), warn), os.fsdecode(root), False


def _json(key: Key, entry: Entry) -> str:
    import dataclasses
    import json

    return json.dumps({"kind": key[0], "target": os.fsdecode(key[1]), **dataclasses.asdict(entry)})
