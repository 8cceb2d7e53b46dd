"""The whole command line, by click. A subcommand is imported when it is called."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from spraycc import __version__
from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli import misplaced
from spraycc.cli.flags import options
from spraycc.cli.help import ALONE, EPILOG, INTRODUCTION, write_commands, write_options
from spraycc.cli.messages import inform
from spraycc.cli.output import OutputFailed, guarded
from spraycc.config.keys import FIRST, KEYS, nearest
from spraycc.errors import USAGE_STATUS

#: subcommand -> its module
_COMMANDS = {
    **dict.fromkeys(SUBCOMMANDS, "spraycc.cli.build_commands"),
    "build": "spraycc.cli.build_commands",
    "builds": "spraycc.cli.builds",
    "clean": "spraycc.cli.clean",
    "cluster": "spraycc.cli.cluster",
    "completion": "spraycc.cli.completion",
    "config": "spraycc.cli.config",
    "doctor": "spraycc.cli.doctor.subcommand",
    "env": "spraycc.cli.env",
    "help": "spraycc.cli.help_command",
    "history": "spraycc.cli.history",
    "report": "spraycc.cli.report",
    "run": "spraycc.cli.run",
    "server": "spraycc.cli.server",
    "status": "spraycc.cli.status",
    "top": "spraycc.cli.status",
    "trace": "spraycc.cli.trace",
    "why": "spraycc.cli.why",
}
#: Key of the context's ``meta``: ``--help-all`` asks for the help text.
_WHOLE = "spraycc.cli.help.whole"


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

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "TOOL|COMMAND", "[WORDS...]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        commands = {name: command for name in names if (command := self.get_command(ctx, name)) is not None}
        write_commands(formatter, commands)
        write_options(formatter, self.get_params(ctx), whole=ctx.meta.get(_WHOLE, False))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            near = nearest(args[0], _COMMANDS)
            hint = f"did you mean {near!r}? Any" if near else "any"
            raise click.UsageError(
                f"no command {args[0]!r}; {hint} build goes through `spraycc build -- CMD`, "
                "one command through `spraycc run CMD`"
            )
        return super().resolve_command(ctx, args)


def _print_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"spraycc {__version__}")
        context.exit()


def _print_whole_help(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[_WHOLE] = True
        click.echo(context.get_help())
        context.exit()


@click.pass_context
def _remember(context: click.Context, /, **flags: Any) -> None:
    context.obj = {key: value for key, value in flags.items() if value is not None}


def make_group() -> click.Group:
    """The whole command line."""
    return _Spraycc(
        "spraycc",
        params=[
            *options(),
            _at_once(
                "--help-all",
                _print_whole_help,
                f"Show all {len(KEYS)} settings as options, not only the first {len(FIRST)}, and exit.",
            ),
            _at_once("--version", _print_version, "Show the version and exit."),
        ],
        callback=_remember,
        help=INTRODUCTION,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _at_once(name: str, callback: Callable[[click.Context, click.Parameter, Any], None], text: str) -> click.Option:
    """A switch that prints something and ends the command line, whatever else the command line has."""
    return click.Option([name], is_flag=True, is_eager=True, expose_value=False, callback=callback, help=text)


def run(words: Sequence[str]) -> int:
    """Parse the words and run the subcommand; returns the exit status.

    Raises:
        SprayccError: as the subcommand does.
        KeyboardInterrupt: Ctrl-C while no build tool runs.
    """
    try:
        with guarded():
            result = make_group().main(list(words), prog_name="spraycc", standalone_mode=False)
    except OutputFailed as exc:
        if not exc.has_no_reader:
            inform(f"error: standard output: {exc.cause.strerror}")
        return 1
    except click.exceptions.NoArgsIsHelpError as exc:
        # A group of subcommands without one of them: `spraycc config`, or `spraycc` alone.
        is_alone = exc.ctx.parent is None
        click.echo(ALONE if is_alone else exc.ctx.get_help(), err=True)
        return USAGE_STATUS
    except click.NoSuchOption as exc:
        inform(f"error: {misplaced.text(exc, words)}")
        return USAGE_STATUS
    except click.UsageError as exc:
        # click's own text of it says less: "Missing command."
        is_alone = exc.ctx is not None and exc.ctx.parent is None and exc.message == "Missing command."
        text = "no build tool or command; for instance: spraycc make -j8" if is_alone else exc.format_message()
        inform(f"error: {text}")
        return USAGE_STATUS
    except click.ClickException as exc:
        inform(f"error: {exc.format_message()}")
        return USAGE_STATUS
    except click.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0
