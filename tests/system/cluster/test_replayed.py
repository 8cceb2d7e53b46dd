"""Builds on a PBS and an OpenLava that replay the output of real ones, and on misbehaving ones."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess

import pytest

from tests.system.cluster.fakes import FakeManager
from tests.system.cluster.shared import (
    UNITS,
    assert_built,
    check_cancelled_in_mid_task,
    forget_killed_server,
    server_log,
)
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

WAITS = {
    "pbs": "wait: Not Running: Not enough free nodes available",
    "openlava": "wait: Job slot limit reached: 1 host",
}


def test_more_executors_than_slots(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """One array, half of it pending: the reason is reported once, one listing serves all, and nothing is left at the end."""
    build_with_more_executors_than_slots(fake_sandbox, fake)


def build_with_more_executors_than_slots(sandbox: Sandbox, fake: FakeManager) -> list[float]:
    """The times at which the server asked for a list of batch jobs (monotonic seconds)."""
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1.5"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j4"], ["--wait-for-cluster"], executors=4)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(2)
        assert sorted(state for _, state in fake.listed()) == ["pending", "pending", "running", "running"]
        sandbox.wait_for("why they wait is known", lambda: WAITS[fake.system] in server_log(sandbox))
        listings = len(fake.calls(fake.lists))
        sandbox.wait_for("two more listings", lambda: len(fake.calls(fake.lists)) >= listings + 2)
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert err.decode().count(WAITS[fake.system]) == 1
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1  # the link
    assert len(fake.calls(fake.submits)) == 1
    # Right after a listing the server asks why one is pending.
    looks = [
        time
        for time, words in zip(fake.times(fake.lists), fake.calls(fake.lists), strict=True)
        if words[1] not in ("-f", "-p")
    ]
    assert len(fake.calls(fake.lists)) - len(looks) <= len(looks)
    return looks


def test_cancelled_in_mid_task(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    check_cancelled_in_mid_task(fake_sandbox, fake.cancel)


def test_clean_ends_an_idle_server_with_its_executors(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=2).ok()
    assert fake.listed()
    planned = sandbox.run(sandbox.bin / "spraycc", "clean", "--dry-run").ok()
    assert fake.listed(), "a dry run ends nothing"
    done = sandbox.run(sandbox.bin / "spraycc", "clean").ok()
    assert [line.split()[-1] for line in planned.out.splitlines() if line.startswith(b"would remove ")] == [
        line.split()[-1] for line in done.out.splitlines() if line.startswith(b"removed ")
    ]
    assert not fake.listed()
    assert not sandbox.status()


def test_half_of_an_array_starts(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    fake.fault("half")
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=2).ok()
    assert done.figures["local"] == 1
    assert_built(sandbox)


def test_batch_jobs_that_vanish(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The second half of an array is not listed and never starts: the user is told, and others are submitted."""
    sandbox = fake_sandbox
    fake.fault("vanish")
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j2"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for("it is missed", lambda: "ended before" in server_log(sandbox))
        fake.no_fault("vanish")
        sandbox.wait_for_busy_executors(2)
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert b"1 executor ended before connecting to the server" in err
    assert_built(sandbox)
    with open(fake.directory / "state.json", "r+") as file:  # as if they ran for ever
        text = file.read().replace('"pending", "held": true, "hidden": true', '"ended", "held": true, "hidden": true')
        file.seek(0)
        file.write(text)
        file.truncate()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", "{submits} did not end within 2 s (SprayCC tries again)"),
        ("garbage", "<html>"),
        ("reply no such queue", "ueue"),
        ("down", "can't be reached: "),
    ],
)
def test_nothing_can_be_submitted(fake_sandbox: Sandbox, fake: FakeManager, fault: str, words: str) -> None:
    """The build goes on on the submit host, and reports the system's own message with the next step."""
    sandbox = fake_sandbox
    fake.fault(fake.submits, fault)
    sandbox.write(c_project(UNITS))
    options = ["--cluster-timeout-s", "2" if fault == "hang" else "200"]
    done = sandbox.build("make", "-j4", options=options).ok()
    (line,) = [
        line
        for line in done.own_lines()
        if "); compiling on this host meanwhile" in line and "no executor has" not in line
    ]
    assert words.format(submits=fake.submits) in line
    assert ("correct `queues`" in line) is (fault == "reply no such queue")
    assert done.figures["remote"] == 0
    assert_built(sandbox)


