"""The runners import nothing from the package, so each repeats the names of the tools that have shims."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from spraycc.build_tools import JOBSERVER_TOOLS, RECIPE_STARTERS, SHIMMED, SUBCOMMANDS
from spraycc.cli.option_table import table

SPRAYCC = Path(__file__).resolve().parents[2] / "spraycc"


def test_the_native_runner_has_the_same_names() -> None:
    found = re.search(r"\bnames\[\] = \{(.*?)\};", (SPRAYCC / "native/runner/build_tool.c").read_text())
    assert found is not None
    assert tuple(re.findall(r'"([^"]*)"', found[1])) == SHIMMED


def test_the_launcher_has_the_names_of_the_subcommands() -> None:
    found = re.search(r"\bnames\[\] = \{(.*?)\};", (SPRAYCC / "native/launcher/plain.c").read_text())
    assert found is not None
    assert tuple(re.findall(r'"([^"]*)"', found[1])) == SUBCOMMANDS


def test_the_launcher_has_the_options_without_a_value() -> None:
    found = re.search(r"\bflags\[\] = \{(.*?)\};", (SPRAYCC / "native/launcher/plain.c").read_text(), re.DOTALL)
    assert found is not None
    flags = [name for option in table().options if not option.metavar for name in (*option.names, *option.off_names)]
    assert sorted(re.findall(r'"([^"]*)"', found[1])) == sorted(flags)


def test_the_fallback_runner_has_the_same_names() -> None:
    (names,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((SPRAYCC / "runner/fallback.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SHIMMED"
    )
    assert tuple(name.decode() for name in names) == SHIMMED


def test_what_has_a_shim_is_a_subcommand_and_starts_recipes() -> None:
    assert set(JOBSERVER_TOOLS) < set(SUBCOMMANDS) < set(SHIMMED)
    assert set(JOBSERVER_TOOLS) < set(RECIPE_STARTERS)
