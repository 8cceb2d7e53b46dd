"""Builds on a real Slurm."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter

import pytest

from tests.system.cluster.client_commands import ClientCommands
from tests.system.cluster.managers import PATH, Slurm
from tests.system.cluster.shared import (
    UNITS,
    assert_built,
    check_cancelled_in_mid_task,
    forget_killed_server,
    server_log,
    wait_for_others,
)
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

# All tests share one Slurm, so one pytest worker runs them (tests/distribution.py).
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_build(sandbox: Sandbox, slurm: Slurm) -> None:
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster"]
    done = sandbox.build("make", "-j4", options=options, executors=4).ok()
    assert_built(sandbox)
    assert done.figures["remote"] == UNITS + 1, done.words()


def test_doctor(sandbox: Sandbox, slurm: Slurm) -> None:
    """The probe of the cluster, and the comparison of two executors' hosts. Both end all that they have started."""
    text = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", "--executors", "2").ok().out.decode()
    assert "submitted: batch jobs " in text
    assert "executor: the second connected after" in text
    assert "compile: " in text
    assert "hosts: 2 executors on 1 host" in text
    assert "workspace: all hosts see a file that this host has just written" in text
    assert not slurm.listed()
    assert sandbox.status() == {}


def test_a_configuration_is_begun(sandbox: Sandbox, slurm: Slurm) -> None:
    """The cluster and its partitions are found, and a build obeys the file."""
    del sandbox.settings["SPRAYCC_CLUSTER"]
    (sandbox.workspace / ".spraycc.toml").unlink()
    sandbox.write(c_project(UNITS))
    done = sandbox.run(sandbox.bin / "spraycc", "config", "init").ok()
    assert b"Slurm answers (sinfo), with " in done.err
    lines = (sandbox.workspace / ".spraycc.toml").read_text().splitlines()
    assert 'cluster = "slurm"' in lines
    assert [line for line in lines if line.startswith("# queues = [") and len(line) > len("# queues = []")]
    built = sandbox.build("make", "-j4", options=["--wait-for-cluster"], executors=4).ok()
    assert built.figures["remote"] == UNITS + 1, built.words()


def test_pending_beyond_the_slots(sandbox: Sandbox, slurm: Slurm) -> None:
    """More executors than slots: the rest waits, the user is told the reason once, and the rest is cancelled at the end."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=8)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(slurm.slots)
        waiting = [entry for entry in slurm.listed() if entry[1] == "PENDING"]
        assert len(waiting) == 8 - slurm.slots
        sandbox.wait_for("the reason has been shown", lambda: "wait: " in server_log(sandbox))
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    shown = [line for line in err.decode().splitlines() if "wait: " in line]
    assert len(shown) == len(set(shown)) > 0
    assert_built(sandbox)
    # No build wants the pending ones any more. The server still runs, and so do the warm executors until it ends.
    sandbox.settings["SPRAYCC_RELEASE_DELAY_S"] = "0"
    sandbox.build("make", executors=8).ok()
    sandbox.wait_for("what waits is withdrawn", lambda: not slurm.listed())


def test_a_hidden_partition(sandbox: Sandbox, slurm: Slurm) -> None:
    """squeue shows its batch jobs to an ordinary user only with ``--all``, and to the test's user, SlurmUser, always. In
    a user namespace, squeue runs as another user."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    commands = ClientCommands(sandbox, ("sbatch",))
    squeue = f'#!/bin/sh\nexec unshare --user --map-user=65534 {shutil.which("squeue", path=PATH)} "$@"\n'
    sandbox.write({"squeue": squeue}, sandbox.aside / "commands", mode=0o755)
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j6"], ["--wait-for-cluster", "--queues", "secret"], executors=6)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(slurm.slots)
        sandbox.wait_for(
            "the reason is known, or others were submitted",
            lambda: any(it["reason"] for it in sandbox.status()["pending"]) or len(commands.started("sbatch")) > 1,
        )
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert len(commands.started("sbatch")) == 1
    assert_built(sandbox)


def test_cancelled_in_mid_task(sandbox: Sandbox, slurm: Slurm) -> None:
    check_cancelled_in_mid_task(sandbox, lambda batch_job: slurm.run("scancel", batch_job))


def test_controller_down_at_submit(sandbox: Sandbox, slurm: Slurm) -> None:
    """Nothing can be submitted: the build goes on on the submit host, and reports Slurm's message."""
    sandbox.write(c_project(UNITS))
    slurm.stop_daemon("slurmctld")
    try:
        done = sandbox.build("make", "-j4", options=["--cluster-timeout-s", "2"]).ok()
        assert_built(sandbox)
        assert any("sbatch did not end within 2 s" in line for line in done.own_lines()), done.words()
    finally:
        sandbox.stop()
        slurm.start_daemon("slurmctld")
        slurm.wait_until_idle()


