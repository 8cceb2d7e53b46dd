"""The life of batch jobs on a real Slurm: limits, cancels, and a controller that is down."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest

from tests.system.cluster import lifecycle
from tests.system.cluster.client_commands import ClientCommands
from tests.system.cluster.managers import Slurm
from tests.system.cluster.shared import UNITS, assert_built, server_log
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

# All tests share one Slurm, so one pytest worker runs them (tests/distribution.py).
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_limit_of_submitted_batch_jobs(sandbox: Sandbox, slurm: Slurm, slurm_commands: ClientCommands) -> None:
    """The user may have three batch jobs. The build uses three, the user is told, and Slurm is not asked in a loop."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=8)
    slurm.limit("MaxSubmitJobs", 3)
    try:
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for_busy_executors(3)
            last = "--array=1-1"
            sandbox.wait_for(
                "a fourth is refused", lambda: any(last in line for line in slurm_commands.failed("sbatch"))
            )
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
    finally:
        slurm.limit("MaxSubmitJobs", None)
    assert process.returncode == 0, err
    assert len(slurm_commands.failed("sbatch")) <= 6
    assert err.count(b"AssocMaxSubmitJobLimit") == 1
    assert_built(sandbox)


def test_arrays_are_too_large(sandbox: Sandbox, slurm: Slurm, slurm_commands: ClientCommands) -> None:
    """SprayCC halves the array after one refusal. The user has nothing to do, so SprayCC says nothing."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j12"], ["--wait-for-cluster"], executors=12)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(slurm.slots)
        sandbox.wait_for("the second array was submitted", lambda: len(slurm.listed()) == 12)
        assert sorted(Counter(name.partition("_")[0] for name, _, _ in slurm.listed()).values()) == [6, 6]
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert len(slurm_commands.failed("sbatch")) == 1
    assert b"refused" not in err
    assert_built(sandbox)


def test_what_waits_for_the_site_starts_later(sandbox: Sandbox, slurm: Slurm, slurm_commands: ClientCommands) -> None:
    """The partition is down, then the user may run two batch jobs: the user is told each reason once."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    slurm.run("scontrol", "update", "PartitionName=long", "State=DOWN")
    try:
        command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=4)
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for("the reason was shown", lambda: "wait: PartitionDown" in server_log(sandbox))
            slurm.limit("MaxJobs", 2)
            slurm.run("scontrol", "update", "PartitionName=long", "State=UP")
            sandbox.wait_for_busy_executors(2)
            sandbox.wait_for("the reason was shown", lambda: "wait: AssocMaxJobsLimit" in server_log(sandbox))
            assert len(slurm.waiting()) == 2
            slurm.limit("MaxJobs", None)
            sandbox.wait_for_busy_executors(4)
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
    finally:
        slurm.limit("MaxJobs", None)
        slurm.run("scontrol", "update", "PartitionName=long", "State=UP")
    assert process.returncode == 0, err
    assert err.count(b"wait: PartitionDown") == 1
    assert err.count(b"wait: AssocMaxJobsLimit") == 1
    assert len(slurm_commands.started("sbatch")) == 1
    slurm_commands.assert_seldom("squeue", interval_s=1)
    assert_built(sandbox)


def test_a_node_is_drained_in_mid_build(sandbox: Sandbox, slurm: Slurm) -> None:
    """Its executors finish the build. The user is told why the others wait."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    with lifecycle.half_started_build(sandbox, slurm) as finish, lifecycle.drained(slurm):
        sandbox.wait_for("the reason was shown", lambda: "DRAINED" in server_log(sandbox))
        finish()


def test_cancelled_by_the_user(sandbox: Sandbox, slurm: Slurm) -> None:
    lifecycle.check_cancelled_by_the_user(sandbox, slurm)


def test_cancel_is_repeated(sandbox: Sandbox, slurm: Slurm, slurm_commands: ClientCommands) -> None:
    lifecycle.check_cancel_is_repeated(sandbox, slurm, slurm_commands, "scancel")


def test_left_at_the_end(sandbox: Sandbox, slurm: Slurm) -> None:
    """`spraycc server stop --force` cancels what the server could not."""

    def cancel() -> None:
        done = sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--force").ok()
        assert b"were found in the cluster, and cancelled" in done.out + done.err

    lifecycle.check_left_at_the_end(sandbox, slurm, cancel)


def test_unanswered_submission(sandbox: Sandbox, slurm: Slurm, slurm_commands: ClientCommands) -> None:
    lifecycle.check_unanswered_submission(sandbox, slurm, slurm_commands, "sbatch")
