"""The list of notices is whole: each is used, each can be filled, and docs/reference/messages.md shows all of them."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from spraycc.notices import Notice
from tests.tools.messages_page import GROUPS, PAGE, notices, page, shown

TOP = Path(__file__).parents[2]
SOURCES = {path: path.read_text() for path in sorted((TOP / "spraycc").rglob("*.py"))}
NOTICES = {f"{module}.{name}": notice for module in GROUPS for name, notice in notices(module).items()}
#: Functions that show a text to the user of a build, and errors whose text the user reads.
SHOWS = {"inform", "warn", "say", "notice", "on_notice", "_say", "_say_once", "_tell", "_failed", "_start_failed"}
ERRORS = re.compile(
    r"(?:Config|RuntimeDir|Workspace|Cluster)Error|NoRunner|NoPort|NoAddress|NoSessionFile|ConfigUnreadable"
)
#: Modules of a build. The messages of other commands are answers to the user's question, and explain themselves.
OF_A_BUILD = (
    "server", "cluster", "config", "directories.py", "runtime_dir.py", "workspace.py", "runner_files.py", "shims.py",
    "cli/build.py", "cli/build_tool.py", "cli/opened_build.py", "cli/server_start.py", "cli/server_connection.py",
    "cli/suspended_server.py", "cli/told_once.py", "cli/interception.py", "cli/without_spraycc.py",
)  # fmt: skip
#: Two words in a row: a text for people.
WORDS = re.compile(r"[a-z]{2,} [a-z]{2,}")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.tools.messages_page"


def test_each_module_of_notices_is_a_group_of_the_page() -> None:
    modules = {path.stem for path in (TOP / "spraycc/notices").glob("*.py")} - {"__init__"}
    assert modules == set(GROUPS)


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
def test_a_notice_fills_and_is_complete(notice: Notice) -> None:
    fields = dict.fromkeys(notice.fields, 7)
    text = notice.text(**fields)
    assert "{" not in text.replace("{command}", "")
    assert text.count("7") >= len(fields)
    for sentence in (notice.means, notice.remedy):
        assert re.fullmatch(r"[A-Z`\"].*[.]", sentence), "whole sentences"


def test_a_field_that_is_missing_or_unknown_is_an_error() -> None:
    notice = Notice("{host} has {count} files", "", "")
    for fields in ({"host": "a"}, {"host": "a", "count": 1, "more": 2}):
        with pytest.raises(AssertionError, match="count"):
            notice.text(**fields)
    assert notice.text(host="a", count=1) == "a has 1 files"


@pytest.mark.parametrize("name", NOTICES)
def test_each_notice_is_used(name: str) -> None:
    """By the attribute in Python. A program in C, or one that imports little, has the words themselves."""
    module, _, constant = name.partition(".")
    notice = NOTICES[name]
    if notice.source:
        text = re.sub(r'"\s*\n\s*f?"', "", (TOP / notice.source).read_text())
        for fixed, *_ in string.Formatter().parse(notice.words):
            assert all(part in text for part in fixed.strip(": ;").split("\n")), fixed
        return
    users = [text for path, text in SOURCES.items() if "notices" not in path.parts and imports(text, module)]
    assert any(re.search(rf"\b{imports(text, module)}\.{constant}\b", text) for text in users)


def imports(text: str, module: str) -> str:
    """The name under which a source knows a module of notices; empty: it does not import the module."""
    for line in re.findall(r"from spraycc\.notices import (.*)", text):
        for word in line.split(","):
            found, _, alias = word.strip().partition(" as ")
            if found == module:
                return alias or found
    return ""


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
def test_the_fixed_words_are_in_the_page(notice: Notice) -> None:
    text = PAGE.read_text()
    assert shown(notice) in text
    for fixed, *_ in string.Formatter().parse(notice.words):
        assert all(part.strip(" ;") in text for part in fixed.split("\n"))  # a search finds them


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.relative_to(TOP / "spraycc").as_posix().startswith(OF_A_BUILD)], ids=str
)
def test_no_text_of_a_build_is_written_where_it_is_shown(path: Path) -> None:
    assert own_texts(SOURCES[path]) == []


def own_texts(source: str) -> list[str]:
    """The texts that a source gives to a function of SHOWS or to an error of ERRORS, without a notice."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in SHOWS or ERRORS.fullmatch(name):
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                texts = [part.value for part in ast.walk(argument) if isinstance(part, ast.Constant)]
                found += [text for text in texts if isinstance(text, str) and WORDS.search(text)]
    return found


def test_a_text_of_its_own_is_found() -> None:
    assert own_texts('build.notice(f"the host {host} has failed")') == ["the host ", " has failed"]
    assert own_texts('raise ConfigError("is no number")') == ["is no number"]
    assert own_texts("build.notice(executors.GAVE_UP.text(count=3))") == []


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_page_that_a_message_names_exists(path: Path) -> None:
    """An installed SprayCC has no docs/, so messages name a page, and perhaps a heading, by its title."""
    titles: dict[str, str] = {}
    for file in (TOP / "docs").rglob("*.md"):
        _, _, text = f"\n{file.read_text()}".partition("\n# ")
        title, _, titles[title] = text.partition("\n")
    text = re.sub(r"[\"']\s*\n\s*f?[\"']", "", SOURCES[path]).replace("\\", "")
    for heading, title in re.findall(r'(?:see "([^"]+)" on )?the page "([^"]+)"', text):
        pages = [rest for known, rest in titles.items() if known.startswith(title)]
        assert pages, title
        assert not heading or any(re.search(rf"^#+ {re.escape(heading)}$", rest, re.MULTILINE) for rest in pages)


def test_no_message_names_a_file_of_the_documentation() -> None:
    for path, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "docs/" in node.value:
                is_docstring = "\n" in node.value or node.value.endswith(".")
                assert is_docstring, f"{path}: {node.value}"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_each_call_gives_the_fields_of_its_notice(path: Path) -> None:
    """A field that is missing would be an error in a user's build, in the moment in which the message is needed."""
    assert wrong_fields(SOURCES[path]) == []


def wrong_fields(source: str) -> list[str]:
    """The calls of ``module.NOTICE.text(…)`` in a source that miss a field or have another one."""
    modules = {imports(source, module): module for module in GROUPS}
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "text":
            continue
        name = ast.unparse(node.func).removesuffix(".text")
        known, _, constant = name.partition(".")
        notice = NOTICES.get(f"{modules.get(known, known)}.{constant}")
        if notice is None or any(keyword.arg is None for keyword in node.keywords):
            continue
        if {keyword.arg for keyword in node.keywords} != notice.fields:
            found.append(f"line {node.lineno}: {name}")
    return found


def test_a_wrong_field_is_found() -> None:
    begin = "from spraycc.notices import executors as e\n"
    assert wrong_fields(f"{begin}e.HOST_UNUSABLE.text(host=1, why=2)") == ["line 2: e.HOST_UNUSABLE"]
    assert wrong_fields(f"{begin}e.HOST_UNUSABLE.text(host=1, cause=2)") == []
