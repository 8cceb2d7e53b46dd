"""The blocks of shell code in the README, the tutorials and the how-to pages are run, in the order of each page.

All blocks of a page are one script, so a block sees the directory and the variables that earlier blocks have left. The
script runs in a small project, with executors on this host. NOT_RUN has the blocks that can't run in this way. These
are at least valid shell code, and tests/pure/docs/test_blocks.py parses each call of spraycc in them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pages import DOCS, TOP, Block, blocks, name_of
from tests.system.harness import needs
from tests.system.harness.projects import c_project
from tests.system.harness.sandbox import EXAMPLES, Sandbox

PAGES = [TOP / "README.md", *sorted((DOCS / "start").glob("*.md")), *sorted((DOCS / "how-to").glob("*.md"))]
#: Page -> words of a block that is not run, and the reason. Empty words: all blocks of the page that no other words fit.
NOT_RUN: dict[str, dict[str, str]] = {
    "README.md": {
        "pip install": "needs a package index",
        "spraycc config init": "needs a cluster manager",
        "sh tests/run": "would run these tests",
    },
}
#: Printed before each block: the message of a failure shows which block it was.
MARK = "@@@ block of line "


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh"]


def reason_not_to_run(page: Path, block: Block) -> str:
    """Why a block is not run; empty: it is."""
    known = NOT_RUN.get(name_of(page), {})
    return next((why for words, why in known.items() if words and words in block.text), known.get("", ""))


def run_blocks(page: Path) -> list[Block]:
    return [block for block in shell_blocks(page) if not reason_not_to_run(page, block)]


@pytest.fixture
def project(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose workspace has a small project for make, ninja and CMake, and the project of examples/."""
    # The tutorials show what a user gets: no other settings than theirs.
    for name in ("SPRAYCC_CAPTURE", "SPRAYCC_PROGRESS", "SPRAYCC_PENDING_GRACE_S"):
        sandbox.settings.pop(name, None)
    files = c_project(3)
    files["CMakeLists.txt"] = (
        "cmake_minimum_required(VERSION 3.16)\nproject(prog C)\nadd_executable(prog main.c u1.c u2.c u3.c)\n"
    )
    files["Makefile"] += "\ntest check: prog\n\t./prog\n"
    sandbox.write(files)
    shutil.copytree(EXAMPLES / "hello-cpp", sandbox.workspace / "examples/hello-cpp")
    sandbox.give(sandbox.workspace)
    return sandbox


@pytest.mark.parametrize("page", [page for page in PAGES if run_blocks(page)], ids=name_of)
def test_the_blocks_of_a_page_run(project: Sandbox, page: Path) -> None:
    needs.programs({"cmake": "cmake", "ninja": "ninja-build", "g++": "g++", "bash": "bash"})
    script = "set -e\n" + "".join(f"echo '{MARK}{block.line}' >&2\n{block.text}" for block in run_blocks(page))
    project.write({"script": script}, project.aside)
    finished = project.run("bash", project.aside / "script")
    at = finished.err.decode(errors="replace").rpartition(MARK)[2].partition("\n")[0]
    assert finished.status == 0, f"{name_of(page)}, block of line {at}: status {finished.status}\n{finished.words()}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_valid_shell_code(page: Path) -> None:
    for block in shell_blocks(page):
        # bash, because pages use its <(…).
        checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
        assert checked.returncode == 0, f"{name_of(page)}, line {block.line}: {checked.stderr}"


def test_each_exception_fits_a_block() -> None:
    for name, known in NOT_RUN.items():
        texts = [block.text for block in shell_blocks(TOP / name)]
        stale = [words for words in known if not any(words in text for text in texts)]
        assert not stale, f"{name}: {stale}"
        assert all(known.values())
