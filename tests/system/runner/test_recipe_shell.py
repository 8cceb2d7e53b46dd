"""The shell of `--wrap-shell` runs each recipe line with the environment that /bin/sh would give it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spraycc.commands.interception import shell_function
from tests.system.runner.conftest import HERE

SCRIPT = HERE.parents[2] / "spraycc" / "runner" / "recipe-shell"
#: Prints the environment. The pattern of the second line fits the name of a wrapped program.
LINES = {"wrapped": "env", "direct": "env; : gcc"}


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """The script beside a runner that leaves a mark and executes its command, in a build with names of programs."""
    path = tmp_path / "recipe-shell"
    shutil.copy(SCRIPT, path)
    runner = tmp_path / "spraycc-run"
    runner.write_text(f'#!/bin/sh\n: > {tmp_path}/asked\nshift 2\nexec "$@"\n')
    for program in (path, runner):
        program.chmod(0o755)
    names = tmp_path / "builds" / "b1" / "names"
    names.parent.mkdir(parents=True)
    names.write_bytes(shell_function(["gen-*", "./tools/gen"]))
    return path


def assigned() -> set[str]:
    """All variables that the script and the sourced function set."""
    text = SCRIPT.read_text() + shell_function(["gen-*"]).decode()
    code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return set(re.findall(r"(?:^|[\s;&|(])([A-Za-z_]\w*)=", code)) | set(
        re.findall(r"\b(?:for|read|local)\s+(\w+)", code)
    )


@pytest.mark.parametrize("kind", LINES)
def test_a_recipe_has_the_environment_of_sh(shell: Path, tmp_path: Path, kind: str) -> None:
    """Every variable that the script sets is in its environment, except those with SprayCC's own prefix."""
    exported = {name for name in assigned() if not name.startswith("_spraycc_")}
    env = dict.fromkeys([*exported, "PWD", "OLDPWD"], "theirs") | {"PATH": os.environ["PATH"]}
    env |= {"SPRAYCC_SOCKET": f"{tmp_path}/socket", "SPRAYCC_BUILD": "b1"}
    words = ["-c", LINES[kind]]
    outputs = [
        subprocess.run([program, *words], env=env, capture_output=True, check=True).stdout
        for program in ("/bin/sh", shell)
    ]
    assert sorted(outputs[1].splitlines()) == sorted(outputs[0].splitlines())
    assert (tmp_path / "asked").exists() == (kind == "wrapped")
