"""``spraycc make ARGS``, ``spraycc ninja ARGS`` and so on, and ``spraycc build -- CMD`` for everything else."""

from __future__ import annotations

from typing import Any

import click


class RawCommand(click.Command):
    """A command that takes all words as they are: also ``--help``, ``--``, and words that look like our options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params = {"words": tuple(args)}
        return []


def command(name: str) -> click.Command:
    """The subcommand ``name``: a build tool, or ``build``."""
    if name == "build":
        return RawCommand(
            name,
            callback=_build,
            help="Run any build command: spraycc build -- ./build.sh",
            params=[_words("-- CMD...", required=True)],
            options_metavar="",
            add_help_option=False,
        )

    @click.pass_obj
    def run_tool(flags: dict[str, Any], words: tuple[str, ...]) -> int:
        from spraycc.cli.build import build

        return build((name, *words), flags)

    return RawCommand(
        name,
        callback=run_tool,
        help=f"Run {name} with all words after the name.",
        params=[_words("[WORDS]...", required=False)],
        options_metavar="",
        add_help_option=False,
    )


def _words(metavar: str, *, required: bool) -> click.Argument:
    """The words of the tool, for the usage line only: RawCommand does not parse them."""
    return click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, required=required, metavar=metavar)


@click.pass_context
def _build(context: click.Context, words: tuple[str, ...]) -> int:
    if words[:1] in (("-h",), ("--help",)):
        click.echo(context.get_help())
        return 0
    if words[:1] == ("--",):
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise click.UsageError(
            f"build: no option {words[0]!r}; give SprayCC's options before `build`, and `--` before the command"
        )
    if not words:
        raise click.UsageError("build: no command; for instance: spraycc build -- ./build.sh")
    from spraycc.cli.build import build

    return build(words, context.obj)
