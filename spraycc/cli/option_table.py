"""All commands and options of ``spraycc`` as plain data, for everything that is generated from them.

The source is the command line itself: a new subcommand, option or setting is in the table without another step.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.flags import SettingOption, metavar
from spraycc.cli.help import command_groups
from spraycc.cli.subcommands import make_group
from spraycc.config.keys import FIRST, choices, default_word, group_of

#: Placeholders for click's types, by their names.
_TYPE_METAVARS = {
    "choice": "WORD",
    **dict.fromkeys(("integer", "integer range"), "N"),
    **dict.fromkeys(("float", "float range"), "NUMBER"),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command."""

    #: as the user writes them: ``("-n", "--count")``
    names: tuple[str, ...]
    #: the names that switch it off: ``("--no-summary-line",)``; empty for most options
    off_names: tuple[str, ...]
    #: placeholder of the value: ``FILE``, ``DIR``, ``N``, …; empty: the option takes no value
    metavar: str
    #: the allowed values, if only a few words are
    choices: tuple[str, ...]
    #: the default as a user would write it; empty: none
    default: str
    #: whole sentences, without the default
    help: str
    #: title of the setting's group (config/keys.py); empty: no setting
    group: str = ""
    #: the setting's key; empty: no setting
    key: str = ""
    #: ``--help`` shows the option, and not only ``--help-all``
    is_first: bool = True
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """A word of a command that is no option."""

    metavar: str
    is_required: bool
    is_repeatable: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """``spraycc`` itself, or a subcommand."""

    #: the words after ``spraycc``: ``("config", "show")``; empty for ``spraycc`` itself
    words: tuple[str, ...]
    #: one line
    short_help: str
    #: the whole text: paragraphs with an empty line between them
    help: str
    #: title of the subcommand's group (cli/help.py); empty below a subcommand
    group: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]
    #: all words after the options are another program's command line, after the program's name if that is the command
    runs_tool: bool = False


def table() -> Command:
    """``spraycc`` with all its options, subcommands and theirs. Settings come by group, subcommands by group."""
    return _command(make_group(), (), "", None)


def walk(command: Command) -> list[Command]:
    """The command and all commands below it, each before those below it."""
    return [command, *(below for child in command.commands for below in walk(child))]


def _command(command: click.Command, words: tuple[str, ...], group: str, parent: click.Context | None) -> Command:
    # As the command line makes it, so that subcommands have the names of --help that spraycc has.
    context = click.Context(command, parent, info_name=(words or ("spraycc",))[-1], **command.context_settings)
    children: tuple[Command, ...] = ()
    if isinstance(command, click.Group):
        found = {name: command.get_command(context, name) for name in command.list_commands(context)}
        known = {name: child for name, child in found.items() if child is not None and not child.hidden}
        groups = {"": sorted(known)} if words else command_groups(known)
        children = tuple(
            _command(known[name], (*words, name), title, context) for title, names in groups.items() for name in names
        )
    params = [param for param in command.get_params(context) if not getattr(param, "hidden", False)]
    return Command(
        words,
        command.get_short_help_str(150),
        (command.help or "").strip(),
        group,
        tuple(_option(param) for param in params if isinstance(param, click.Option)),
        tuple(_argument(param) for param in params if isinstance(param, click.Argument)),
        children,
        runs_tool=len(words) == 1 and words[0] in (*SUBCOMMANDS, "build", "run"),
    )


def _option(option: click.Option) -> Option:
    # click before 8.5 keeps the names of --help in a set, so their order changes from run to run.
    names = tuple(sorted(option.opts, key=lambda name: name.startswith("--")))
    off_names = tuple(option.secondary_opts)
    if isinstance(option, SettingOption):
        key = str(option.name)
        return Option(
            names,
            off_names,
            "" if off_names else metavar(key),
            choices(key),
            default_word(key),
            option.help or "",
            group_of(key),
            key,
            key in FIRST,
            option.multiple,
        )
    takes_value = not option.is_flag and not option.count
    return Option(
        names,
        off_names,
        (option.metavar or _TYPE_METAVARS.get(option.type.name, option.type.name.upper())) if takes_value else "",
        tuple(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else (),
        _default(option) if takes_value else "",
        option.help or "",
        is_repeatable=option.multiple,
    )


def _default(option: click.Option) -> str:
    default = option.default
    if isinstance(default, bool | int | str):
        return str(default)
    return f"{default:g}" if isinstance(default, float) else ""


def _argument(argument: click.Argument) -> Argument:
    kinds = tuple(map(str, argument.type.choices)) if isinstance(argument.type, click.Choice) else ()
    name = (argument.metavar or str(argument.name).upper()).removesuffix("...").strip("[]")
    return Argument(name, argument.required, argument.nargs == -1, kinds)
