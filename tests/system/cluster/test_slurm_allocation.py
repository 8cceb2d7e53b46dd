"""Builds inside an allocation of a real Slurm: executors are steps of the allocation."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system.cluster.conftest import sandbox_of
from tests.system.cluster.managers import Slurm
from tests.system.cluster.shared import UNITS, assert_built, forget_killed_server, server_log
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

# All tests share one Slurm, so one pytest worker runs them (tests/distribution.py).
pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: The command line of a build without --executors: all CPUs of the allocation.
WIDE = 100


@pytest.fixture
def sandbox(slurm: Slurm) -> Iterator[Sandbox]:
    for sandbox in sandbox_of(slurm):
        del sandbox.settings["SPRAYCC_CLUSTER"]
        yield sandbox
        assert not steps(slurm)


def in_allocation(command: Sequence[str | bytes | Path], cpus: int = 4) -> list[str | bytes | Path]:
    """``command`` in an allocation. salloc runs the command on the submit host."""
    return ["salloc", "--quiet", f"--ntasks={cpus}", *command]


def steps(slurm: Slurm) -> int:
    """The steps of executors that run now."""
    return slurm.run("squeue", "--steps", "--noheader", "--format=%j").split().count("spraycc")


def batch_jobs(executors: Sequence[dict[str, str]]) -> set[str]:
    return {executor["batch_job"] for executor in executors}


def the_allocation(slurm: Slurm) -> str:
    (found,) = slurm.listed()
    return found[0]


def test_the_cpus_of_the_allocation_are_used(sandbox: Sandbox, slurm: Slurm) -> None:
    """All of its CPUs but one: the submit host is one of its hosts, and has one local slot."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=WIDE)
    with sandbox.start(in_allocation(command)) as process:
        busy = sandbox.wait_for_busy_executors(3)
        assert batch_jobs(busy) == {the_allocation(slurm)}
        assert steps(slurm) == 1  # one for all executors of the host
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    figures = sandbox.figures(summary)
    assert figures["local"] == 1  # the link
    assert compiler.most_on_submit_host() == 0
    sandbox.wait_for("the allocation has ended", lambda: not slurm.listed())
    assert len(sandbox.executor_counters()) <= 3


def test_executors_limit_the_use(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(in_allocation(command)) as process:
        sandbox.wait_for_busy_executors(2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert len(sandbox.status().get("executors", [])) <= 2


def test_beside_a_step_of_the_user(sandbox: Sandbox, slurm: Slurm) -> None:
    """A step that has all CPUs holds up no executor."""
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=WIDE)
    script = f"srun --ntasks=4 --job-name=mine sleep 1000 & {shlex.join(map(os.fsdecode, command))}; status=$?; kill %1; exit $status"
    done = sandbox.run(*in_allocation(["bash", "-mc", script])).ok()
    assert_built(sandbox)
    assert done.status == 0
    sandbox.wait_for("the allocation has ended", lambda: not slurm.listed())


def test_an_allocation_with_cpus_here_needs_no_steps(sandbox: Sandbox, slurm: Slurm) -> None:
    """One CPU, which the processes of this host can use anyway."""
    sandbox.write(c_project(UNITS))
    shown = sandbox.run(*in_allocation([sandbox.bin / "spraycc", "config", "show"], cpus=1)).ok().out.decode()
    (line,) = [line for line in shown.splitlines() if line.startswith("cluster ")]
    assert '"local"' in line
    assert "of Slurm, whose CPUs are all on this host" in line


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_a_cluster_that_the_user_names_is_used(sandbox: Sandbox, slurm: Slurm, cluster: str) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], ["--wait-for-cluster", "--cluster", cluster], executors=1)
    with sandbox.start(in_allocation(command, cpus=3)) as process:
        (executor,) = sandbox.wait_for_busy_executors(1)
        assert not steps(slurm)
        # An executor that is a process of the submit host sees no variable of the allocation.
        assert executor["batch_job"] == ("" if cluster == "local" else slurm.listed()[-1][0])
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)


