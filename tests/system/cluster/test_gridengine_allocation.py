"""Builds inside an allocation of a real Grid Engine: executors are started with ``qrsh -inherit``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.system.cluster.managers import GridEngine
from tests.system.cluster.shared import UNITS, assert_built
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.root]


@pytest.fixture
def sandbox(grid_engine_sandbox: Sandbox) -> Sandbox:
    del grid_engine_sandbox.settings["SPRAYCC_CLUSTER"], grid_engine_sandbox.settings["SPRAYCC_QUEUES"]
    return grid_engine_sandbox


def in_allocation(sandbox: Sandbox, command: Sequence[str | bytes | Path], slots: int) -> list[str | bytes | Path]:
    """``command`` in a job with a parallel environment, as qlogin would give it. Grid Engine passes no variables."""
    exports = [f"export {name}={shlex.quote(text)}" for name, text in _variables(sandbox) if name != "TMPDIR"]
    line = shlex.join(map(os.fsdecode, command))
    # At the end of the script Grid Engine kills all processes of the job. The server must have ended before.
    lines = ["#!/bin/sh", *exports, f"cd {sandbox.workspace}", f"{line} >{sandbox.temp}/out 2>&1"]
    script = "\n".join(lines)
    path = sandbox.write({"job.sh": script + "\n"}, sandbox.temp, mode=0o755) / "job.sh"
    return ["qsub", "-sync", "y", "-pe", "steps", str(slots), "-q", "all.q", "-o", "/dev/null", "-j", "y", path]


def commands(sandbox: Sandbox, part: str) -> list[str]:
    return [process.command for process in sandbox.processes() if part in process.command]


def compiles(sandbox: Sandbox, compiler: GatedCompiler) -> list[str]:
    return commands(sandbox, f"/bin/sh {compiler.directory}/gcc ")


def _variables(sandbox: Sandbox) -> list[tuple[str, str]]:
    return [(os.fsdecode(name), os.fsdecode(text)) for name, text in sandbox.environment().items()]


def test_the_slots_of_the_job_are_used(sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """All four but one: the submit host is its only host, and has one local slot."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=100)
    with sandbox.start(in_allocation(sandbox, command, slots=4)) as process:
        # Grid Engine gives each job a group of its own, so a `spraycc status` outside sees another server.
        sandbox.wait_for("three compiles run", lambda: len(compiles(sandbox, compiler)) == 3)
        assert len(commands(sandbox, "qrsh -inherit")) == 1
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    figures = sandbox.figures(summary)
    assert figures["local"] == 1  # the link
    assert figures["executors_peak"] == 3
    assert compiler.most_on_submit_host() == 0


def test_one_slot_on_this_host_needs_no_steps(sandbox: Sandbox, grid_engine: GridEngine) -> None:
    sandbox.run(*in_allocation(sandbox, [sandbox.bin / "spraycc", "config", "show"], slots=1)).ok()
    lines = (sandbox.temp / "out").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("cluster ")]
    assert '"local"' in line
    assert "of Grid Engine, whose CPUs are all on this host" in line
