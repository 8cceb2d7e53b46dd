"""``spraycc run [--remote|--local] [--] CMD``: one command through the server."""

from __future__ import annotations

from typing import Any

import click

_HELP = """Run one command through the server: on an executor if it is a compile (or with --remote), else on this host.

The exit status is the command's. SprayCC itself prints nothing."""


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_run,
        help=_HELP,
        params=[
            click.Option(["--remote", "wish"], flag_value="remote", help="Run a command of any kind on an executor."),
            click.Option(
                ["--local", "wish"], flag_value="local", help="Run the command on this host, when a local slot is free."
            ),
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, required=True, metavar="CMD..."),
        ],
        # The first word that is none of our options is the command's name. All later words are the command's.
        context_settings={"allow_interspersed_args": False},
    )


@click.pass_obj
def _run(flags: dict[str, Any], wish: str | None, words: tuple[str, ...]) -> int:
    from spraycc.cli.build import run_one

    return run_one(wish or "auto", words, flags)