def test_controller_down_in_mid_build(sandbox: Sandbox, slurm: Slurm) -> None:
    """Connected executors need no controller."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=3)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(3)
        slurm.stop_daemon("slurmctld")
        try:
            compiler.open()
            assert process.wait(HANG_S) == 0
        finally:
            slurm.start_daemon("slurmctld")
            slurm.wait_until_answers()
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--queues", "nosuch"], "invalid partition specified: nosuch"),
        (["--queues", "brief", "--wall-time-s", "600"], "will not start what was submitted (PartitionTimeLimit)"),
        (["--queues", "closed"], "Required partition not available (inactive or drain)"),
    ],
    ids=["unknown", "too long", "closed"],
)
def test_what_can_never_run(sandbox: Sandbox, slurm: Slurm, options: list[str], words: str) -> None:
    """The user gets Slurm's own message, the build goes on on the submit host, and nothing is left pending."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    sandbox.settings["SPRAYCC_PENDING_GRACE_S"] = "1"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], options)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for("Slurm's message is in the log", lambda: words in server_log(sandbox))
        sandbox.wait_for("nothing is pending", lambda: not slurm.listed())
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert words in err.decode()
    assert_built(sandbox)


def test_the_next_queue_is_tried(sandbox: Sandbox, slurm: Slurm) -> None:
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--wait-for-cluster", "--queues", "nosuch long"]).ok()
    assert done.figures["remote"] == UNITS + 1
    assert_built(sandbox)


def test_the_next_queue_is_asked_too_where_one_starts_nothing(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "spare long", "--queue-patience-s", "1"]
    command, _ = sandbox.build_command(["make", "-j4"], options, executors=4)
    slurm.run("scontrol", "update", "PartitionName=spare", "State=DOWN")
    try:
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for_busy_executors(4)
            sandbox.wait_for("what waits in the first is cancelled", lambda: len(slurm.listed()) == 4)
            assert slurm.run("squeue", "-h", "--array", "--format=%P").split() == ["long"] * 4
            compiler.open()
            _, err = process.communicate(timeout=HANG_S)
    finally:
        slurm.run("scontrol", "update", "PartitionName=spare", "State=UP")
    assert process.returncode == 0, err
    assert err.decode().count("nothing has started in spare for 1 s, so long is asked too") == 1
    assert_built(sandbox)


def test_arrays_are_split_and_executors_share_batch_jobs(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--array-limit", "1", "--cpus-per-executor", "2"]
    command, _ = sandbox.build_command(["make", "-j8"], options, executors=4)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(4)
        assert len({executor["batch_job"] for executor in busy}) == 2
        assert len({name.partition("_")[0] for name, _, _ in slurm.listed()}) == 2
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)


def test_left_overs_of_a_killed_server(sandbox: Sandbox, slurm: Slurm) -> None:
    """Executors leave by themselves. The next server cancels the pending batch jobs."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=8)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(slurm.slots)
        first = {name.partition("_")[0] for name, _, _ in slurm.listed()}
        server = sandbox.status()["server"]["pid"]
        os.kill(server, signal.SIGSTOP)  # otherwise the server may see that they are held, and cancel them itself
        slurm.run("scontrol", "hold", *first)  # otherwise pending batch jobs start, find no server, and end
        os.kill(server, signal.SIGKILL)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    sandbox.run("make", "clean").ok()
    sandbox.build("make", "-j4", options=["--wait-for-cluster"]).ok()
    assert not first & {name.partition("_")[0] for name, _, _ in slurm.listed()}
    assert "cancelled batch jobs that an earlier server had left in the cluster" in server_log(sandbox)
    forget_killed_server(sandbox)


def test_another_directory_of_the_same_name(sandbox: Sandbox, slurm: Slurm) -> None:
    """An executor that does not see the server's file in the workspace gets no task. The user is told host and path."""
    # Executors run with another directory mounted over the workspace.
    wrapper = sandbox.write(
        {"elsewhere": f'#!/bin/sh\nexec unshare --user --map-current-user --mount --keep-caps sh -c \'mount --bind "$0" "{sandbox.workspace}" && exec "$@"\' "{sandbox.temp}" "$@"\n'},
        sandbox.aside, mode=0o755,
    ) / "elsewhere"  # fmt: skip
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--executor-prefix", str(wrapper)], executors=1).ok()
    line = f"can't be used: {sandbox.workspace} is not the submit host's directory of that name"
    assert any(line in text for text in done.own_lines()), done.words()
    assert done.figures["remote"] == 0
    assert_built(sandbox)


