"""Builds with --wait-for-cluster whose command line goes while no executor comes: nothing waits for the cluster for ever."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import termios

import pytest

from tests.system.harness.projects import c_project, objects, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

UNITS = 4
#: Starts processes that never become executors. By their name the sandbox takes them for the server's own.
NO_EXECUTORS = {
    "SPRAYCC_CLUSTER": "command",
    "SPRAYCC_START_COMMAND": "/bin/bash -c 'exec -a spraycc-none sleep 1000' {command}",
}


@pytest.fixture
def waiting(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose executors never connect."""
    sandbox.settings |= NO_EXECUTORS | {"SPRAYCC_WAIT_FOR_CLUSTER": "true"}
    sandbox.write(c_project(UNITS))
    return sandbox


def wait_for_queued(sandbox: Sandbox, count: int) -> None:
    def queued() -> bool:
        return sandbox.status().get("scheduler", {}).get("total", {}).get("queued", 0) >= count

    sandbox.wait_for(f"{count} compiles wait for an executor", queued)
    logs = list(sandbox.home.rglob("server.log"))
    sandbox.wait_for("executors are started", lambda: any("started as process" in log.read_text() for log in logs))


def test_make_goes_on_when_its_command_line_is_killed(waiting: Sandbox) -> None:
    command, _ = waiting.build_command(["make", "-j2"])
    with waiting.start(command) as process:
        wait_for_queued(waiting, 1)
        process.kill()
        process.wait(HANG_S)
    waiting.wait_for("make has ended", lambda: not waiting.strangers())
    assert len(objects(waiting.workspace)) == UNITS + 1
    assert waiting.run(waiting.workspace / "prog").out == output_of(UNITS)
    assert waiting.status()["builds"] == []


def test_a_compile_that_outlives_its_build_ends(waiting: Sandbox) -> None:
    """SIGTERM reaches the command line and its tool, a shell; the shell's compile lives on."""
    command, _ = waiting.build_command(["build", "--", "sh", "-c", "gcc -c unit1.c -o left.o; true"])
    waiting.write({"unit1.c": "int x;\n"})
    with waiting.start(command) as process:
        wait_for_queued(waiting, 1)
        process.send_signal(signal.SIGTERM)
        process.wait(HANG_S)
    waiting.wait_for("the compile has ended", (waiting.workspace / "left.o").exists)
    waiting.wait_for("no process is left", lambda: not waiting.strangers())


def test_ctrl_c(waiting: Sandbox) -> None:
    command, _ = waiting.build_command(["make", "-j2"])
    before = set(os.listdir(waiting.workspace))
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with waiting.start(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal
    ) as process:
        os.close(theirs)
        wait_for_queued(waiting, 1)
        os.write(ours, b"\x03")
        process.wait(HANG_S)
    waiting.wait_for("nothing of the build is left running", lambda: not waiting.strangers())
    os.close(ours)
    assert set(os.listdir(waiting.workspace)) == before
    status = waiting.status()
    assert status["builds"] == []
    assert status["scheduler"]["total"]["queued"] == 0
