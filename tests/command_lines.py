"""Parses command lines of ``spraycc`` as the real parser does, without running them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import click

from spraycc import config
from spraycc.cli.subcommands import make_group


def parse(words: Sequence[str]) -> None:
    """Check the words after ``spraycc``: the commands, options and arguments exist, and the settings have valid values.

    Raises:
        click.UsageError: a word is wrong.
        SprayccError: a setting is wrong.
    """
    # --help and --version print, and end the parser.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(click.exceptions.Exit):
        _parse(words)


def _parse(words: Sequence[str]) -> None:
    group: click.Command = make_group()
    rest, name, parent = list(words), "spraycc", None
    while True:
        context = group.make_context(name, rest, parent=parent)
        if parent is None:
            config.load(None, environ={}, flags=context.params, files=[])
        if not isinstance(group, click.Group):
            _check_raw(name, context)
            return
        left = [*context._protected_args, *context.args]
        found, child, rest = group.resolve_command(context, left)
        assert child is not None
        assert found is not None
        group, name, parent = child, found, context


def _check_raw(name: str, context: click.Context) -> None:
    """``build`` takes its words as they are, and checks them when it is called."""
    words = context.params.get("words", ())
    if name == "build" and not (words[:1] == ("--",) and words[1:]) and (not words or words[0].startswith("-")):
        raise click.UsageError("build: no command")
