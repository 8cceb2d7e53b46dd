"""The completion scripts and man pages name every command, option and setting of the command line."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from spraycc.cli.option_table import Argument, Command, Option, table, walk
from spraycc.cli.reference import bash, fish, man_page, zsh
from spraycc.cli.reference.__main__ import TEMPLATES
from spraycc.cli.reference.files import PAGES, files
from spraycc.cli.reference.roff import entry, escaped, paragraph, wrapped
from spraycc.cli.reference.usage import usage
from spraycc.cli.reference.values import Kind, first_sentence, is_tool, kind_of
from spraycc.config.keys import KEYS, default_word, variable

TOP = Path(__file__).parents[3]
ROOT = table()
#: The build tools have no words of their own.
COMMANDS = [command for command in walk(ROOT) if not is_tool(command)]
PAGE_TEMPLATES = {name: (TEMPLATES / f"{name}.in").read_text() for name in PAGES}
FILES = files(ROOT, PAGE_TEMPLATES, "1.2.3", "2026-01-02")


def names(command: Command) -> set[str]:
    return {name for option in command.options for name in (*option.names, *option.off_names)}


def plain(roff: str) -> str:
    """A page's text without fonts."""
    return re.sub(r"\\f[BIR]", "", roff).replace("\\-", "-").replace(" \\\n", " ")


def by_words(commands: list[Command]) -> list[object]:
    return [pytest.param(command, id="-".join(command.words) or "spraycc") for command in commands]


@pytest.mark.parametrize("command", by_words(COMMANDS))
def test_bash_knows_the_options_and_subcommands(command: Command) -> None:
    found = re.search(rf"^    '{' '.join(command.words)}'\)\n(.*?);;", bash.script(ROOT), re.DOTALL | re.MULTILINE)
    assert found is not None
    lists = {name: set(words.split()) for name, words in re.findall(r"^ +(\w+)='(.*)'$", found[1], re.MULTILINE)}
    assert lists.get("options", set()) == names(command)
    assert lists.get("commands", set()) == {child.words[-1] for child in command.commands}
    valued = {name for option in command.options if option.metavar for name in option.names}
    assert lists.get("valued", set()) == valued
    assert ("runs" in lists) == command.runs_tool


@pytest.mark.parametrize("command", by_words(COMMANDS))
def test_zsh_knows_the_options_and_subcommands(command: Command) -> None:
    name = "-".join(("_spraycc", *command.words))
    body = zsh.script(ROOT).partition(f"\n{name}() {{\n")[2].partition("\n}\n")[0]
    options = re.findall(r"^ +'(?:\*|\([^)]*\))?(--?[\w-]+)[=+]?\[", body, re.MULTILINE)
    assert sorted(options) == sorted(names(command))
    for child in command.commands:
        assert f"'{child.words[-1]}:" in body


@pytest.mark.parametrize("command", by_words(COMMANDS))
def test_fish_knows_the_options_and_subcommands(command: Command) -> None:
    start = f"complete -c spraycc -n '{' '.join(('__spraycc_at', *command.words))}' "
    lines = [line.removeprefix(start) for line in fish.script(ROOT).splitlines() if line.startswith(start)]
    heads = [line.partition(" -d ")[0].split(" ") for line in lines]
    found = {f"--{long}" for head in heads for sign, long in itertools.pairwise(head) if sign == "-l"}
    found |= {f"-{short}" for head in heads for sign, short in itertools.pairwise(head) if sign == "-s"}
    assert found == names(command)
    assert {head[1] for head in heads if head[0] == "-a"} == {child.words[-1] for child in command.commands}


def test_the_man_page_has_every_option_of_spraycc() -> None:
    options = FILES["man/man1/spraycc.1"].partition(".SH OPTIONS\n")[2].partition(".SH COMMANDS\n")[0]
    heads = re.findall(r"^\.TP\n(.*)\n", plain(options), re.MULTILINE)
    assert {word.strip(",") for head in heads for word in head.split() if word.startswith("-")} == names(ROOT)


