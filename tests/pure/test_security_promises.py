"""Each promise of docs/explanation/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
#: short names of test files on that page
SHORT = {"security": "test_security.py", "connections": "test_executor_connections.py"}
#: an argument of a test in place of its name -> the file that has it
GIVEN = {"garbage on both sockets": "breakages.py"}


def promises() -> list[tuple[str, str]]:
    table = (TOP / "docs/explanation/security.md").read_text().partition("## Promises")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    return [(row[0].strip("| "), row[1]) for row in rows[1:]]


def text_of(name: str) -> str:
    """The text of the test file with this name, in any folder."""
    [path] = (TOP / "tests").rglob(name)
    return path.read_text()


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=[promise[:40] for promise, _ in promises()])
def test_the_tests_of_a_promise_exist(promise: str, tests: str) -> None:
    references = re.findall(r"`([^`]+)`", tests)
    assert references
    for reference in references:
        file, _, names = reference.partition(": ")
        wanted = [name.strip(" …") for name in names.split(",") if name]
        if wanted and set(wanted) <= set(GIVEN):
            assert all(name in text_of(GIVEN[name]) for name in wanted)
            continue
        text = text_of(SHORT.get(file, file))
        for name in wanted:
            assert re.search(rf"^(async )?def test_{re.escape(name)}", text, re.MULTILINE), f"{file}: no test_{name}…"
