"""The completion script for bash. It starts a program only to offer the numbers of builds.

readline splits words at ``=`` and ``:``, so the script joins such parts again, and removes from each answer the parts
that readline keeps. It works without the package bash-completion. With it, the words after a tool's name are
completed by the tool's own completion. Needs bash 4.0.
"""

from __future__ import annotations

from spraycc.cli.option_table import Argument, Command, Option, walk
from spraycc.cli.reference.values import Kind, is_tool, kind_of

_HEAD = """\
# Completion of spraycc's command line for bash, generated from its table of commands and options.
"""

_TABLE = """\
# Sets commands, options and valued (the options that take a value) for the command line's subcommand $1.
_spraycc_table() {
    commands= options= valued= runs=
    case $1 in
%s
    esac
}

# Offers words for the value of option $2 of the subcommand $1; without $2, for its arguments.
_spraycc_value() {
    case "$1 $2" in
%s
    esac
}
"""

_CODE = """\
_spraycc_words() {
    COMPREPLY=($(compgen -W "$1" -- "$value"))
}

_spraycc_action() {
    local IFS=$'\\n'
    COMPREPLY=($(compgen -A "$1" -- "$value"))
}

# Offers the numbers that `spraycc builds` lists.
_spraycc_builds() {
    _spraycc_words "$("$program" builds 2>/dev/null | sed -n 's/^ *\\([0-9][0-9]*\\) .*/\\1/p')"
}

# Completes the command line that begins at word $1 by the completion of that command.
_spraycc_hand_over() {
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$1"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    else
        compopt -o bashdefault -o default
    fi
}

_spraycc() {
    local program=${1/#\\~\\//$HOME/} line=${COMP_LINE:0:COMP_POINT} rest word part i
    local -a words=() starts=()
    # readline has split the line at = and : too. starts: for each joined word, the number of its first part.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        part=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || part=$rest
        if ((i > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]}-1]+=$part
        else
            words+=("$part")
            starts+=("$i")
        fi
        line=${rest#"$part"}
    done

    local last=$((${#words[@]} - 1)) at=1 command= option= ended= commands options valued runs
    local current=${words[last]}
    _spraycc_table ''
    for (( ; at < last; at++)); do
        word=${words[at]}
        if [[ $runs && $word == -- ]]; then
            _spraycc_hand_over "${starts[at + 1]}"
            return
        elif [[ $word == -- ]]; then
            ended=1
        elif [[ ! $ended && $word == -* ]]; then
            if [[ " $valued " == *" $word "* ]]; then
                ((++at))
                ((at < last)) || option=$word
            fi
        elif [[ $runs ]] || { [[ ! $command ]] && _spraycc_is_tool "${word##*/}"; }; then
            _spraycc_hand_over "${starts[at]}"
            return
        elif [[ " $commands " == *" $word "* ]]; then
            command+=${command:+ }$word
            _spraycc_table "$command"
        fi
    done

    local value=$current before=
    COMPREPLY=()
    if [[ $option ]]; then
        _spraycc_value "$command" "$option"
    elif [[ ! $ended && $current == --*=* ]]; then
        option=${current%%=*} value=${current#*=} before=$option=
        _spraycc_value "$command" "$option"
    elif [[ ! $ended && $current == -* ]]; then
        _spraycc_words "$options"
    elif [[ $runs ]]; then
        _spraycc_hand_over "${starts[last]}"
        return
    elif [[ $commands ]]; then
        _spraycc_words "$commands"
    else
        _spraycc_value "$command" ''
    fi

    # readline keeps the parts before the last = or :.
    [[ $part == [=:]* ]] && ((${#part} == 1)) && part=
    local kept=${current%"$part"}
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        COMPREPLY[i]=$before${COMPREPLY[i]}
        COMPREPLY[i]=${COMPREPLY[i]#"$kept"}
    done
}

complete -F _spraycc spraycc
"""

_ACTIONS = {
    Kind.FILE: "compopt -o default",
    Kind.DIRECTORY: "compopt -o dirnames",
    Kind.HOST: "_spraycc_action hostname",
    Kind.PROGRAM: "_spraycc_action command",
    Kind.VARIABLE: "_spraycc_action export",
    Kind.BUILD: "_spraycc_builds",
}


def script(root: Command) -> str:
    """The script for the command line ``root``."""
    commands = [command for command in walk(root) if not is_tool(command)]
    tables = "\n".join(map(_table_case, commands))
    values = "\n".join(case for command in commands for case in _value_cases(command))
    tools = "|".join(command.words[0] for command in walk(root) if is_tool(command))
    known = f"_spraycc_is_tool() {{\n    [[ $1 == @({tools}) ]]\n}}\n"
    return "\n".join((_HEAD, _TABLE % (tables, values), known, _CODE))


def _table_case(command: Command) -> str:
    names = [name for option in command.options for name in (*option.names, *option.off_names)]
    valued = [name for option in command.options if option.metavar for name in option.names]
    children = [child.words[-1] for child in command.commands]
    lists = {"commands": children, "options": names, "valued": valued, "runs": ["1"] if command.runs_tool else []}
    lines = [f"        {name}='{' '.join(words)}'" for name, words in lists.items() if words]
    return "\n".join([f"    '{' '.join(command.words)}')", *lines, "        ;;"])


def _value_cases(command: Command) -> list[str]:
    # A setting and a command's own option may have the same name: the command's words tell them apart.
    words = " ".join(command.words)
    cases = [
        ("|".join(f"'{words} {name}'" for name in option.names), _action(option))
        for option in command.options
        if option.metavar
    ]
    cases += [(f"'{words} '", _action(argument)) for argument in command.arguments[:1] if not command.runs_tool]
    return [f"    {pattern}) {action} ;;" for pattern, action in cases if action]


def _action(value: Option | Argument) -> str:
    kind = kind_of(value)
    return f"_spraycc_words '{' '.join(value.choices)}'" if kind is Kind.CHOICE else _ACTIONS.get(kind, "")