@pytest.mark.parametrize("command", by_words([command for command in walk(ROOT) if command.words]))
def test_the_man_page_has_every_command_with_its_options(command: Command) -> None:
    commands = plain(FILES["man/man1/spraycc.1"].partition(".SH COMMANDS\n")[2].partition(".SH EXIT STATUS\n")[0])
    heads = re.findall(r"^\.TP\n(.*)\n", commands, re.MULTILINE)
    if is_tool(command):
        assert command.words[-1] in heads[0].replace(",", "").split()
        return
    words = " ".join(command.words)
    rest = {word for place in usage(command) for word in place.split()}
    starts = [at for at, head in enumerate(heads) if f"{head} ".startswith(f"{words} ")]
    [at] = [at for at in starts if set(heads[at].removeprefix(words).split()) <= rest]
    own = heads[at + 1 : at + 1 + len([option for option in command.options if "--help" not in option.names])]
    listed = {word.strip(",") for head in own for word in head.split() if word.startswith("-")}
    assert listed == names(command) - {"-h", "--help"}


@pytest.mark.parametrize("key", KEYS)
def test_the_page_of_the_configuration_has_every_setting(key: str) -> None:
    page = plain(FILES["man/man5/spraycc.toml.5"])
    entry = page.partition(f".TP\n{key}\n")[2].partition(".TP\n")[0]
    assert variable(key) in entry.replace(",", " ").replace(".\n", " ").split()
    assert f"Default: {default_word(key)}." in " ".join(entry.split())


def test_the_runners_page_has_the_runners_options() -> None:
    source = (TOP / "spraycc/native/runner/main.c").read_text()
    usage = source.partition("static const char usage[]")[2].partition("static _Noreturn")[0]
    page = plain(FILES["man/man1/spraycc-run.1"])
    options = page.partition(".SH OPTIONS\n")[2].partition(".SH")[0]
    assert set(re.findall(r"^\.B (--\w+)", options, re.MULTILINE)) == set(re.findall(r"--[a-z]+", usage))


def test_the_pages_have_the_version_and_the_date() -> None:
    for name, template in PAGE_TEMPLATES.items():
        assert '"2026-01-02" "SprayCC 1.2.3"' in FILES[f"man/man{name[-1]}/{name}"]
        assert ' "" "SprayCC 1.2.3"' in man_page.page(template, ROOT, "1.2.3", "")


def test_a_template_with_an_unknown_list_is_an_error() -> None:
    with pytest.raises(KeyError, match="MISSING"):
        man_page.page("@MISSING@\n", ROOT, "1", "")


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a-b", r"a\-b"),
        (r"C:\x", r"C:\ex"),
        ("it's `x` ~ ^", r"it\(aqs \(gax\(ga \(ti \(ha"),
        ("first …", r"first \[u2026]"),
    ],
)
def test_no_sign_is_a_command_of_roff(text: str, roff: str) -> None:
    assert escaped(text) == roff


def test_no_line_of_a_text_is_a_macro() -> None:
    assert paragraph(".spraycc.toml marks it. See `.x`") == "\\&.spraycc.toml marks it.\nSee \\fB.x\\fR"
    lines = wrapped("word " * 15 + ".hidden file")
    assert lines == [("word " * 15).strip(), "\\&.hidden file"]
    assert wrapped(".TH " + "long " * 30) == [".TH " + "long " * 30]


def test_a_long_head_of_a_list_is_one_line_of_roff() -> None:
    head = entry("word " * 30, "Text.")[1]
    assert head.replace(" \\\n", " ") == ("word " * 30).strip()
    assert all(len(line) <= 80 for line in head.split("\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Most executors at once. auto: all.", "Most executors at once"),
        ("One\nline.\n\nMore", "One line"),
        ("The file .spraycc.toml of a workspace", "The file .spraycc.toml of a workspace"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_the_kinds_of_values() -> None:
    def option(metavar: str, key: str = "", choices: tuple[str, ...] = ()) -> Option:
        return Option(("--x",), (), metavar, choices, "", "Help.", key=key)

    assert kind_of(option("FILE")) is Kind.FILE
    assert kind_of(option("WORD", choices=("a",))) is Kind.CHOICE
    assert kind_of(option("WORDS", "executor_prefix")) is Kind.PROGRAM
    assert kind_of(option("N")) is Kind.OTHER
    assert kind_of(Argument("BUILD", False, False)) is Kind.BUILD
