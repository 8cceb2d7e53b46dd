"""Man pages: hand-written templates in roff, into which the table of commands and options puts the lists.

A line ``@NAME@`` of a template becomes a list; ``@VERSION@`` within a line becomes the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from spraycc.cli.option_table import Command, Option
from spraycc.cli.reference.examples import EXAMPLES
from spraycc.cli.reference.roff import bold, entry, escaped, italic, paragraph, section, wrapped
from spraycc.cli.reference.usage import own_options, usage
from spraycc.cli.reference.values import is_tool
from spraycc.config.keys import GROUPS, HELP, allowed, default_word, flag, variable


def page(template: str, root: Command, version: str, date: str) -> str:
    """The page for the command line ``root``.

    Raises:
        KeyError: the template names a list that does not exist.
    """
    text = template.replace("@VERSION@", version).replace("@DATE@", date)
    text = re.sub(r"^@(\w+)@$", lambda found: "\n".join(_LISTS[found[1]](root)), text, flags=re.MULTILINE)
    return "".join(f"{line}\n" for whole in text.splitlines() for line in wrapped(whole))


def _options(root: Command) -> list[str]:
    """All options before the subcommand's name, by group."""
    lines = []
    for title in (*GROUPS, ""):
        options = [option for option in root.options if option.group == title]
        if options:
            lines += [section(f"{title or 'help'} options".capitalize())]
            lines += [line for option in options for line in _option(option)]
    return lines


def _option(option: Option) -> list[str]:
    value = f" {italic(option.metavar)}" if option.metavar else ""
    head = ", ".join([*(bold(name) + value for name in option.names), *map(bold, option.off_names)])
    choices = ", ".join(option.choices)
    is_told = not choices or all(choice in option.help for choice in option.choices)
    text = paragraph(option.help + ("" if is_told else f" Allowed: {choices}."))
    return entry(head, text + (f"\nDefault: {bold(option.default)}." if option.default else ""))


def _commands(root: Command) -> list[str]:
    """All subcommands by group, each with its options. The build tools share an entry."""
    lines = []
    for group in dict.fromkeys(command.group for command in root.commands):
        lines += [section(group.capitalize())]
        commands = [command for command in root.commands if command.group == group]
        if tools := [command for command in commands if is_tool(command)]:
            names = ", ".join(bold(command.words[-1]) for command in tools)
            text = "Run the build tool with all words after its name."
            lines += entry(f"{names} {italic('WORDS')}...", text)
        lines += [line for command in commands if not is_tool(command) for line in _command(command)]
    return lines


def _command(command: Command) -> list[str]:
    text = [paragraph(part) for part in command.help.split("\n\n")]
    lines = entry(" ".join([bold(" ".join(command.words)), *usage(command, italic)]), *text)
    below = [line for option in own_options(command) for line in _option(option)]
    below += [line for child in command.commands for line in _command(child)]
    return [*lines, ".RS", *below, ".RE"] if below else lines


def _settings(root: Command) -> list[str]:
    """All keys of the configuration, by group."""
    lines = []
    for title, keys in GROUPS.items():
        lines += [section(title.capitalize())]
        for key in keys:
            names = f"Option {bold(flag(key))}, variable {bold(variable(key))}."
            value = f"Allowed: {escaped(allowed(key))}.\nDefault: {bold(default_word(key))}."
            lines += entry(bold(key), paragraph(HELP[key]), f"{value}\n{names}")
    return lines


def _examples(root: Command) -> list[str]:
    """All examples, those of ``spraycc`` itself first."""
    return [
        line for examples in EXAMPLES.values() for one in examples for line in entry(bold(one.line), escaped(one.text))
    ]


_LISTS: dict[str, Callable[[Command], Iterable[str]]] = {
    "OPTIONS": _options,
    "COMMANDS": _commands,
    "SETTINGS": _settings,
    "EXAMPLES": _examples,
}
