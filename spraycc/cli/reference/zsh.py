"""The completion script for zsh: an autoloaded function of compinit, one function for each command.

The words after a tool's name are completed by the tool's own completion.
"""

from __future__ import annotations

from spraycc.cli.option_table import Argument, Command, Option, walk
from spraycc.cli.reference.values import Kind, first_sentence, is_tool, kind_of

_HEAD = """\
#compdef spraycc
# Completion of spraycc's command line for zsh, generated from its table of commands and options.

# Offers the numbers that `spraycc builds` lists, with the rest of each line.
_spraycc_builds() {
    local -a builds
    builds=(${(f)"$(_call_program builds ${_spraycc_program} builds 2>/dev/null |
        sed -n 's/:/\\\\:/g; s/^ *\\([0-9][0-9]*\\)  *\\(.*\\)/\\1:\\2/p')"})
    _describe -t builds build builds
}

# Completes a subcommand that runs a tool. The first words are its options, as far as the tool's name; $@: the options,
# as specifications of _arguments. ("*::" of _arguments completes no first word after "--", seen with zsh 5.9.)
_spraycc_with_tool() {
    local -i at=2
    local word
    while (( at < CURRENT )) && [[ $words[at] == -* ]]; do
        word=$words[at]
        (( ++at ))
        [[ $word != -- ]] || break
    done
    if (( at == CURRENT )) && [[ $words[at] == -* ]]; then
        _arguments -s -S "$@"
    else
        words=("${(@)words[at,-1]}")
        (( CURRENT -= at - 1 ))
        _normal -p spraycc
    fi
}

"""
_TAIL = """\
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _spraycc "$@"
else  # the user's start-up file has read the script
    compdef _spraycc spraycc
fi
"""
_ACTIONS = {
    Kind.FILE: "_files",
    Kind.DIRECTORY: "_files -/",
    Kind.HOST: "_hosts",
    Kind.PROGRAM: "_command_names -e",
    Kind.VARIABLE: '_parameters -g "*export*"',
    Kind.BUILD: "_spraycc_builds",
}


def script(root: Command) -> str:
    """The script for the command line ``root``."""
    return _HEAD + "\n".join(_function(command) for command in walk(root) if not is_tool(command)) + "\n" + _TAIL


def _function(command: Command) -> str:
    specs = [spec for option in command.options for spec in _option_specs(option)]
    if command.commands:
        specs += ["(-): :->command", "(-)*:: :->words"]
    elif not command.runs_tool:
        specs += [_argument_spec(argument) for argument in command.arguments]
    arguments = "".join(f" \\\n        {_quoted(spec)}" for spec in specs)
    name = _function_name(command)
    if not command.commands:
        start = "_spraycc_with_tool" if command.runs_tool else "_arguments -s -S"
        return f"{name}() {{\n    {start}{arguments}\n}}\n"
    known = "".join(
        f"\n            {_quoted(_escaped(child.words[-1], ':') + ':' + first_sentence(child.short_help))}"
        for child in command.commands
    )
    cases = "".join(
        f"\n        {child.words[-1]}) {_function_name(child)} && found=0 ;;"
        for child in command.commands
        if not is_tool(child)
    )
    tools = "|".join(child.words[-1] for child in command.commands if is_tool(child))
    cases += f"\n        ({tools}|*/({tools})) _normal -p spraycc && found=0 ;;" if tools else ""
    program = "" if command.words else "\n    local _spraycc_program=${words[1]/#\\~\\//$HOME/}"
    return f"""\
{name}() {{{program}
    local context state state_descr line curcontext=$curcontext found=1
    local -A opt_args
    local -a subcommands
    _arguments -C -s -S{arguments} && found=0
    case $state in
    command)
        subcommands=({known}
        )
        _describe -t commands command subcommands && found=0
        ;;
    words)
        case $words[1] in{cases}
        esac
        ;;
    esac
    return found
}}
"""


def _function_name(command: Command) -> str:
    # Dashes keep the names apart from those of the script's other functions, as _spraycc_builds.
    return "-".join(("_spraycc", *command.words))


def _option_specs(option: Option) -> list[str]:
    """One specification of _arguments for each name of the option."""
    text = f"[{_escaped(first_sentence(option.help), '[]')}]"
    names = (*option.names, *option.off_names)
    start = "*" if option.is_repeatable else f"({' '.join(names)})" if len(names) > 1 else ""
    if not option.metavar:
        return [f"{start}{name}{text}" for name in names]
    value = f":{_escaped(option.metavar, ':')}:{_action(option)}"
    return [f"{start}{name}{'=' if name.startswith('--') else '+'}{text}{value}" for name in names]


def _argument_spec(argument: Argument) -> str:
    start = "*:" if argument.is_repeatable else ":" if argument.is_required else "::"
    return f"{start}{_escaped(argument.metavar, ':')}:{_action(argument)}"


def _action(value: Option | Argument) -> str:
    kind = kind_of(value)
    # A blank as the action: nothing is offered, and the shell shows the placeholder.
    return f"({' '.join(value.choices)})" if kind is Kind.CHOICE else _ACTIONS.get(kind, " ")


def _escaped(text: str, signs: str) -> str:
    return "".join(f"\\{sign}" if sign in signs or sign == "\\" else sign for sign in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
