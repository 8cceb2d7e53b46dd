"""Builds on a real Grid Engine. Only root can start it; the builds run as an ordinary user."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.system.cluster.managers import GridEngine
from tests.system.cluster.shared import UNITS, assert_built, check_cancelled_in_mid_task, server_log
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

# All tests share one Grid Engine, so one pytest worker runs them (tests/distribution.py).
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.root]


def test_a_build_with_more_executors_than_slots(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """An array, half of which stays pending. The reason is shown once, in Grid Engine's words."""
    sandbox = grid_engine_sandbox
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=8)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        busy = sandbox.wait_for_busy_executors(grid_engine.slots)
        assert len({executor["batch_job"].partition(".")[0] for executor in busy}) == 1
        states = [state for _, state in grid_engine.listed()]
        assert states.count("qw") == 8 - grid_engine.slots
        sandbox.wait_for("the reason was shown", lambda: "wait: " in server_log(sandbox))
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert b"because it is full" in err
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1  # the link


def test_executors_with_a_need_for_memory_start(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """Hosts report mem_free as a load value, which Grid Engine's check of a submission does not know."""
    sandbox = grid_engine_sandbox
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j2", options=["--wait-for-cluster", "--memory-mb", "100"]).ok()
    assert done.figures["local"] == 1  # the link
    assert_built(sandbox)


def test_deleted_in_mid_task(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    check_cancelled_in_mid_task(grid_engine_sandbox, lambda batch_job: grid_engine.run("qdel", batch_job))


def test_wall_time_reached_in_mid_task(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """Grid Engine kills without a message."""
    sandbox = grid_engine_sandbox
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--submit-arguments", "-l h_rt=6"]
    command, summary = sandbox.build_command(["make", "-j2"], options, executors=2)
    with sandbox.start(command) as process:
        first = {executor["id"] for executor in sandbox.wait_for_busy_executors(2)}
        sandbox.wait_for(
            "others have their tasks",
            lambda: len(ids := {e["id"] for e in sandbox.busy_executors()}) == 2 and not ids & first,
        )
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] >= 2


def test_master_down_at_submit(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    sandbox = grid_engine_sandbox
    sandbox.write(c_project(UNITS))
    grid_engine.stop_master()
    try:
        done = sandbox.build("make", "-j4").ok()
        assert any("Grid Engine can't be reached: " in line and "got send error" in line for line in done.own_lines())
        assert_built(sandbox)
        sandbox.stop()
    finally:
        grid_engine.start_master()


def test_master_down_in_mid_build(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """Connected executors need no master."""
    sandbox = grid_engine_sandbox
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=3)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(3)
        grid_engine.stop_master()
        try:
            compiler.open()
            assert process.wait(HANG_S) == 0
        finally:
            grid_engine.start_master()
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--queues", "nosuch.q"], 'unknown queue "nosuch.q"'),
        (["--queues", "brief.q", "--wall-time-s", "600"], "no suitable queues"),
        (["--cpus-per-executor", "2"], 'parallel environment "smp" does not exist'),
    ],
    ids=["unknown", "too long", "no environment"],
)
def test_what_is_refused(grid_engine_sandbox: Sandbox, options: list[str], words: str) -> None:
    sandbox = grid_engine_sandbox
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=options).ok()
    assert any(words in line for line in done.own_lines()), done.words()
    assert done.figures["remote"] == 0
    assert_built(sandbox)


def test_what_would_be_submitted_is_printed(grid_engine_sandbox: Sandbox) -> None:
    sandbox = grid_engine_sandbox
    shown = sandbox.run(
        sandbox.bin / "spraycc", "--queues", "all.q", "--setup", "module load gcc", "cluster", "show"
    ).ok()
    lines = shown.out.decode().splitlines()
    assert lines[1].startswith("qsub -terse -N spraycc-")
    assert "-t 1-100" in lines[1]
    assert "module load gcc" in lines
    assert not list(Path(sandbox.home).rglob("session-*.json"))


def test_a_configuration_is_begun(grid_engine_sandbox: Sandbox) -> None:
    sandbox = grid_engine_sandbox
    del sandbox.settings["SPRAYCC_CLUSTER"]
    (sandbox.workspace / ".spraycc.toml").unlink()
    done = sandbox.run(sandbox.bin / "spraycc", "config", "init").ok()
    assert b"Grid Engine answers (qconf), with " in done.err
    lines = (sandbox.workspace / ".spraycc.toml").read_text().splitlines()
    assert 'cluster = "gridengine"' in lines
    assert [line for line in lines if line.startswith("# queues = [") and "all.q" in line]


def test_doctor(grid_engine_sandbox: Sandbox) -> None:
    sandbox = grid_engine_sandbox
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster").ok()
    text = done.out.decode()
    assert "submitted: batch job" in text
    assert "executor: connected after" in text
    assert "batch job" in text
    assert "compile: " in text
