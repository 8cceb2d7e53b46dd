"""Checks of a batch job's life from the submission to its end, for every real cluster manager."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from spraycc.cluster.driver import RETRY_S, Trouble
from spraycc.server.fleet.stale_jobs import MARKER
from tests.system.cluster.client_commands import ClientCommands
from tests.system.cluster.managers import GridEngine, Slurm
from tests.system.cluster.shared import UNITS, assert_built, server_log, wait_for_others
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

Manager = Slurm | GridEngine


@contextlib.contextmanager
def drained(manager: Manager) -> Iterator[None]:
    """Nothing starts meanwhile."""
    manager.drain()
    try:
        yield
    finally:
        manager.resume()


@contextlib.contextmanager
def without_master(manager: Manager) -> Iterator[None]:
    """The cluster manager answers no command meanwhile. A command that would wait for it is given up soon."""
    manager.stop_master()
    try:
        yield
    finally:
        manager.start_master()


@contextlib.contextmanager
def half_started_build(sandbox: Sandbox, manager: Manager) -> Iterator[Callable[[], None]]:
    """A build with two executors for each slot, so half of them wait. Yields a function that lets the build end."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2 * manager.slots)
    with sandbox.start(command) as process:

        def finish() -> None:
            compiler.open()
            assert process.wait(HANG_S) == 0
            assert_built(sandbox)

        sandbox.wait_for_busy_executors(manager.slots)
        assert len(manager.waiting()) == manager.slots
        yield finish


def check_cancelled_by_the_user(sandbox: Sandbox, manager: Manager) -> None:
    """The user cancels one running and several waiting batch jobs. Another one that waits takes the free slot."""
    sandbox.settings["SPRAYCC_STATUS_INTERVAL_S"] = "1"
    told = "2 executors ended before connecting to the server"
    with half_started_build(sandbox, manager) as finish:
        busy = sandbox.busy_executors()
        manager.cancel([busy[0]["batch_job"], *manager.waiting()[-2:]])
        wait_for_others(sandbox, {executor["id"] for executor in busy}, manager.slots)
        sandbox.wait_for("the server misses those that waited", lambda: told in server_log(sandbox))
        finish()


def check_cancel_is_repeated(sandbox: Sandbox, manager: Manager, commands: ClientCommands, program: str) -> None:
    """A cancel command fails because the master is down. The server sends another one later."""
    sandbox.settings |= {"SPRAYCC_RELEASE_DELAY_S": "1", "SPRAYCC_CLUSTER_TIMEOUT_S": "3"}
    with half_started_build(sandbox, manager) as finish, drained(manager):
        with without_master(manager):
            finish()
            sandbox.wait_for("the cancel command has failed", lambda: "not cancelled: " in server_log(sandbox))
        sandbox.wait_for("nothing waits", lambda: not manager.waiting())
        commands.assert_seldom(program, interval_s=RETRY_S[Trouble.UNREACHABLE])


def check_left_at_the_end(sandbox: Sandbox, manager: Manager, cancel: Callable[[], object]) -> None:
    """The server ends while the master is down. A marker stays, and so ``cancel`` finds the waiting batch jobs."""
    sandbox.settings["SPRAYCC_CLUSTER_TIMEOUT_S"] = "3"
    with half_started_build(sandbox, manager) as finish, drained(manager):
        with without_master(manager):
            finish()
            sandbox.stop()
        assert "batch jobs may be left" in server_log(sandbox)
        assert list(sandbox.home.rglob(f"{MARKER}-*.json"))
        left = set(manager.waiting())
        assert len(left) == manager.slots
        cancel()
        sandbox.wait_for("none of them waits", lambda: not left & set(manager.waiting()))


def check_unanswered_submission(sandbox: Sandbox, manager: Manager, commands: ClientCommands, program: str) -> None:
    """The master takes a submission, but the command does not end. The server finds the batch jobs by their name."""
    sandbox.settings["SPRAYCC_CLUSTER_TIMEOUT_S"] = "3"
    commands.hold(program)
    with half_started_build(sandbox, manager) as finish:
        sandbox.wait_for("the command was given up", lambda: f"{program} did not end within 3 s" in server_log(sandbox))
        commands.release(program)
        sandbox.wait_for(
            "the batch jobs were found", lambda: "adopted the unanswered submission" in server_log(sandbox)
        )
        finish()
    assert len(commands.started(program)) == 1