def test_a_later_build_outside_does_not_use_it(sandbox: Sandbox, slurm: Slurm) -> None:
    """The server and its executors outlive the first build. The second build's tasks run on other executors."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    first, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=WIDE)
    second, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"])
    done, leave = sandbox.temp / "done", sandbox.temp / "leave"
    line = shlex.join(map(os.fsdecode, first))
    script = f"{line} && touch {done} && while [ ! -e {leave} ]; do sleep 0.1; done"
    compiler.open()
    with sandbox.start(in_allocation(["sh", "-c", script])) as process:
        sandbox.wait_for("the first build is done", done.exists)
        inside = {executor["id"] for executor in sandbox.status()["executors"]}
        assert inside
        sandbox.run("make", "clean").ok()
        compiler.gate.close()
        with sandbox.start(second) as other:
            busy = sandbox.wait_for_busy_executors(2)
            assert not inside & {executor["id"] for executor in busy}
            assert batch_jobs(busy) == {""}
            sandbox.wait_for("the others have left", lambda: not steps(slurm))
            compiler.open()
            assert other.wait(HANG_S) == 0
        leave.touch()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] == 0


def test_an_allocation_that_ends_in_mid_build(sandbox: Sandbox, slurm: Slurm) -> None:
    """The build goes on on the submit host. The user is told once."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], executors=WIDE)
    with sandbox.start(in_allocation(command), stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(3)
        allocation = the_allocation(slurm)
        slurm.run("scancel", allocation)
        told = f"the allocation {allocation} of Slurm has ended"
        sandbox.wait_for("it was shown", lambda: told in server_log(sandbox))
        sandbox.wait_for("its executors are gone", lambda: not sandbox.busy_executors())
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert err.decode().count(told) == 1, err
    assert_built(sandbox)
    assert sandbox.figures(summary)["exit_status"] == 0
    # Not again and again: the step that was ended, and the one that Slurm refused.
    assert server_log(sandbox).count("started as process") <= 3


def test_executors_leave_when_the_server_was_killed(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=WIDE)
    with sandbox.start(in_allocation(command)) as process:
        sandbox.wait_for_busy_executors(3)
        os.kill(sandbox.status()["server"]["pid"], signal.SIGKILL)
        sandbox.wait_for("the step has ended", lambda: not steps(slurm))
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    forget_killed_server(sandbox)


def test_nothing_is_left_when_the_server_stops(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=WIDE)
    with sandbox.start(in_allocation(command)) as process:
        sandbox.wait_for_busy_executors(3)
        sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--now").ok()
        sandbox.wait_for("the step has ended", lambda: not steps(slurm))
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)


def test_the_commands_are_shown(sandbox: Sandbox, slurm: Slurm) -> None:
    done = sandbox.run(*in_allocation([sandbox.bin / "spraycc", "cluster", "show"])).ok()
    first, second = done.out.decode().splitlines()[:2]
    assert first.endswith("3 executors")
    assert second.startswith("srun --jobid=")


def test_a_step_outside_an_allocation(sandbox: Sandbox, slurm: Slurm) -> None:
    """The user learns what is missing, and the build goes on on the submit host."""
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--cluster", "slurm-step"]).ok()
    assert_built(sandbox)
    assert any("outside an allocation of Slurm" in line for line in done.own_lines()), done.words()


def test_a_step_that_slurm_refuses(sandbox: Sandbox, slurm: Slurm) -> None:
    """The user gets srun's own words once, and the build goes on on the submit host."""
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], ["--submit-arguments", "--constraint=nosuch"])
    done = sandbox.run(*in_allocation(command)).ok()
    assert_built(sandbox)
    lines = [line for line in done.err.decode().splitlines() if "could not be started on" in line]
    assert len(lines) == 1, done.err
    assert "srun: error" in lines[0]
