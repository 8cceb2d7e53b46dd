"""The life of batch jobs on a real Grid Engine: limits, cancels, and a master that is down."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest

from tests.system.cluster import lifecycle
from tests.system.cluster.client_commands import ClientCommands
from tests.system.cluster.managers import GridEngine
from tests.system.cluster.shared import UNITS, assert_built, check_cancelled_in_mid_task, server_log, wait_for_others
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

# All tests share one Grid Engine, so one pytest worker runs them (tests/distribution.py).
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.root]


def test_limit_of_jobs(
    grid_engine_sandbox: Sandbox, grid_engine: GridEngine, grid_engine_commands: ClientCommands
) -> None:
    """The user may have one array. The build uses it, the user is told, and Grid Engine is not asked in a loop."""
    sandbox = grid_engine_sandbox
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--array-limit", "2"]
    command, _ = sandbox.build_command(["make", "-j8"], options, executors=4)
    words = "only 1 jobs are allowed per user"
    grid_engine.limit(max_u_jobs=1)
    try:
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for_busy_executors(2)
            told = re.compile(rf"notice: .*{words}.*; 2 of 4 executors are submitted")
            sandbox.wait_for("the refusal of the second array is told", lambda: told.search(server_log(sandbox)))
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
    finally:
        grid_engine.limit(max_u_jobs=0)
    assert process.returncode == 0, err
    assert len(grid_engine_commands.failed("qsub")) <= 2  # of two elements, then of one
    assert err.count(words.encode()) == 1
    assert_built(sandbox)


def test_what_waits_for_the_site_starts_later(
    grid_engine_sandbox: Sandbox, grid_engine: GridEngine, grid_engine_commands: ClientCommands
) -> None:
    """Arrays are small, the queue is disabled, then each array may run one element: the user is told each reason once."""
    sandbox = grid_engine_sandbox
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=4)
    grid_engine.limit(max_aj_tasks=3, max_aj_instances=1)
    try:
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            with lifecycle.drained(grid_engine):
                sandbox.wait_for("the reason was shown", lambda: "because it is disabled" in server_log(sandbox))
            sandbox.wait_for_busy_executors(2)
            assert sorted(Counter(name.partition(".")[0] for name, _ in grid_engine.listed()).values()) == [2, 2]
            sandbox.wait_for("the reason was shown", lambda: "due to 'max_aj_instances'" in server_log(sandbox))
            assert len(grid_engine.waiting()) == 2
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
    finally:
        grid_engine.limit(max_aj_tasks=75000, max_aj_instances=2000)
    assert process.returncode == 0, err
    shown = [line for line in err.decode().splitlines() if "wait: " in line]
    assert 1 <= len(shown) == len(set(shown))  # the reason is asked for once a minute, and may name both
    assert len(grid_engine_commands.failed("qsub")) == 1
    grid_engine_commands.assert_seldom("qstat", interval_s=1, at_once=2)  # a listing, and the reason
    assert b"max_aj_tasks" not in err
    assert_built(sandbox)


def test_the_sites_defaults_for_qstat_hide_nothing(
    grid_engine_sandbox: Sandbox, grid_engine: GridEngine, grid_engine_commands: ClientCommands
) -> None:
    """sge_qstat(5) has such a file as its example. Batch jobs that no listing has would be cancelled, or left at the end."""
    sandbox = grid_engine_sandbox
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with lifecycle.drained(grid_engine), sandbox.start(command, stderr=subprocess.PIPE) as process:
        with grid_engine.defaults_of_qstat("-s rs -u $user"):
            sandbox.wait_for("listings were read", lambda: len(grid_engine_commands.started("qstat")) >= 6)
            assert grid_engine_commands.started("qdel") == []
            assert len(grid_engine_commands.started("qsub")) == 1
        assert len(grid_engine.waiting()) == 2
        process.terminate()
        process.communicate(timeout=HANG_S)
        sandbox.stop()
    assert grid_engine.waiting() == []


def test_queue_in_error_state(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """The user is told why nothing starts, and the build goes on on the submit host."""
    sandbox = grid_engine_sandbox
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1", "SPRAYCC_PENDING_GRACE_S": "1"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"])
    grid_engine.set_prolog("/bin/false")
    try:
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for("the reason was shown", lambda: "exit_status of prolog = 1" in server_log(sandbox))
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
        sandbox.stop()
    finally:
        grid_engine.set_prolog("NONE")
        grid_engine.clear_errors()
    assert process.returncode == 0, err
    assert err.count(b"exit_status of prolog = 1") == 1
    assert_built(sandbox)


def test_batch_jobs_in_error_state(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """They never start. The user is told Grid Engine's reason, and they do not stay in the queue."""
    sandbox = grid_engine_sandbox
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1", "SPRAYCC_PENDING_GRACE_S": "1"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], ["--submit-arguments", "-o /nonexistent/directory"])
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for("they were cancelled", lambda: "will not start what was submitted" in server_log(sandbox))
        sandbox.wait_for("nothing waits", lambda: not grid_engine.listed())
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert b"can't open output file" in err, err
    assert_built(sandbox)


def test_cancelled_by_the_user(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    lifecycle.check_cancelled_by_the_user(grid_engine_sandbox, grid_engine)


def test_suspended(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """Grid Engine sends a warning before it stops an executor. The executor leaves at once."""
    check_cancelled_in_mid_task(grid_engine_sandbox, lambda batch_job: grid_engine.run("qmod", "-sj", batch_job))


def test_rescheduled(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """Some sites require ``-r y``: the executor is missed at once, and its batch job is not left waiting at the end."""
    sandbox = grid_engine_sandbox
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--submit-arguments", "-r y"]
    command, summary = sandbox.build_command(["make", "-j2"], options, executors=2)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(2)
        grid_engine.run("qmod", "-rj", busy[0]["batch_job"])
        wait_for_others(sandbox, {executor["id"] for executor in busy}, 2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] == 1


def test_cancel_is_repeated(
    grid_engine_sandbox: Sandbox, grid_engine: GridEngine, grid_engine_commands: ClientCommands
) -> None:
    lifecycle.check_cancel_is_repeated(grid_engine_sandbox, grid_engine, grid_engine_commands, "qdel")


def test_left_at_the_end(grid_engine_sandbox: Sandbox, grid_engine: GridEngine) -> None:
    """The next server cancels what the last one could not."""
    sandbox = grid_engine_sandbox

    def build() -> None:
        sandbox.run("make", "clean").ok()
        sandbox.settings["SPRAYCC_PENDING_GRACE_S"] = "0"  # nothing starts
        sandbox.build("make").ok()

    lifecycle.check_left_at_the_end(sandbox, grid_engine, build)
