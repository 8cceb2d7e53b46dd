"""Executors on hosts that ssh reaches: builds through a real sshd on loopback, as an ordinary user."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.system.cluster.shared import UNITS, assert_built, forget_killed_server, server_log
from tests.system.cluster.ssh_server import SshServer
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def sandbox(ssh: SshServer) -> Sandbox:
    return ssh.sandbox


def test_a_build(sandbox: Sandbox, ssh: SshServer) -> None:
    """All hosts take part, and there is one login to each, however many executors it runs."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(4)
        assert ssh.connections() == 2
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1  # the link
    assert compiler.most_on_submit_host() == 0
    sandbox.stop()
    sandbox.wait_for("the connections are closed", lambda: not ssh.sessions())


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ("red:2 down:2", "on down: ssh: connect to host 127.0.0.1 port"),
        ("red:2 stranger:2", "on stranger: Host key verification failed."),
    ],
    ids=["down", "unknown"],
)
def test_a_host_that_can_not_be_used(sandbox: Sandbox, ssh: SshServer, hosts: str, words: str) -> None:
    """The user is told once, in ssh's words. The other hosts do the work."""
    sandbox.settings["SPRAYCC_HOSTS"] = hosts
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(2)
        sandbox.wait_for("it was shown", lambda: words in server_log(sandbox))
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert len([line for line in err.decode().splitlines() if words in line]) == 1, err
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1


def test_a_connection_that_breaks_in_mid_build(sandbox: Sandbox, ssh: SshServer) -> None:
    """The login is only needed to start executors: connected executors go on, and their places stay taken."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(4)
        for pid in ssh.sessions():
            os.kill(pid, signal.SIGKILL)
        sandbox.wait_for("the logins are gone", lambda: not ssh.sessions())
        sandbox.wait_for(
            "both lost logins are in the log", lambda: server_log(sandbox).count("ended with status 255") == 2
        )
        after = sandbox.wait_for_busy_executors(4)
        assert {executor["id"] for executor in after} == {executor["id"] for executor in busy}
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["retried"] == 0


def test_executors_leave_when_the_server_was_killed(sandbox: Sandbox, ssh: SshServer) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(4)
        os.kill(sandbox.status()["server"]["pid"], signal.SIGKILL)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    sandbox.wait_for("the connections are closed", lambda: not ssh.sessions())
    forget_killed_server(sandbox)
