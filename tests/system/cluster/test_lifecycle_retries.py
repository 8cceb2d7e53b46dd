"""Fake cluster managers whose daemon is down when batch jobs are cancelled, or that take fewer than was asked for.

In the end nothing is left in the queue, the build is whole, and the user was told once.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.system.cluster.fakes import FakeManager
from tests.system.cluster.shared import UNITS, assert_built
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.parametrize("fake", ["pbs", "openlava", "volclava"], indirect=True),
]


def build_with_half_waiting(sandbox: Sandbox, fake: FakeManager, executors: int = 4) -> None:
    """A build; half of its batch jobs never start."""
    fake.fault("half")
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=executors)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(executors // 2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)


def waiting(fake: FakeManager) -> list[str]:
    return [name for name, state in fake.listed() if state == "pending"]


def test_down_at_a_cancel(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """The server repeats the cancel until the daemon is back, and not at once."""
    fake_sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1"}
    fake.fault(fake.cancels, "down")
    build_with_half_waiting(fake_sandbox, fake)
    fake_sandbox.wait_for("a cancel that failed", lambda: fake.calls(fake.cancels))
    assert len(waiting(fake)) == 2
    fake.no_fault(fake.cancels)
    fake_sandbox.wait_for("nothing waits", lambda: not waiting(fake))
    times = fake.times(fake.cancels)
    assert len(times) <= 4


def test_a_cancel_command_that_crashes(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """As qdel of OpenPBS does."""
    fake_sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1"}
    fake.fault(fake.cancels, "crash")
    build_with_half_waiting(fake_sandbox, fake)
    fake_sandbox.wait_for("a cancel that failed", lambda: fake.calls(fake.cancels))
    fake.no_fault(fake.cancels)
    fake_sandbox.wait_for("nothing waits", lambda: not waiting(fake))


@pytest.mark.parametrize("after", ["stop", "build"])
def test_down_when_the_server_ends(fake_sandbox: Sandbox, fake: FakeManager, after: str) -> None:
    """Leftovers are found by name later: by ``server stop --force``, or by the next server."""
    build_with_half_waiting(fake_sandbox, fake)
    fake.fault("down")
    fake_sandbox.run(fake_sandbox.bin / "spraycc", "server", "stop", "--now")
    assert len(waiting(fake)) == 2
    fake.no_fault("down")
    if after == "stop":
        fake_sandbox.run(fake_sandbox.bin / "spraycc", "server", "stop", "--force")
    else:
        fake.no_fault("half")
        old = {*waiting(fake)}
        (fake_sandbox.workspace / "u1.o").unlink()
        fake_sandbox.build("make", "-j2", options=["--wait-for-cluster"], executors=1).ok()
        fake_sandbox.wait_for("the old ones are cancelled", lambda: not old & {*waiting(fake)})
    fake_sandbox.wait_for("nothing waits", lambda: not waiting(fake))


def test_down_at_the_search_for_a_submission_without_an_answer(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Each submission is taken, and its answer is lost. No batch job stays."""
    fake_sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1"}
    fake.fault("half")
    fake.fault(fake.submits, "accept and down")
    fake.fault(fake.searches, "down")
    fake_sandbox.write(c_project(UNITS))
    done = fake_sandbox.build("make", "-j4", executors=4).ok()
    assert_built(fake_sandbox)
    assert sum("can't be reached" in line for line in done.own_lines()) == 1
    assert len(fake.calls(fake.submits)) <= 2
    fake.no_fault(fake.submits)
    fake.no_fault(fake.searches)


def test_a_limit_on_the_users_batch_jobs(fake_sandbox: Sandbox, fake: FakeManager) -> None:
    """Six are refused as a whole. Fewer are taken, and they serve the build."""
    fake.limit("queued", 2)
    compiler = GatedCompiler(fake_sandbox)
    fake_sandbox.write(c_project(UNITS))
    command, summary = fake_sandbox.build_command(["make", "-j8"], executors=6)
    with fake_sandbox.start(command, stderr=subprocess.PIPE) as process:
        fake_sandbox.wait_for("some are taken", lambda: fake.listed())
        fake_sandbox.wait_for("one has a task", lambda: fake_sandbox.busy_executors())
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert_built(fake_sandbox)
    assert fake_sandbox.figures(summary)["remote"] > 0
    assert err.count(b"takes no more now") <= 1