def test_an_answer_that_never_comes(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The batch job was accepted all the same: its executors serve, and it is cancelled at the end."""
    sandbox = fake_sandbox
    fake.fault(fake.submits, "accept and hang")
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--cluster-timeout-s", "5"]
    command, summary = sandbox.build_command(["make", "-j8"], options, executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(2)
        sandbox.wait_for("it is adopted", lambda: "adopted the unanswered submission" in server_log(sandbox))
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1


def test_no_listing(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Connected executors need no listing, and pending batch jobs stay pending."""
    sandbox = fake_sandbox
    fake.fault(fake.lists, "garbage")
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(2)
        sandbox.wait_for("two listings failed", lambda: server_log(sandbox).count("no listing: ") >= 2)
        assert len(fake.listed()) == 4
        fake.no_fault(fake.lists)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["local"] == 1
    assert_built(sandbox)


def test_what_is_shown_is_what_is_submitted(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    options = ["--queues", "fast slow", "--project", "apollo", "--wall-time-s", "600", "--memory-mb", "500"]
    options += ["--setup", ": module load gcc", "--executors", "2"]
    shown = sandbox.run(sandbox.bin / "spraycc", *options, "cluster", "show").ok().out.decode()
    sandbox.build("make", "-j2", options=["--wait-for-cluster", *options]).ok()
    (submitted,) = fake.calls(fake.submits)
    scripts = [(fake.directory / f"{name.partition('[')[0]}.sh").read_text() for name, _ in fake.elements()[:1]]
    command, _, rest = shown.partition("<<'END'\n")
    secret = re.compile(r"spraycc-\w{6}\b|session-\w+\.json|[\w-]+\.pack|--id-from-array \w+")
    assert secret.sub("…", shlex.join(submitted)) == secret.sub("…", command.splitlines()[-1].strip())
    assert secret.sub("…", rest.partition("END\n")[0]) == secret.sub("…", scripts[0])


def test_left_overs_of_a_killed_server(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Its executors leave by themselves. Pending batch jobs are found by name."""
    sandbox = fake_sandbox
    fake.fault("half")
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], ["--wait-for-cluster"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(2)
        os.kill(sandbox.status()["server"]["pid"], signal.SIGKILL)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    sandbox.wait_for("the executors have left", lambda: [state for _, state in fake.listed()] == ["pending"] * 2)
    done = sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--force")
    assert not fake.listed(), done.words()
    forget_killed_server(sandbox)


def test_the_end_of_a_server_is_told_when_it_is_complete(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=2).ok()
    server = sandbox.status()["server"]["pid"]
    done = sandbox.run(sandbox.bin / "spraycc", "server", "stop").ok()
    assert "has ended" in done.err.decode()
    assert "may be left" not in done.err.decode()
    assert not fake.listed()
    sandbox.wait_for("the process is gone", lambda: not os.path.exists(f"/proc/{server}"))


def test_what_a_server_leaves_is_told_and_cancelled_later(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The daemon is down at the server's end, and one batch job waits."""
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    fake.fault("half")
    compiler = GatedCompiler(sandbox)
    command, _ = sandbox.build_command(["make", "-j2"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(1)
        compiler.open()
        assert process.wait(HANG_S) == 0
    fake.fault("down")
    done = sandbox.run(sandbox.bin / "spraycc", "server", "stop").ok()
    assert "batch jobs may be left in the cluster; `spraycc server stop --force` cancels them" in done.err.decode()
    assert "pending" in [state for _, state in fake.listed()]
    refused = sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--force")
    assert refused.status == 1
    assert "can't be reached" in refused.err.decode()
    fake.no_fault("down")
    done = sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--force").ok()
    assert "found in the cluster, and cancelled: 1" in done.err.decode()
    assert not fake.listed()


@pytest.mark.parametrize("fake", ["pbs"], indirect=True)
def test_what_can_never_run(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    fake.fault("half")
    fake.why("never")
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1"}
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], executors=4)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for("it is known", lambda: "Can Never Run" in server_log(sandbox))
        sandbox.wait_for("nothing is pending", lambda: "pending" not in [state for _, state in fake.listed()])
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert b"Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2" in err
    assert b"correct `cpus_per_executor`" in err
    assert_built(sandbox)


def test_an_array_is_no_larger_than_its_limit(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """tests/stress/test_timing.py checks the interval between submissions."""
    assert len(submit_one_by_one(fake_sandbox, fake)) >= 3


def submit_one_by_one(sandbox: Sandbox, fake: FakeManager) -> list[float]:
    """A build with arrays of one element; returns the time of each submission (monotonic seconds)."""
    sandbox.settings["SPRAYCC_SUBMIT_INTERVAL_S"] = "0.7"
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--array-limit", "1"]
    command, _ = sandbox.build_command(["make", "-j4"], options=options, executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for("three are submitted", lambda: len(fake.times(fake.submits)) >= 3)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert len(fake.elements()) == len(fake.calls(fake.submits))
    return fake.times(fake.submits)


def test_a_queue_that_starts_nothing(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The next queue is asked too, the user is told once, and the rest in the first queue is cancelled."""
    sandbox = fake_sandbox
    fake.fault("full", "fast")
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "fast slow", "--queue-patience-s", "1"]
    command, summary = sandbox.build_command(["make", "-j2"], options, executors=2)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(2)
        sandbox.wait_for("the others are cancelled", lambda: [s for _, s in fake.listed()] == ["running"] * 2)
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert err.decode().count("nothing has started in fast for 1 s, so slow is asked too") == 1
    queues = [words[words.index("-q") + 1] for words in fake.calls(fake.submits)]
    assert queues == ["fast", "slow"]
    assert sandbox.figures(summary)["local"] == 1
    assert_built(sandbox)


def test_a_next_queue_that_refuses(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Batch jobs in the first queue go on waiting."""
    sandbox = fake_sandbox
    fake.fault("full", "fast")
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--queues", "fast slow", "--queue-patience-s", "3"]
    command, _ = sandbox.build_command(["make", "-j2"], options, executors=2)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for("they wait", lambda: len(fake.listed()) == 2)
        fake.fault(fake.submits, "reply no such queue")
        sandbox.wait_for("it was refused", lambda: "what was submitted before still waits" in server_log(sandbox))
        assert [state for _, state in fake.listed()] == ["pending"] * 2
        fake.release()
        sandbox.wait_for_busy_executors(2)
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert err.decode().count("what was submitted before still waits") == 1
    assert_built(sandbox)


def test_doctor_says_each_step_and_its_time(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    text = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster").ok().out.decode()
    assert re.search(r"server: listens for executors on port \d+ of all addresses", text), text
    assert re.search(r"submitted: batch jobs 10\[1-2\], accepted after \d+\.\d s", text), text
    assert re.search(r"executor: connected after \d+\.\d s: batch job 10\[[12]\]", text), text
    assert re.search(r"executor: the second connected after \d+\.\d s: batch job 10\[[12]\]", text), text
    assert re.search(r"compile: .* done after \d+\.\d s", text), text
    assert fake.listed() == []
    assert sandbox.status() == {}


def test_doctor_probes_a_full_cluster(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    fake.fault("half")
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", "--patience", "30").ok()
    text = done.out.decode()
    assert re.search(r"ok +executor: connected after", text), text
    assert re.search(r"ok +executor: the second has not started within \d+ s.*; the cluster may be full", text), text
    assert re.search(r"ok +compile: ", text), text
    assert fake.listed() == []


def test_doctor_ends_what_it_has_started(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The manager does not answer: no process and no server is left that submits for ever."""
    sandbox = fake_sandbox
    fake.fault(fake.submits, "down")
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", "--patience", "600")
    assert done.status != 0
    assert "can't be reached: " in done.out.decode()
    assert sandbox.status() == {}


def test_doctor_does_not_hide_the_last_build(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=2).ok()
    builds = sandbox.run(sandbox.bin / "spraycc", "builds").ok().out
    sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster").ok()
    sandbox.run(sandbox.bin / "spraycc", "doctor", "--executors", "2").ok()
    assert sandbox.run(sandbox.bin / "spraycc", "builds").ok().out == builds


def test_doctor_names_the_batch_jobs_that_wait(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    fake.fault("full", "fast")
    for words in (["--cluster"], ["--executors", "2"]):
        done = sandbox.run(sandbox.bin / "spraycc", "--queues", "fast", "doctor", *words, "--patience", "20")
        assert done.status == 1
        line, remedy = done.out.decode().splitlines()[-2:]
        assert re.search(r"within \d+ s: 2 batch jobs, submitted to .* \d+ s ago, wait", line), line
        assert remedy.strip().startswith("the cluster manager has not started them: wait longer (--patience)")


def test_doctor_knows_an_earlier_refusal(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The server submits nothing for ten minutes after it."""
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    fake.fault(fake.submits, "reply no such queue")
    sandbox.build("make", "-j2", executors=2).ok()
    for words in (["--cluster"], ["--executors", "2"]):
        done = sandbox.run(sandbox.bin / "spraycc", "doctor", *words, "--patience", "600")
        assert done.status == 1
        line, remedy = done.out.decode().splitlines()[-2:]
        assert "ueue" in line
        assert "`spraycc server stop`, then another probe tries again" in remedy


def test_doctor_in_a_directory_that_is_read_only(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    script = 'mount -t tmpfs -o ro none "$PWD" && cd "$PWD" && exec "$@"'
    for words in (["--cluster"], ["--executors", "2"]):
        around = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")
        done = sandbox.run(*around, sandbox.bin / "spraycc", "doctor", *words)
        assert done.status == 1, done.words()
        line, remedy = done.out.decode().splitlines()[-2:]
        assert line.startswith("PROBLEM  workspace: ")
        assert line.endswith(": the probe's files can't be written: Read-only file system")
        assert remedy.strip() == "change into the directory of a project that you may write"


def test_doctor_leaves_a_server_that_ran_before(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=2).ok()
    server = sandbox.status()["server"]["pid"]
    sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster").ok()
    assert sandbox.status()["server"]["pid"] == server


def test_doctor_takes_no_local_executor_for_the_clusters(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """A build with cluster local has left its executors. The server is idle, so the probe ends it."""
    sandbox = fake_sandbox
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j2", options=["--cluster", "local"], executors=2).ok()
    assert {executor["cluster"] for executor in sandbox.status()["executors"]} == {"local"}
    text = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster").ok().out.decode()
    assert "server: ended, because it was idle and its executors are of cluster 'local'" in text
    assert re.search(r"executor: connected after \d+\.\d s: batch job 10\[[12]\]", text), text
    assert re.search(r"compile: .* done after", text), text


def test_doctor_does_not_probe_beside_a_local_build(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j2"], ["--cluster", "local"], executors=2)
    with sandbox.start(command) as process:
        compiler.wait_for_width(2)
        done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster")
        assert done.status == 1
        lines = done.out.decode().splitlines()
        assert lines[-2] == "PROBLEM  server: a build is open, and its executors are of cluster 'local'"
        assert lines[-1].strip() == "probe again when the build has ended"
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert fake.calls(fake.submits) == []


def test_doctor_in_a_tree_without_version_control(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The probe is part of the workspace, and uses the server that a build would use."""
    sandbox = fake_sandbox
    tree = sandbox.workspace.parent / "plain"
    sandbox.run("mkdir", tree).ok()
    text = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", cwd=tree).ok().out.decode()
    assert re.search(r"executor: connected after", text), text
    assert re.search(r"compile: .* done after", text), text
    assert sandbox.run("ls", "-A", tree).ok().out == b""


def test_doctor_that_is_killed_leaves_no_compile(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The build of the probe ends by itself, and so do the requests to the cluster."""
    sandbox = fake_sandbox
    fake.fault(fake.submits, "down")
    with sandbox.start([sandbox.bin / "spraycc", "doctor", "--cluster", "--patience", "600"]) as process:
        sandbox.wait_for("the probe waits", lambda: sandbox.status().get("builds"))
        process.kill()
        process.wait()
    sandbox.wait_for("the build has ended", lambda: sandbox.status().get("builds", []) == [])
    sandbox.wait_for("its files are gone", lambda: not list(sandbox.workspace.glob(".spraycc-doctor-*")))
    sandbox.wait_for("its server has ended", lambda: sandbox.status() == {})


def test_doctor_compares_the_hosts_of_executors(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    text = sandbox.run(sandbox.bin / "spraycc", "doctor", "--executors", "2").ok().out.decode()
    host = os.uname().nodename
    assert f"hosts: 2 executors on 1 host: {host} (2)" in text
    assert f"capture: overlay on {host}" in text
    assert "compiler gcc: the same everywhere: " in text
    assert "workspace: all hosts see a file that this host has just written; " in text
    assert "clock: the hosts' clocks differ from this host's by less than 1 s" in text
    assert "C library: the same everywhere: glibc " in text
    assert fake.listed() == []
    assert sandbox.status() == {}


def test_doctor_of_hosts_on_a_cluster_that_is_down(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    sandbox = fake_sandbox
    fake.fault(fake.submits, "down")
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--executors", "3", "--patience", "60")
    assert done.status == 1
    lines = done.out.decode().splitlines()
    assert lines[-2].startswith("PROBLEM  executors: 0 of 3 executors have reported within ")
    assert lines[-1].strip() == (
        f"try `{fake.lists}` by hand: if that fails as well, the cluster or its set-up on this host is down"
    )
    assert sandbox.status() == {}


def test_doctor_says_that_batch_jobs_may_be_left(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """A cluster manager that does not answer may take the request later."""
    sandbox = fake_sandbox
    fake.fault("down")
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", "--patience", "600")
    assert done.status == 1
    lines = [line.strip() for line in done.out.decode().splitlines()]
    place = lines.index("PROBLEM  ended: batch jobs may be left in the cluster")
    assert lines[place + 1] == "`spraycc server stop --force` cancels them"
    assert sandbox.status() == {}


@pytest.mark.parametrize("fake", ["pbs"], indirect=True)
def test_doctor_says_what_failed(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """At once: the build does not wait for refused batch jobs."""
    sandbox = fake_sandbox
    fake.fault(fake.submits, "reply no such queue")
    done = sandbox.run(sandbox.bin / "spraycc", "doctor", "--cluster", "--patience", "600")
    assert done.status != 0
    line, remedy = done.out.decode().splitlines()[-2:]
    assert line.startswith("PROBLEM  submitted: ")
    assert "ueue" in line
    assert remedy.strip() == "correct `queues`; `spraycc cluster show` prints what is submitted"
