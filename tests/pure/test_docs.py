"""The pages name paths, functions, settings and rooms that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from spraycc.settings import Settings
from tests.pages import PAGES, TOP, name_of
from tests.pure.test_layers import ROOMS, VALUES

#: The changelog tells of files that are gone.
CHECKED = [page for page in PAGES if page.name != "CHANGELOG.md"]
#: A name in backticks that is a path of this project: with a slash, and a source's suffix or a folder's last slash.
PATH = re.compile(r"(?:[\w.-]+/)+(?:[\w-]+\.(?:py|c|h|md|json))?")
#: Directories that a page leaves out of a path.
BEFORE = ("", "spraycc", "spraycc/native", "tests", "docs", "docs/explanation", "docs/reference", "docs/how-to")
#: Paths of programs and build trees that are no part of this project.
FOREIGN = {"file/", ".vscode/tasks.json"}
NAME = r"`([A-Za-z_]\w*(?:\.\w+)?)`"


def text_of(page: Path) -> str:
    return page.read_text()


def find(name: str) -> Path | None:
    return next((TOP / lead / name for lead in BEFORE if (TOP / lead / name).exists()), None)


def defines(path: Path, name: str) -> bool:
    """Whether the source has a class, function or constant ``name``, or a method ``Class.method``."""
    if path.suffix == ".c":
        return re.search(rf"^[a-z].*\b{name}\(", path.read_text(), re.MULTILINE) is not None
    nodes: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in name.split("."):
        found = [node for node in nodes if part in _names(node)]
        if not found:
            return False
        nodes = getattr(found[0], "body", [])
    return True


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@pytest.mark.parametrize("page", CHECKED, ids=name_of)
def test_paths_in_backticks_exist(page: Path) -> None:
    words = [word for quoted in re.findall(r"`([^`\n]+)`", text_of(page)) for word in quoted.split()]
    named = {word.rstrip(":,") for word in words} - FOREIGN
    paths = [word for word in named if PATH.fullmatch(word)]
    assert not [path for path in sorted(paths) if find(path) is None and not (page.parent / path).exists()]


@pytest.mark.parametrize("page", CHECKED, ids=name_of)
def test_tests_that_are_named_exist(page: Path) -> None:
    files = [path for path in (TOP / "tests").rglob("test_*.py") if ".venv" not in path.parts]
    known = {path.stem for path in files}
    known |= {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert not set(re.findall(r"(?<!def )\btest_[a-z_]*[a-z]\b", text_of(page))) - known


def test_functions_that_are_named_with_their_file_are_in_it() -> None:
    text = " ".join(" ".join(text_of(page).split()) for page in CHECKED)
    path = r"`([\w.-]+/[\w./-]+\.(?:py|c))`"
    pairs = [(file, name) for file, name in re.findall(rf"{path}(?: \(|: ){NAME}", text)]
    pairs += [(file, name) for name, file in re.findall(rf"{NAME}(?: \(|, | in ){path}", text)]
    assert len(pairs) > 20
    for file, name in pairs:
        found = find(file)
        assert found is not None, file
        assert defines(found, name), f"{file} has no {name}"


def test_a_missing_function_is_noticed() -> None:
    server = TOP / "spraycc/server/server.py"
    assert defines(server, "Server.run")
    assert not defines(server, "Server.missing")
    assert not defines(TOP / "spraycc/native/runner/find_program.c", "missing")


def test_the_architecture_shows_each_room_and_its_imports() -> None:
    section = text_of(TOP / "docs/explanation/architecture.md").partition("## The rooms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\S+)` \|.*\|(.*)\|$", section, re.MULTILINE)
    shown = [(room, set(re.findall(r"`(\S+)`", imports))) for room, imports in rows]

    def short(room: str) -> str:
        return room.removeprefix("spraycc.").replace(".", "/")

    rooms = [(short(room), set(map(short, below - VALUES))) for room, below in ROOMS.items() if room != "spraycc"]
    assert shown == rooms


def test_the_settings_of_the_cluster_page_exist() -> None:
    section = text_of(TOP / "docs/how-to/clusters.md").partition("## Settings")[2].partition("\n## ")[0]
    keys = re.findall(r"^\| `(\w+)`", section, re.MULTILINE) + re.findall(r"^- `(\w+)`", section, re.MULTILINE)
    assert len(keys) > 10
    assert not set(keys) - set(Settings.__dataclass_fields__)
