"""The launcher runs a build tool without SprayCC: within the local slots, and outside of the jobserver of the build."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatch_build import COMMAND, sources_of
from spraycc.jobserver.makeflags import compose, split, without_jobserver
from tests.system.harness.native import STRICT
from tests.system.runner.conftest import SANITIZE, compile_c

USER_FLAGS = [
    b"",
    b"k",
    b"-k --no-print-directory",
    b"-- A=1 B=-j8",
    b"k -- A=$(if $(B),-j 1,x) C=${D E} F=$$( G=a\\ -j9",
    b"--output-sync=line -I$(shell echo -j4 (a) b)/x",
    b"$(if $(filter other,x),-k -j2)",
    b"$(unfinished -j2",
]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("launcher") / COMMAND, sources_of(COMMAND), *STRICT, *SANITIZE)


def run(
    launcher: Path, tmp_path: Path, variables: dict[str, bytes], before: Sequence[str] = ("--shim",)
) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The words and the environment of the make that the launcher runs for ``make -j400 all`` after other words."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >words\nexec env -0 >env\n')
    make.chmod(0o755)
    env = {"PATH": os.fsencode(f"{tmp_path}:/usr/bin:/bin"), "SPRAYCC_LOCAL_SLOTS": b"3"}
    words = [str(launcher), "--plain", "a reason", *before, "make", "-j400", "all"]
    subprocess.run(words, env=env | variables, cwd=tmp_path, check=True, capture_output=True)
    entries = (tmp_path / "env").read_bytes().split(b"\0")
    found = {name: value for name, _, value in (entry.partition(b"=") for entry in entries if entry)}
    return (tmp_path / "words").read_bytes().split(b"\n")[:-1], found


@pytest.mark.parametrize("flags", USER_FLAGS)
def test_the_tool_leaves_the_builds_jobserver(launcher: Path, tmp_path: Path, flags: bytes) -> None:
    value = compose(b"/run/user/0/spraycc/fifo", 100, flags)
    words, env = run(launcher, tmp_path, {"SPRAYCC_BUILD": b"b1", "MAKEFLAGS": value, "MFLAGS": value})
    assert words == [b"-j3", b"all"]
    assert b"SPRAYCC_BUILD" not in env
    assert split(env[b"MAKEFLAGS"]) == split(without_jobserver(value))
    assert env[b"MFLAGS"] == env[b"MAKEFLAGS"]


def test_the_tool_keeps_the_jobserver_of_another_make(launcher: Path, tmp_path: Path) -> None:
    value = b"k -j8 --jobserver-auth=3,4"
    words, env = run(launcher, tmp_path, {"MAKEFLAGS": value})
    assert words == [b"-j400", b"all"]
    assert env[b"MAKEFLAGS"] == value


@pytest.mark.parametrize(
    "before",
    [
        "--project ninja",
        "--scratch-dir=/scratch/make",
        "--summary run --wait-for-cluster",
        "--no-summary-line --account build",
        "--",
        "--project cmake build",
        "--project cmake run --local --",
    ],
)
def test_the_value_of_an_option_is_no_tool(launcher: Path, tmp_path: Path, before: str) -> None:
    words, _ = run(launcher, tmp_path, {}, before.split())
    assert words[1:] == [b"all"]


@pytest.mark.parametrize("line", ["", "--project make", "why make", "--summary make --account build status"])
def test_a_command_line_without_a_tool_runs_none(launcher: Path, tmp_path: Path, line: str) -> None:
    words = [str(launcher), "--plain", "a reason", *line.split()]
    ended = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, b"spraycc: error: a reason\n")
