"""``spraycc run [--remote|--local] [--] CMD``: one command through the server."""

from __future__ import annotations

from typing import Any

import click

_HELP = """Run one command through the server: on an executor if it is a compile (or with --remote), else here.

Its exit status is the command's. Nothing else is printed."""


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_run,
        help=_HELP,
        params=[
            click.Option(
                ["--remote", "wish"], flag_value="remote", help="On an executor, whatever kind of command it is."
            ),
            click.Option(["--local", "wish"], flag_value="local", help="Here, when a local slot is free."),
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, required=True, metavar="CMD..."),
        ],
        # The first word that is no option of ours is the command's name; the rest is the command's.
        context_settings={"allow_interspersed_args": False},
    )


@click.pass_obj
def _run(flags: dict[str, Any], wish: str | None, words: tuple[str, ...]) -> int:
    from spraycc.cli.build import run_one

    return run_one(wish or "auto", words, flags)
