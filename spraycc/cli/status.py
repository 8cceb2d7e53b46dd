"""``spraycc status``: shows the state of the workspace's server."""

from __future__ import annotations

import os
from typing import Any

import click


def command(name: str) -> click.Command:
    """The subcommand."""
    json_flag = click.Option(["--json", "as_json"], is_flag=True, help="All figures, as JSON.")
    return click.Command(name, callback=_status, params=[json_flag], help="Show the state of the workspace's server.")


@click.pass_obj
def _status(flags: dict[str, Any], as_json: bool) -> int:
    from spraycc import runtime_dir, workspace
    from spraycc.cli import server_start
    from spraycc.cli.messages import inform

    root = workspace.find()
    connection = server_start.connect(runtime_dir.locate(root), inform)
    if connection is None:
        inform(f"no server runs for {os.fsdecode(root)}")
        return 1
    figures = connection.status()
    connection.close()
    if as_json:
        import json

        click.echo(json.dumps(figures, indent=2, default=_text))
        return 0
    from rich.console import Console
    from rich.text import Text

    from spraycc.ui.status import render

    console = Console(highlight=False)
    for part in render(figures):
        console.print(part, soft_wrap=isinstance(part, Text))
    return 0


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else repr(value)
