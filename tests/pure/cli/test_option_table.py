"""The table of commands and options is the command line, as plain data."""

from __future__ import annotations

import click
import pytest

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.help import COMMAND_GROUPS, command_groups
from spraycc.cli.option_table import Argument, Command, Option, _option, table, walk
from spraycc.cli.subcommands import make_group
from spraycc.config.keys import FIRST, GROUPS, KEYS

ROOT = table()


def command(*words: str) -> Command:
    return next(found for found in walk(ROOT) if found.words == words)


def option(found: Command, name: str) -> Option:
    return next(option for option in found.options if name in (*option.names, *option.off_names))


def test_each_setting_is_in_exactly_one_group() -> None:
    placed = [key for keys in GROUPS.values() for key in keys]
    assert sorted(placed) == sorted(KEYS)


def test_ten_settings_come_first() -> None:
    assert len(FIRST) == len(set(FIRST)) == 10
    assert set(FIRST) <= set(KEYS)


def test_each_setting_is_an_option_with_its_group_and_default() -> None:
    assert {option.key for option in ROOT.options} - {""} == set(KEYS)
    assert option(ROOT, "--local-slots") == Option(
        ("--local-slots",), (), "N", (), "auto", option(ROOT, "--local-slots").help, "limits", "local_slots"
    )
    assert option(ROOT, "--no-summary-line").default == "true"
    assert option(ROOT, "--queue-patience-s").default == "30"
    assert option(ROOT, "--capture").choices == ("auto", "overlay", "predict", "in-place")
    assert option(ROOT, "--queues").is_repeatable


def test_switches_take_no_value() -> None:
    assert option(command("status"), "--json").metavar == ""
    assert option(command("cluster", "show"), "--count").names == ("-n", "--count")
    assert option(command("cluster", "show"), "--count").metavar == "N"
    assert option(command("cluster", "show"), "--help").names == ("-h", "--help")
    assert option(command("doctor"), "--patience").default == "120"


@pytest.mark.parametrize(
    ("kind", "metavar"),
    [
        (click.Choice(["a"]), "WORD"),
        (click.IntRange(1), "N"),
        (int, "N"),
        (click.FloatRange(1), "NUMBER"),
        (str, "TEXT"),
        (click.Path(), "PATH"),
    ],
)
def test_an_option_without_a_placeholder_gets_that_of_its_type(kind: click.ParamType, metavar: str) -> None:
    assert _option(click.Option(["--x"], type=kind)).metavar == metavar


def test_arguments_and_tools() -> None:
    assert command("why").arguments == (Argument("TARGET", False, False),)
    assert command("run").arguments == (Argument("CMD", True, True),)
    assert {found.words for found in walk(ROOT) if found.runs_tool} == {
        (name,) for name in (*SUBCOMMANDS, "build", "run")
    }


def test_every_command_and_option_of_the_parser_is_in_the_table() -> None:
    def parsers(found: click.Command, words: tuple[str, ...]) -> dict[tuple[str, ...], click.Command]:
        context = click.Context(found)
        below: dict[tuple[str, ...], click.Command] = {}
        if isinstance(found, click.Group):
            for name in found.list_commands(context):
                child = found.get_command(context, name)
                assert child is not None
                below |= parsers(child, (*words, name))
        return {words: found} | below

    known = parsers(make_group(), ())
    assert {found.words for found in walk(ROOT)} == set(known)
    for found in walk(ROOT):
        names = {name for option in found.options for name in (*option.names, *option.off_names)}
        params = [param for param in known[found.words].params if isinstance(param, click.Option)]
        assert {name for param in params for name in (*param.opts, *param.secondary_opts)} <= names
        assert found.short_help
        assert all(option.help for option in found.options)


@pytest.mark.parametrize("names", [["make", "status", "doctor"], ["make", "a-new-one"]])
def test_each_command_is_in_one_group(names: list[str]) -> None:
    groups = command_groups(names)
    assert sorted(name for known in groups.values() for name in known) == sorted(names)
    assert set(groups) <= set(COMMAND_GROUPS)
