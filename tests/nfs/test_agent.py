"""The agent and ``Machine.run`` talk to each other over a pseudo-terminal in place of the machine's serial port."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.nfs.machine import Machine, MachineError, ScriptFailed

#: Takes the place of guest/on: the host and the user are only shown.
_ON = '#!/bin/sh\nhost=$1 user=$2\nshift 2\nHOST_USER="$user@$host" exec "$@"\n'


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine that is only an agent."""
    on = tmp_path / "on"
    on.write_text(_ON)
    on.chmod(0o755)
    console = tmp_path / "console"
    console.write_text("last words")
    ours, port = pty.openpty()
    tty.setraw(port)
    command = [sys.executable, str(Path(__file__).with_name("guest") / "agent.py"), os.ttyname(port)]
    agent = subprocess.Popen(command, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with open(ours, "wb", closefd=False) as stdin, open(ours, "rb") as stdout:
        qemu: Any = SimpleNamespace(stdin=stdin, stdout=stdout)
        machine = Machine(qemu, console)
        machine.wait_until_up()
        os.close(port)
        yield machine
        agent.kill()
        agent.wait()


def test_a_script_gives_its_status_and_output(machine: Machine) -> None:
    done = machine.run("echo $HOST_USER; echo error >&2; exit 3", host="exec", user="dev", check=False)
    assert (done.status, done.output) == (3, "dev@exec\nerror\n")
    assert machine.run("cat").output == ""  # stdin is empty, and the next script is not lost in it
    assert machine.run("seq 20000").output.endswith("\n19999\n20000\n")


def test_a_script_that_fails_is_shown_with_its_output(machine: Machine) -> None:
    with pytest.raises(ScriptFailed, match=r"(?s)status 1 .* root on server.*no luck"):
        machine.run("echo no luck; false")
    assert machine.run("echo next").output == "next\n"


def test_a_script_ends_at_its_time_limit(machine: Machine) -> None:
    done = machine.run("echo begun; sleep 1000", timeout_s=0.2, check=False)
    assert (done.status, done.output) == (124, "begun\n")


def test_a_program_in_the_background_does_not_hold_the_answer(machine: Machine) -> None:
    done = machine.run("sleep 1000 & echo $!")
    os.kill(int(done.output), 9)


def test_a_machine_that_ends_shows_its_console(machine: Machine) -> None:
    with pytest.raises((MachineError, OSError), match=r"last words|Input/output error"):
        machine.run("kill -9 $(ps -o ppid= -p $PPID)")
