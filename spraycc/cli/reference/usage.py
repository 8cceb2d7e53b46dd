"""The usage line of a command, for man pages and the reference page."""

from __future__ import annotations

from collections.abc import Callable

from spraycc.cli.option_table import Command, Option


def own_options(command: Command) -> list[Option]:
    """The options of a command, without ``--help``, which all commands have."""
    return [option for option in command.options if "--help" not in option.names]


def usage(command: Command, placeholder: Callable[[str], str] = str) -> list[str]:
    """The words after the command's name: ``["[OPTIONS]", "CMD..."]``.

    Args:
        command: a subcommand.
        placeholder: marks a word that stands for a value, such as ``roff.italic``.
    """
    words = [f"[{placeholder('OPTIONS')}]"] if own_options(command) else []
    words += [placeholder("COMMAND")] if command.commands else []
    for argument in command.arguments:
        word = placeholder(argument.metavar) if argument.is_required else f"[{placeholder(argument.metavar)}]"
        words.append(word + ("..." if argument.is_repeatable else ""))
    return words
