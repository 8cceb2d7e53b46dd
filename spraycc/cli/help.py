"""The texts of ``spraycc``, ``spraycc --help`` and ``spraycc --help-all``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.flags import SettingOption, default_text
from spraycc.config.keys import FIRST, GROUPS

#: The groups of the subcommands: title -> names, in the order shown. A subcommand in no group is in the last one.
COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "build": (*SUBCOMMANDS, "build", "run", "env"),
    "look at builds": ("status", "top", "why", "builds", "report", "trace", "history"),
    "set-up": ("doctor", "config", "cluster", "server", "clean", "completion", "help"),
}
#: Width of the first column. A longer name or option has a line of its own.
_COLUMN = 26

ALONE = """\
Usage: spraycc [OPTIONS] TOOL [WORDS...]

Builds C and C++ on the CPUs of a batch cluster. The commands that matter first:

  spraycc make -j400     run a build; also ninja, cmake --build, or spraycc build -- ANY COMMAND
  spraycc status         show the server, its executors and its builds
  spraycc why            show where the tasks of the last build ran, and why
  spraycc doctor         check this host, and show how to repair it
  spraycc config show    show the settings in force, and where each comes from

`spraycc --help` lists all commands and the first options."""

INTRODUCTION = """Builds C and C++ on the CPUs of a batch cluster.

SprayCC's options stand before the tool's name. All words after the name are the tool's:
spraycc --executors 64 make -j100 all"""

EPILOG = (
    "Each option is also a key of the configuration (`spraycc config path` names the files) and a variable: "
    "--local-slots is local_slots and SPRAYCC_LOCAL_SLOTS. `spraycc COMMAND --help` shows a command's own options."
)


def write_options(formatter: click.HelpFormatter, params: Sequence[click.Parameter], *, whole: bool) -> None:
    """Write the options by group. ``whole``: all settings, not only those of FIRST."""
    settings = {param.name: param for param in params if isinstance(param, SettingOption)}
    for title, keys in GROUPS.items():
        rows = [_row(settings[key], key) for key in keys if whole or key in FIRST]
        if rows:
            with formatter.section(f"Options ({title})"):
                _write(formatter, rows)
    context = click.get_current_context()
    others = [param.get_help_record(context) for param in params if not isinstance(param, SettingOption)]
    with formatter.section("Options (help)"):
        _write(formatter, [record for record in others if record is not None])


def _row(option: click.Option, key: str) -> tuple[str, str]:
    record = option.get_help_record(click.get_current_context())
    assert record is not None, f"{key}: an option without a help text"
    names, words = record
    return names.replace(" / ", ", "), f"{words} {default_text(key)}"


def write_commands(formatter: click.HelpFormatter, commands: dict[str, click.Command]) -> None:
    """Write the subcommands by group. The build tools share one line."""
    for title, names in command_groups(commands).items():
        rows = []
        if tools := [name for name in names if name in SUBCOMMANDS]:
            rows.append((", ".join(tools), "Run the build tool with all words after its name."))
        rows += [(name, commands[name].get_short_help_str(150)) for name in names if name not in SUBCOMMANDS]
        with formatter.section(f"Commands ({title})"):
            _write(formatter, rows)


def _write(formatter: click.HelpFormatter, rows: list[tuple[str, str]]) -> None:
    """Write two columns, the second at the same place in all sections: click's is as narrow as a section allows."""
    widest = _COLUMN - formatter.current_indent
    formatter.write_dl([(first.ljust(widest), second) for first, second in rows], col_max=widest)


def command_groups(names: Sequence[str] | dict[str, click.Command]) -> dict[str, list[str]]:
    """The groups of these subcommands, without groups that are empty. Each name is in one group."""
    grouped = {title: [name for name in known if name in names] for title, known in COMMAND_GROUPS.items()}
    placed = {name for known in grouped.values() for name in known}
    grouped[list(COMMAND_GROUPS)[-1]] += sorted(set(names) - placed)
    return {title: known for title, known in grouped.items() if known}
