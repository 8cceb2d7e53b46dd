"""``spraycc help [COMMAND...]``: the text of ``spraycc COMMAND --help``."""

from __future__ import annotations

import click


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_help,
        help="Show the help text of a command: `spraycc help config show` is `spraycc config show --help`.",
        short_help="Show the help text of a command.",
        params=[click.Argument(["words"], nargs=-1, metavar="[COMMAND]...")],
    )


@click.pass_context
def _help(context: click.Context, words: tuple[str, ...]) -> None:
    assert context.parent is not None
    context = context.parent
    for word in words:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"help: {context.info_name} has no commands; try: spraycc help {context.info_name}")
        _, found, _ = group.resolve_command(context, [word])  # raises the group's own error
        assert found is not None
        context = click.Context(found, info_name=word, parent=context)
    click.echo(context.get_help())
