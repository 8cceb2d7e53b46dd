"""The completion script for fish. The words after a tool's name are completed by the tool's own completion."""

from __future__ import annotations

from collections.abc import Iterable

from spraycc.cli.option_table import Argument, Command, Option, walk
from spraycc.cli.reference.values import Kind, first_sentence, is_tool, kind_of

_HEAD = """\
# Completion of spraycc's command line for fish, generated from its table of commands and options.

# Prints the names of the subcommands before the cursor: empty, or "config show". If the cursor is after a tool's name,
# prints "tool" and the tool's words.
function __spraycc_parse
    set -l path
    set -l skip 0
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        if test $skip = 1
            set skip 0
        else if test "$word" = --; and contains -- "$path" {runners}
            printf '%s\\n' tool $words[2..-1]
            return
        else if string match -q -- '-*' $word
            contains -- "$path $word" {valued}
            and set skip 1
        else if contains -- "$path" {runners}
            or begin
                test -z "$path"; and string match -qr -- '^(.*/)?({tools})$' $word
            end
            printf '%s\\n' tool $words
            return
        else if contains -- (string trim -- "$path $word") {commands}
            set path (string trim -- "$path $word")
        end
        set -e words[1]
    end
    echo $path
    # After run or build: the next word may be the tool's name.
    contains -- "$path" {runners}; and test $skip = 0; and printf '%s\\n' tool
end

# Sets __spraycc_parsed. fish asks for the same command line once for each subcommand.
function __spraycc_update
    set -l line (commandline -cp)
    test "$line" = "$__spraycc_line"; and return
    set -g __spraycc_line $line
    set -g __spraycc_parsed (__spraycc_parse)
end

function __spraycc_at
    __spraycc_update
    test "$__spraycc_parsed[1]" = "$argv"
end

function __spraycc_in_tool
    __spraycc_update
    contains -- tool $__spraycc_parsed
end

# Offers the words that the tool's own completion offers for the tool's part of the command line.
function __spraycc_of_tool
    set -l parsed $__spraycc_parsed
    set -l at (contains -i -- tool $parsed)
    set -l words
    test $at -lt (count $parsed); and set words (string escape -- $parsed[(math $at + 1)..-1])
    complete -C (string join ' ' -- $words (commandline -ct))
end

# Offers the numbers that `spraycc builds` lists, with the rest of each line.
function __spraycc_builds
    set -l words (commandline -opc | string replace -r '^~/' "$HOME/")
    $words[1] builds 2>/dev/null | string replace -rf -- '^ *([0-9]+) +(.*)' '$1\\t$2'
end

complete -c spraycc -f
complete -c spraycc -n __spraycc_in_tool -a '(__spraycc_of_tool)'
"""
#: A tab begins a value's own description, here an empty one. Without it fish shows that of the option at each value.
_NO_TEXT = r"\t"
_ACTIONS = {
    Kind.FILE: "-rF",
    Kind.DIRECTORY: "-xa '(__fish_complete_directories)'",
    Kind.HOST: "-xa '(__fish_print_hostnames)'",
    Kind.PROGRAM: "-xa '(__fish_complete_command)'",
    Kind.VARIABLE: "-xa '(set -nx)'",
    Kind.BUILD: "-xa '(__spraycc_builds)'",
}


def script(root: Command) -> str:
    """The script for the command line ``root``."""
    commands = [command for command in walk(root) if not is_tool(command)]
    valued = [
        f"{' '.join(command.words)} {name}"
        for command in commands
        for option in command.options
        if option.metavar
        for name in option.names
    ]
    named = {
        "{runners}": _list(" ".join(command.words) for command in commands if command.runs_tool),
        "{valued}": _list(valued),
        "{tools}": "|".join(command.words[0] for command in walk(root) if is_tool(command)),
        "{commands}": _list(" ".join(command.words) for command in commands if command.words),
    }
    text = _HEAD
    for name, words in named.items():
        text = text.replace(name, words)
    return text + "".join(f"{line}\n" for command in commands for line in _lines(command))


def _lines(command: Command) -> list[str]:
    at = f"__spraycc_at {' '.join(command.words)}".rstrip()
    start = f"complete -c spraycc -n {_quoted(at)}"
    lines = ["", f"# {' '.join(('spraycc', *command.words))}"]
    lines += [
        f"{start} -a {child.words[-1]} -d {_quoted(first_sentence(child.short_help))}" for child in command.commands
    ]
    for option in command.options:
        text = f"-d {_quoted(first_sentence(option.help))}"
        names = " ".join(_name(name) for name in option.names)
        lines.append(f"{start} {names} {_action(option)} {text}" if option.metavar else f"{start} {names} {text}")
        lines += [f"{start} {_name(name)} {text}" for name in option.off_names]
    if not command.runs_tool:
        lines += [f"{start} {_action(argument).replace('-rF', '-F')}" for argument in command.arguments]
    return lines


def _name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _action(value: Option | Argument) -> str:
    kind = kind_of(value)
    if kind is not Kind.CHOICE:
        return _ACTIONS.get(kind, "-x")
    return f"-xa {_quoted(' '.join(choice + _NO_TEXT for choice in value.choices))}"


def _list(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
