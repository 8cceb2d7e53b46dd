"""Hosts with a bad disk or a full table of open files: bad_host.c, preloaded into the server or its executors.

Real ones take a device mapper, quota files and the whole machine.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.projects import c_project, objects, output_of
from tests.system.harness.sandbox import Account, Finished, Sandbox

UNITS = 16
#: Small, so that a link that is busy for long must not count as silent.
HEARTBEATS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """bad_host.c, compiled."""
    made = tmp_path_factory.mktemp("bad-host") / "bad_host.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, Path(__file__).parent / "bad_host.c", "-o", made], check=True)
    return made.read_bytes()


@pytest.fixture
def sandbox(library: bytes) -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(HEARTBEATS)
    sandbox.write({"bad_host.so": library}, sandbox.aside / "bad", mode=0o755)
    sandbox.write(c_project(UNITS))
    yield sandbox
    sandbox.close()


def bad(sandbox: Sandbox, **how: str | int | Path) -> list[str]:
    """The words before a command that put the command on a bad host."""
    variables = {f"BAD_HOST_{name}": str(value) for name, value in how.items()}
    variables["LD_PRELOAD"] = str(sandbox.aside / "bad/bad_host.so")
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


def start_bad_server(sandbox: Sandbox, **how: str | int | Path) -> None:
    """Executors and their processes do not load bad_host.c."""
    names = ["LD_PRELOAD", *(f"BAD_HOST_{name}" for name in how)]
    sandbox.settings["SPRAYCC_KEPT_VARIABLES"] += " LD_PRELOAD BAD_HOST_*"
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = shlex.join(["env", *(w for name in names for w in ("-u", name))])
    sandbox.run(*bad(sandbox, **how), sandbox.bin / "spraycc", "server", "start").ok()


def make_executors_bad(sandbox: Sandbox, **how: str | int | Path) -> None:
    """Commands have their runners' environments."""
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = shlex.join(bad(sandbox, **how))


def check(sandbox: Sandbox, built: Finished) -> None:
    print(built.figures, built.own_lines())
    assert len(objects(sandbox.workspace)) == UNITS + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def check_scratch_is_cleared(sandbox: Sandbox, switch: Path) -> None:
    """A killed executor that did not end in time, or could not, left its directory. The next executor removes it."""
    sandbox.stop()
    switch.unlink(missing_ok=True)
    (sandbox.workspace / "main.o").unlink()
    assert sandbox.build("make").ok().figures["remote"] == 1
