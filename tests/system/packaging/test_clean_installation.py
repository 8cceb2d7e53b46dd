"""The wheel in a Debian 12 without a compiler: pip, pipx and uv install it, and it builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spraycc import __version__
from tests.system.packaging.clean_root import HOME, WHEELS, CleanRoot
from tests.system.packaging.test_release import build, copy_sources

# The group of these tests makes the system once (tests/distribution.py). The mark makes the group one of the first.
pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.xdist_group("clean_installation")]

RELEASE, PYTHON = "bookworm", "3.11"
PROGRAMS = ["spraycc", "spraycc-box", "spraycc-main", "spraycc-run"]

#: Stands for a compiler: this system has none.
COMPILER = """#!/bin/sh
while [ $# -gt 1 ]; do
  [ "$1" != -o ] || out=$2
  shift
done
exec tr a-z A-Z <"$1" >"$out"
"""
MAKEFILE = """all: a.o b.o
a.o b.o: %.o: %.c
\t./gcc -c -o $@ $<
"""


@pytest.fixture(scope="module")
def root() -> Iterator[CleanRoot]:
    # Not in pytest's directory, of which the user may see nothing.
    work = Path(tempfile.mkdtemp(prefix="spraycc-clean.", dir="/var/tmp"))
    work.chmod(0o755)
    try:
        tree = copy_sources(work / "sources")
        build(tree, "wheel")
        [wheel] = (tree / "dist").glob("*.whl")
        made = CleanRoot.make(work / "root", RELEASE, ["python3-venv", "make"])
        wheels = made.path / WHEELS[1:]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--only-binary=:all:",
            "--python-version",
            PYTHON,
        ]
        subprocess.run([*command, "--dest", wheels, wheel, "pip", "pipx", "uv"], check=True)
        made.output(f"python3 -m venv venv && venv/bin/pip install --quiet {WHEELS}/{wheel.name} pipx uv")
        yield made
    finally:
        shutil.rmtree(work)


def test_there_is_no_compiler(root: CleanRoot) -> None:
    assert root.output("command -v cc gcc g++ clang || echo none") == "none\n"


def test_pip_installs_into_a_virtual_environment(root: CleanRoot) -> None:
    assert root.output("venv/bin/spraycc --version") == f"spraycc {__version__}\n"
    assert root.output("venv/bin/spraycc-run --version") == f"spraycc-run {__version__} native\n"


def test_the_doctor_finds_the_installation_in_order(root: CleanRoot) -> None:
    root.write("doctor/.spraycc.toml", "")
    said = root.output("../venv/bin/spraycc doctor", cwd=f"{HOME}/doctor")
    assert f"ok       spraycc: {__version__}, Python {PYTHON}" in said


def test_it_builds(root: CleanRoot) -> None:
    """With a script for a compiler."""
    for name, text in {"a.c": "first\n", "b.c": "second\n", "Makefile": MAKEFILE, ".spraycc.toml": ""}.items():
        root.write(f"project/{name}", text)
    root.write("project/gcc", COMPILER, 0o755)
    done = root.run("../venv/bin/spraycc make -j2; cat a.o b.o", cwd=f"{HOME}/project")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("FIRST\nSECOND\n")
    assert "spraycc: 2 tasks" in done.stderr


def test_pipx_installs_programs_and_man_pages(root: CleanRoot) -> None:
    root.output("venv/bin/pipx install spraycc")
    assert root.output("ls .local/bin").split() == PROGRAMS
    assert root.output("spraycc --version") == f"spraycc {__version__}\n"
    pages = root.output("cd .local/share/man && find . -type f -o -type l | sort").split()
    assert pages == ["./man1/spraycc-run.1", "./man1/spraycc.1", "./man5/spraycc.toml.5"]
    root.output("venv/bin/pipx uninstall spraycc")
    assert root.output("ls .local/bin") == ""


def test_uv_installs_programs(root: CleanRoot) -> None:
    """uv has no place for man pages: they stay in the tool's directory."""
    root.output("venv/bin/uv tool install --quiet spraycc", UV_TOOL_BIN_DIR=f"{HOME}/uv-bin")
    assert root.output("ls uv-bin").split() == PROGRAMS
    assert root.output("uv-bin/spraycc --version") == f"spraycc {__version__}\n"
    assert root.output("ls .local/share/uv/tools/spraycc/share/man/man1").split() == ["spraycc-run.1", "spraycc.1"]


def test_nothing_stays_mounted(root: CleanRoot) -> None:
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if os.fspath(root.path) in line]
