"""The written pages of the reference name what the code has."""

from __future__ import annotations

import re

import pytest

from spraycc import directories
from spraycc.cli.option_table import table, walk
from spraycc.config.keys import RESERVED_VARIABLES
from spraycc.history.store import FILE_NAME
from tests.pages import DOCS

ENVIRONMENT = (DOCS / "reference/environment.md").read_text()
FILES = (DOCS / "reference/files.md").read_text()
STATUSES = (DOCS / "reference/exit-status.md").read_text()
#: Variables between parts of SprayCC, or of scripts in a checkout.
INTERNAL = {
    "SPRAYCC_BOX", "SPRAYCC_RECORDER", "SPRAYCC_VERSION", "SPRAYCC_UPSTREAM_CACHE", "SPRAYCC_PYTHONEXECUTABLE",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RESERVED_VARIABLES - INTERNAL))
def test_every_variable_is_on_its_page(name: str) -> None:
    assert f"`{name}" in ENVIRONMENT


def test_the_page_names_no_variable_that_does_not_exist() -> None:
    named = set(re.findall(r"\bSPRAYCC_[A-Z_]+\b", ENVIRONMENT))
    assert named - RESERVED_VARIABLES <= {"SPRAYCC_KEY", "SPRAYCC_LOCAL_SLOTS"}


@pytest.mark.parametrize("name", [variable for variable, _ in directories._KINDS.values()])
def test_the_pages_name_the_variables_of_the_directories(name: str) -> None:
    assert f"`{name}`" in ENVIRONMENT
    assert f"`${name}`" in FILES


@pytest.mark.parametrize(
    "name", [FILE_NAME, "server.log", "executors.log", "packs", "fallback-slots", "paths", "spraycc-packs-UID"]
)
def test_the_page_of_files_has_the_files(name: str) -> None:
    assert f"{name}`" in FILES


def test_each_command_has_its_exit_statuses() -> None:
    commands = [" ".join(command.words) for command in walk(table()) if command.words and not command.commands]
    section = STATUSES.partition("## Other commands")[2]
    missing = [name for name in commands if f"`{name}`" not in section and f"`spraycc {name}" not in STATUSES]
    assert set(missing) <= {"gmake", "ninja-build", "ctest", "cargo", "cmake", "server run"}
