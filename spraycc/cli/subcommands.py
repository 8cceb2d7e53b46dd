"""The whole command line, by click. A subcommand is imported when it is called."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import click

from spraycc import __version__
from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.flags import options
from spraycc.cli.messages import inform
from spraycc.config.keys import nearest
from spraycc.errors import USAGE_STATUS

#: subcommand -> its module
_COMMANDS = {
    **dict.fromkeys(SUBCOMMANDS, "spraycc.cli.build_commands"),
    "build": "spraycc.cli.build_commands",
    "builds": "spraycc.cli.builds",
    "clean": "spraycc.cli.clean",
    "cluster": "spraycc.cli.cluster",
    "config": "spraycc.cli.config",
    "doctor": "spraycc.cli.doctor",
    "env": "spraycc.cli.env",
    "history": "spraycc.cli.history",
    "report": "spraycc.cli.report",
    "run": "spraycc.cli.run",
    "server": "spraycc.cli.server",
    "status": "spraycc.cli.status",
    "top": "spraycc.cli.status",
    "trace": "spraycc.cli.trace",
    "why": "spraycc.cli.why",
}
_EPILOG = (
    "Give SprayCC's options before the tool's name; all words after the name are the tool's: "
    "spraycc --executors 64 make -j100 all"
)


class _Spraycc(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # The user may give make with its path.
        name = os.path.basename(cmd_name)
        if cmd_name not in _COMMANDS and ("/" not in cmd_name or name not in SUBCOMMANDS):
            return None
        module: Any = importlib.import_module(_COMMANDS[name])
        command: click.Command = module.command(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            near = nearest(args[0], _COMMANDS)
            hint = f"did you mean {near!r}? " if near else ""
            raise click.UsageError(
                f"no command {args[0]!r}; {hint}Any build goes through `spraycc build -- CMD`, "
                "one command through `spraycc run CMD`"
            )
        return super().resolve_command(ctx, args)


def _print_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"spraycc {__version__}")
        context.exit()


@click.pass_context
def _remember(context: click.Context, /, **flags: Any) -> None:
    """Builds C and C++ on the CPUs of a batch cluster."""
    context.obj = {key: value for key, value in flags.items() if value is not None}


def make_group() -> click.Group:
    """The whole command line."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Show the version and exit.",
    )
    return _Spraycc(
        "spraycc",
        params=[*options(), version],
        callback=_remember,
        help=_remember.__doc__,
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def run(words: Sequence[str]) -> int:
    """Parse the words and run the subcommand; returns the exit status.

    Raises:
        SprayccError: as the subcommand does.
        KeyboardInterrupt: Ctrl-C while no build tool runs.
    """
    try:
        result = make_group().main(list(words), prog_name="spraycc", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.ctx.get_help(), err=True)
        return USAGE_STATUS
    except click.ClickException as exc:
        inform(f"error: {exc.format_message()}")
        return USAGE_STATUS
    except click.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0
