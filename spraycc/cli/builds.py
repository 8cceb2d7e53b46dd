"""``spraycc builds``: lists the last builds of the workspace."""

from __future__ import annotations

import json
import shutil
import sys

import click


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_builds,
        help=(
            "List the last builds of the workspace on this host, the newest first. `spraycc why --build`, `spraycc "
            "trace` and `spraycc report` take a build's number or id."
        ),
        short_help="List the last builds.",
        params=[click.Option(["--json", "as_json"], is_flag=True, help="One line of JSON for each build.")],
    )


def _builds(as_json: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.output import say
    from spraycc.cli.recorded import recorded_builds, row_of
    from spraycc.ui.recorded_builds import list_lines

    root, records = recorded_builds()
    rows = [row_of(found) for found in records]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row._asdict()))
        return 0
    if not rows:
        inform(f"no build was recorded for {root} on this host")
        return 1
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in list_lines(rows, width):
        say(line)
    return 0
