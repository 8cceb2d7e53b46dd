"""The kind of words that the shells offer for the value of an option, or for an argument."""

from __future__ import annotations

import enum
import re

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.option_table import Argument, Command, Option


class Kind(enum.Enum):
    """The words that fit a value. The shells know all kinds but BUILD by themselves."""

    #: one of the option's own choices
    CHOICE = "choice"
    FILE = "file"
    DIRECTORY = "directory"
    HOST = "host"
    #: name of a program
    PROGRAM = "program"
    #: name of an environment variable
    VARIABLE = "variable"
    #: number of a recorded build: the first column of `spraycc builds`
    BUILD = "build"
    #: no word can be offered: a number, a name that only the cluster knows
    OTHER = "other"


_OF_METAVAR = {
    "FILE": Kind.FILE,
    "FILENAME": Kind.FILE,
    "PATH": Kind.FILE,
    "TARGET": Kind.FILE,
    "DIR": Kind.DIRECTORY,
    "DIRECTORY": Kind.DIRECTORY,
    "HOST": Kind.HOST,
    "HOSTS": Kind.HOST,
    "BUILD": Kind.BUILD,
    "N|ID": Kind.BUILD,
}
#: Settings whose metavar says less.
_OF_KEY = {
    "executor_prefix": Kind.PROGRAM,
    "start_command": Kind.PROGRAM,
    "wrap": Kind.PROGRAM,
    "kept_variables": Kind.VARIABLE,
}


def kind_of(value: Option | Argument) -> Kind:
    """The kind of words for the value of an option that takes one, or for an argument."""
    if value.choices:
        return Kind.CHOICE
    of_key = _OF_KEY.get(value.key) if isinstance(value, Option) else None
    return of_key or _OF_METAVAR.get(value.metavar, Kind.OTHER)


def is_tool(command: Command) -> bool:
    """True if the command's name is a build tool's: the tool's own completion takes over at the name.

    For the other commands that run a tool, it takes over at the first word that is no option.
    """
    return command.runs_tool and command.words[-1] in SUBCOMMANDS


def first_sentence(text: str) -> str:
    """The first sentence of a help text, without its full stop: the shells show it beside an option or a command."""
    return re.split(r"\.(?=\s|$)|\n\n", " ".join(text.split()), maxsplit=1)[0]
