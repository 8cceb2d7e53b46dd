"""In whatever way a project is built: all compiles go to executors, and each file is that of a plain build.

The build tree is configured without SprayCC.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from spraycc.build_tools import SUBCOMMANDS
from tests.system.harness import needs, ways
from tests.system.harness.sandbox import Sandbox, program
from tests.system.harness.ways import Way

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.overlay]

WAYS = {**ways.CMAKE_WAYS, **ways.MAKE_WAYS, **ways.OTHER_WAYS}

#: The logs of Ninja and SCons, and some of Debian's records, have times of the build.
TIMED = (".ninja_log", ".ninja_deps", ".sconsign.dblite", "prog_1_amd64.build", "prog_1_amd64.changes")


def content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(os.readlink(path))
    # Debian's record of a build has the environment. Nothing of SprayCC may be in it.
    return re.sub(rb"Build-Date: .*", b"", path.read_bytes()) if path.suffix == ".buildinfo" else path.read_bytes()


def contents(tree: Path) -> dict[str, bytes]:
    files = [path for path in tree.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(path.relative_to(tree)): content(path) for path in files if path.name not in TIMED}


class Project:
    """A project in the workspace, which is configured without SprayCC."""

    def __init__(self, sandbox: Sandbox, way: Way) -> None:
        needs.programs(dict(way.needs))
        self._sandbox = sandbox
        self._way = way
        self.tree = sandbox.workspace / "project"
        sandbox.write(way.files, self.tree)
        if "debian/control" in way.files:
            sandbox.write({"debian/rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n"}, self.tree, mode=0o755)
        self.line = way.line.replace("NINJA", str(program("ninja")))
        self._sandbox.run("sh", "-ec", way.configure, cwd=self.tree).ok()
        self._configured = sandbox.aside / "configured"
        self._copy(sandbox.workspace, self._configured)

    def built_plainly(self) -> dict[str, bytes]:
        """The files after a build without SprayCC. The tree itself stays as it is."""
        self._sandbox.run("sh", "-ec", self.line, cwd=self.tree).ok()
        made = contents(self._sandbox.workspace)
        shutil.rmtree(self.tree)
        self._copy(self._configured, self._sandbox.workspace)
        return made

    def check(self, plain: dict[str, bytes]) -> None:
        """Checks that the files are those of the plain build."""
        made = contents(self._sandbox.workspace)
        assert made.keys() == plain.keys()
        assert [file for file, data in made.items() if plain[file] != data] == []

    def _copy(self, source: Path, target: Path) -> None:
        self._sandbox.run("cp", "-a", f"{source}/.", target).ok()


def command(line: str) -> list[str]:
    """The words behind ``spraycc``."""
    words = shlex.split(line)
    return words if Path(words[0]).name in SUBCOMMANDS else ["build", "--", *words]


@pytest.mark.parametrize("name", WAYS)
def test_spraycc_in_front(sandbox: Sandbox, name: str) -> None:
    project = Project(sandbox, WAYS[name])
    plain = project.built_plainly()
    built = sandbox.build(*command(project.line), options=["--wait-for-cluster"], cwd=project.tree).ok()
    assert built.figures["remote"] == WAYS[name].compiles, built.words()
    project.check(plain)


@pytest.mark.parametrize(
    "name", ["make", "cmake --build", "ninja", "new ninja", "multi-config", "absolute CC", "meson"]
)
def test_in_a_prepared_shell(sandbox: Sandbox, name: str) -> None:
    """Plain make, ninja and cmake --build in a shell that `spraycc env` has prepared."""
    project = Project(sandbox, WAYS[name])
    plain = project.built_plainly()
    tool, _, words = project.line.partition(" ")
    place, tool = os.path.split(tool)
    path = f"PATH={place}:$PATH\n" if place else ""
    summary = sandbox.temp / "summary"
    settings = {"SUMMARY": str(summary), "EXECUTORS": "2", "LOCAL_SLOTS": "1", "WAIT_FOR_CLUSTER": "true"}
    script = f'{path}eval "$(spraycc env)"\n{tool} {words}'
    env = {f"SPRAYCC_{setting}": value for setting, value in settings.items()}
    done = sandbox.run("sh", "-ec", script, cwd=project.tree, env=env).ok()
    assert sandbox.figures(summary)["remote"] == WAYS[name].compiles, done.words()
    project.check(plain)


@pytest.mark.parametrize("home", ["home", "missing"])
def test_another_home_in_a_recipe(sandbox: Sandbox, home: str) -> None:
    """Like debhelper's: HOME is a directory in the source tree. In a package builder's chroot, HOME is missing."""
    makefile = f"""\
export HOME := {sandbox.workspace}/{home}
all:
	$(MAKE) -j3 CC=gcc prog
	spraycc run -- gcc -c u1.c -o extra.o
include Makefile
"""
    tree = sandbox.write({**ways.PROJECT, "home.mk": makefile, "home/file": ""})
    built = sandbox.build("make", "-f", "home.mk", options=["--wait-for-cluster"]).ok()
    assert built.figures["remote"] == ways.UNITS + 2
    assert len(built.own_lines()) == 1, built.words()
    assert [path.name for path in tree.glob("home/*")] == ["file"]
    assert not (tree / "missing").exists()
