"""A group of subcommands, such as ``spraycc config``, that says which ones it has."""

from __future__ import annotations

import click

from spraycc.config.keys import nearest


class CommandGroup(click.Group):
    """A group whose error for an unknown subcommand has the next step."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            near = nearest(args[0], self.list_commands(ctx))
            hint = f"did you mean {near!r}? " if near else ""
            known = ", ".join(self.list_commands(ctx))
            step = f"{ctx.info_name} has {known} (`spraycc {ctx.info_name} --help` explains them)"
            raise click.UsageError(f"{ctx.info_name}: no command {args[0]!r}; {hint}{step}")
        return super().resolve_command(ctx, args)
