"""From the first submission to an empty queue, on fake cluster managers that refuse what the real ones refuse.

Each test ends with an empty queue: the sandbox's fixture stops the server and waits for this.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.system.cluster.fakes import FakeManager
from tests.system.cluster.shared import UNITS, assert_built, server_log, wait_for_others
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.parametrize("fake", ["pbs", "openlava", "volclava"], indirect=True),
]

BANNER = "*** maintenance on 3 May ***\n12 of 40 hosts are free\n"
UNREACHABLE = "can't be reached: "


def build(sandbox: Sandbox, *options: str, executors: int = 2) -> list[str]:
    """A build that waits for the cluster; its object files come from executors. Returns SprayCC's own lines."""
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--wait-for-cluster", *options], executors=executors).ok()
    assert_built(sandbox)
    assert done.figures["local"] == 1  # the link
    return done.own_lines()


def waiting(fake: FakeManager) -> list[str]:
    return [name for name, state in fake.listed() if state == "pending"]


@pytest.mark.parametrize(
    ("executors", "options", "submissions"),
    [
        (1, [], 1),
        (3, [], 1),
        (2, ["--queues", "a b", "--queue-use", "share"], 2),
        (2, ["--cpus-per-executor", "2"], 1),
        (2, ["--wall-time-s", "600", "--memory-mb", "500", "--project", "p", "--account", "a"], 1),
    ],
)
def test_every_submission_is_taken(
    fake_sandbox: Sandbox, fake: FakeManager, executors: int, options: list[str], submissions: int
) -> None:
    build(fake_sandbox, *options, executors=executors)
    assert len(fake.calls(fake.submits)) == submissions == len({name.partition("[")[0] for name, _ in fake.elements()})


def test_an_option_of_the_users_goes_with_ours(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    words = "-l select=1:ncpus=1:host=a" if fake.system == "pbs" else "-R select[big]"
    build(fake_sandbox, "--memory-mb", "500", "--submit-arguments", words)
    (call,) = fake.calls(fake.submits)
    assert call.count(words.split()[0]) == 1


def test_the_lines_of_a_sites_wrapper(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """More lines around each answer: batch jobs are found, listed and cancelled all the same."""
    fake.fault("banner", BANNER)
    assert not [line for line in build(fake_sandbox, executors=4) if "maintenance" in line]
    assert "answered" not in server_log(fake_sandbox)


@pytest.mark.parametrize("executors", [2, 4])
def test_waiting_ones_are_cancelled_after_a_build(fake_sandbox: Sandbox, fake: FakeManager, executors: int) -> None:
    """One element, or a range. The server lives on."""
    fake.fault("half")
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1"}
    fake_sandbox.write(c_project(UNITS))
    command, _ = fake_sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=executors)
    with fake_sandbox.start(command) as process:
        fake_sandbox.wait_for_busy_executors(executors // 2)
        assert len(waiting(fake)) == executors // 2
        fake_sandbox.wait_for("a listing", lambda: fake.calls(fake.lists))
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)
    fake_sandbox.wait_for("nothing waits", lambda: not waiting(fake))
    assert fake.calls(fake.cancels)
    for words in fake.calls(fake.cancels):
        assert len(words) == 2 or fake.system != "pbs"


def test_a_mixture_is_cancelled(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Elements of several arrays and a single batch job, in one step."""
    fake.fault("half")
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1"}
    fake_sandbox.write(c_project(UNITS))
    options = ["--wait-for-cluster", "--array-limit", "3"]
    command, _ = fake_sandbox.build_command(["make", "-j8"], options, executors=7)
    with fake_sandbox.start(command) as process:
        fake_sandbox.wait_for_busy_executors(2)
        fake_sandbox.wait_for("all are submitted", lambda: len(waiting(fake)) == 5)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)
    fake_sandbox.wait_for("nothing waits", lambda: not waiting(fake))


def test_a_batch_job_that_is_rerun(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """An array of PBS can't forbid this. The new executor has the id of the old one, and does no harm."""
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, summary = fake_sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with fake_sandbox.start(command) as process:
        busy = fake_sandbox.wait_for_busy_executors(2)
        fake.rerun(busy[0]["batch_job"])
        fake_sandbox.wait_for(
            "its executor has come again",
            lambda: server_log(fake_sandbox).count(f"executor {busy[0]['id']}: connected from") == 2,
        )
        fake_sandbox.wait_for_busy_executors(2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)
    figures = fake_sandbox.figures(summary)
    assert (figures["retried"], figures["local"]) == (1, 1)


def test_a_batch_job_that_is_queued_again(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """It does not start soon, so another one takes its place, and it does not stay in the queue."""
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, summary = fake_sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with fake_sandbox.start(command) as process:
        busy = fake_sandbox.wait_for_busy_executors(2)
        fake.rerun(busy[0]["batch_job"], held=True)
        wait_for_others(fake_sandbox, {executor["id"] for executor in busy}, 2)
        assert len(waiting(fake)) == 1
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)
    assert fake_sandbox.figures(summary)["retried"] == 1


def test_a_listing_that_lags(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """A cancelled batch job is listed as running for a while: its replacement comes at once, and no alarm."""
    fake.fault("lag", "6")
    fake_sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1"}
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, summary = fake_sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with fake_sandbox.start(command, stderr=subprocess.PIPE) as process:
        busy = fake_sandbox.wait_for_busy_executors(2)
        fake.cancel(busy[0]["batch_job"])
        wait_for_others(fake_sandbox, {executor["id"] for executor in busy}, 2)
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert_built(fake_sandbox)
    assert fake_sandbox.figures(summary)["retried"] == 1
    assert b"ended before" not in err


# -- the daemon is down


def test_down_at_the_submission(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The build is whole, and the user is told once."""
    fake.fault("down")
    fake_sandbox.write(c_project(UNITS))
    done = fake_sandbox.build("make", "-j4").ok()
    assert_built(fake_sandbox)
    assert done.figures["remote"] == 0
    assert sum(UNREACHABLE in line for line in done.own_lines()) == 1
    fake.no_fault("down")


def test_down_after_the_submission_was_taken(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The executors come without the answer; at the end the batch jobs are found by name."""
    fake.fault(fake.submits, "accept and down")
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, _ = fake_sandbox.build_command(["make", "-j8"], executors=2)
    with fake_sandbox.start(command) as process:
        fake_sandbox.wait_for("they run", lambda: len(fake.listed()) == 2)
        fake.no_fault(fake.submits)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)


def test_down_at_the_listing(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Nothing counts as gone."""
    fake.fault(fake.lists, "down")
    fake_sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "1"}
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, summary = fake_sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=4)
    with fake_sandbox.start(command) as process:
        fake_sandbox.wait_for_busy_executors(2)
        fake_sandbox.wait_for("two listings failed", lambda: server_log(fake_sandbox).count("no listing: ") >= 2)
        assert len(fake.listed()) == 4
        fake.no_fault(fake.lists)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(fake_sandbox)
    assert fake_sandbox.figures(summary)["local"] == 1


def test_too_many_elements(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Smaller arrays are taken."""
    fake.limit("elements", 2)
    build(fake_sandbox, executors=4)
    assert {name.partition("[")[0] for name, _ in fake.elements()} >= {"10"}