def test_preempted(sandbox: Sandbox, slurm: Slurm) -> None:
    """An urgent batch job takes a slot: the task there runs on another executor, and the build goes on with the rest."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "spare"]
    command, summary = sandbox.build_command(["make", "-j4"], options, executors=slurm.slots)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(slurm.slots)
        urgent = slurm.run(
            "sbatch", "--parsable", "--partition=urgent", "--output=/dev/null", "--wrap=sleep 600"
        ).strip()
        sandbox.wait_for("it has its slot", lambda: (urgent, "RUNNING", "wrap") in slurm.listed())
        sandbox.wait_for("an executor is gone", lambda: len(sandbox.busy_executors()) == slurm.slots - 1)
        compiler.open()
        assert process.wait(HANG_S) == 0
    slurm.run("scancel", urgent)
    assert_built(sandbox)
    figures = sandbox.figures(summary)
    assert figures["retried"] == 1
    assert figures["local"] == 1


def test_suspended(sandbox: Sandbox, slurm: Slurm) -> None:
    """A stopped executor is silent, so the server gives it up. When it may go on, it notices this and leaves."""
    sandbox.settings |= {"SPRAYCC_HEARTBEAT_S": "2", "SPRAYCC_LOST_AFTER_S": "20"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j2"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(2)
        stopped = busy[0]["batch_job"]
        slurm.run("scontrol", "suspend", stopped)
        sandbox.wait_for("it is suspended", lambda: "SUSPENDED" in [state for _, state, _ in slurm.listed()])
        wait_for_others(sandbox, {executor["id"] for executor in busy}, 2)
        slurm.run("scontrol", "resume", stopped)
        sandbox.wait_for("it has left", lambda: stopped not in [name for name, _, _ in slurm.listed()])
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] == 1


def test_requeued(sandbox: Sandbox, slurm: Slurm) -> None:
    """Some sites require this: the executor is missed at once, and its batch job is not left waiting at the end."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--submit-arguments", "--requeue"]
    command, summary = sandbox.build_command(["make", "-j2"], options, executors=2)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(2)
        slurm.run("scontrol", "requeue", busy[0]["batch_job"])
        wait_for_others(sandbox, {executor["id"] for executor in busy}, 2)
        assert busy[0]["batch_job"] in [name for name, state, _ in slurm.listed() if state in ("PENDING", "COMPLETING")]
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] == 1


def test_wall_time(sandbox: Sandbox, slurm: Slurm) -> None:
    """Near its end an executor without a task is replaced. If Slurm ends an executor during a task, another one does it. A
    minute is Slurm's shortest limit, and Slurm checks limits only twice a minute."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "brief", "--wall-time-s", "60"]
    command, summary = sandbox.build_command(["make", "-j3", "u1.o", "u2.o"], options, executors=3)
    with sandbox.start(command) as process:
        sandbox.wait_for("all executors are connected", lambda: len(sandbox.status().get("executors", [])) == 3)
        busy = sandbox.wait_for_busy_executors(2)
        first = {executor["id"] for executor in sandbox.status()["executors"]}
        (idle,) = first - {executor["id"] for executor in busy}
        sandbox.wait_for(
            "the idle one is replaced, the others have time",
            lambda: len(ids := {e["id"] for e in sandbox.status()["executors"]}) == 3 and idle not in ids,
        )
        assert {executor["id"] for executor in sandbox.busy_executors()} == first - {idle}
        sandbox.wait_for(
            "their time was over, and others have their tasks",
            lambda: len(ids := {e["id"] for e in sandbox.busy_executors()}) == 2 and not ids & first,
        )
        compiler.open()
        assert process.wait(HANG_S) == 0
    figures = sandbox.figures(summary)
    assert figures["retried"] >= 2
    assert figures["local"] == 0


def test_queues_share(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "long spare", "--queue-use", "share"]
    command, _ = sandbox.build_command(["make", "-j4"], options, executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(4)
        queues = slurm.run("squeue", "-h", "--array", "--format=%P").split()
        assert sorted(queues) == ["long", "long", "spare", "spare"]
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)


def test_more_executors_as_the_first_are_busy(sandbox: Sandbox, slurm: Slurm) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--initial-executors", "1"]
    command, _ = sandbox.build_command(["make", "-j8"], options, executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(4)
        sizes = Counter(name.partition("_")[0] for name, _, _ in slurm.listed())
        assert sorted(sizes.values()) == [1, 1, 2]
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
