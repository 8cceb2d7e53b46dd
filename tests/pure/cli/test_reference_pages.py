"""The generated reference pages are up to date, and name every setting, command and option."""

from __future__ import annotations

import re

import click
import pytest

from spraycc.cli.option_table import Command, table, walk
from spraycc.cli.reference.examples import EXAMPLES
from spraycc.cli.reference.usage import own_options, usage
from spraycc.cli.reference.values import is_tool
from spraycc.config.keys import HELP, KEYS, default_word, flag, variable
from tests.command_lines import parse
from tests.tools import reference_pages

ROOT = table()
PAGES = {path.name: text for path, text in reference_pages.pages().items()}
COMMANDS = [command for command in walk(ROOT) if command.words]


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ `{re.escape(heading)}`\n(.*?)(?=^#+ [^#]|\Z)", PAGES[page], re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def by_words(command: Command) -> str:
    return "-".join(command.words)


@pytest.mark.parametrize("path", reference_pages.pages(), ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path) -> None:
    """``python -m tests.tools.reference_pages`` writes it."""
    assert path.read_text() == reference_pages.pages()[path]


@pytest.mark.parametrize("key", KEYS)
def test_the_page_has_every_setting_with_its_meaning_and_default(key: str) -> None:
    text = section("settings.md", key)
    words = re.sub(r"[^\w]+", " ", reference_pages.escaped(HELP[key]).replace("\\", ""))
    assert all(word.lower() in text.replace("\\", "").lower() for word in words.split())
    assert f"`{flag(key)}`" in text
    assert f"`{variable(key)}`" in text
    assert default_word(key) in text
    assert f"[`{key}`](#{key})" in PAGES["settings.md"]


@pytest.mark.parametrize("command", COMMANDS, ids=by_words)
def test_the_page_has_every_command_with_its_usage_and_options(command: Command) -> None:
    if is_tool(command):
        assert f"spraycc [OPTIONS] {command.words[0]} [WORDS]...\n" in PAGES["command-line.md"]
        return
    name = " ".join(("spraycc", *command.words))
    text = section("command-line.md", name)
    assert " ".join([name, *usage(command)]) + "\n" in text
    for option in own_options(command):
        for word in (*option.names, *option.off_names):
            assert f"`{word}" in text
    assert f"](#spraycc-{command.words[0]})" in PAGES["command-line.md"]


def test_the_usage_of_a_build_and_of_a_run() -> None:
    by_name = {command.words: " ".join(usage(command)) for command in COMMANDS}
    assert by_name["build",] == "-- CMD..."
    assert by_name["run",] == "[OPTIONS] CMD..."
    assert by_name["why",] == "[OPTIONS] [TARGET]"
    assert by_name["config",] == "COMMAND"


def test_every_command_has_an_example() -> None:
    groups = {command.words for command in COMMANDS if command.commands}
    tools = {command.words for command in COMMANDS if is_tool(command)}
    assert set(EXAMPLES) == {(), *(command.words for command in COMMANDS)} - groups - tools


@pytest.mark.parametrize("line", [example.line for examples in EXAMPLES.values() for example in examples])
def test_an_example_is_a_command_line_of_spraycc(line: str) -> None:
    [words] = re.findall(r"\bspraycc\b ?([^)\n]*)", line)
    parse(words.strip('"').split())


@pytest.mark.parametrize(
    "words", [["staus"], ["status", "--jso"], ["--executor", "4", "make"], ["config", "shwo"], ["build"]]
)
def test_a_wrong_command_line_is_noticed(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize(
    ("text", "markdown"),
    [("a*b_c <x>", r"a\*b\_c \<x>"), ("`a*b` c*", r"`a*b` c\*"), ("[x]", r"\[x\]")],
)
def test_no_sign_of_a_help_text_is_markdown(text: str, markdown: str) -> None:
    assert reference_pages.escaped(text) == markdown
