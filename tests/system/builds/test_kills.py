"""Builds that are interrupted, and builds whose executors or server are killed while they run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

UNITS = 6


def read_to_end(terminal: int) -> bytes:
    """Reads all output to a terminal until its last process has closed it."""
    data = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: no process has the other side open
            return data
        if not piece:
            return data
        data += piece


def assert_built(sandbox: Sandbox) -> None:
    assert len(objects(sandbox.workspace)) == UNITS + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def test_ctrl_c(sandbox: Sandbox) -> None:
    """Ctrl-C in the terminal ends everything, leaves no file, and the next build is whole."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    before = set(os.listdir(sandbox.workspace))
    command, _ = sandbox.build_command(["make", "-j8"])
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with sandbox.start(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal
    ) as process:
        os.close(theirs)
        sandbox.wait_for_busy_executors(2)
        os.write(ours, b"\x03")
        shown = read_to_end(ours)
        status = process.wait(HANG_S)
    os.close(ours)
    assert status in (-signal.SIGINT, 128 + signal.SIGINT, 2), shown
    sandbox.wait_for("no executor runs a task", lambda: not sandbox.busy_executors())
    sandbox.wait_for("nothing of the build is left running", lambda: not sandbox.strangers())
    assert set(os.listdir(sandbox.workspace)) == before

    compiler.open()
    sandbox.build("make", "-j8").ok()
    assert_built(sandbox)


@pytest.mark.parametrize("all_of_them", [False, True], ids=["one", "all"])
def test_killed_executors(sandbox: Sandbox, all_of_them: bool) -> None:
    """If an executor dies, another executor does its task, and the build does not notice."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], executors=3)
    with sandbox.start(command) as process:
        victims = sandbox.wait_for_busy_executors(3)
        for victim in victims if all_of_them else victims[:1]:
            os.kill(victim["pid"], signal.SIGKILL)
        compiler.open()
        assert process.wait(HANG_S) == 0
    figures = sandbox.figures(summary)
    assert figures["retried"] >= (3 if all_of_them else 1), figures
    assert figures["failed"] == 0
    assert_built(sandbox)


@pytest.mark.overlay
def test_killed_server(sandbox: Sandbox) -> None:
    """The build goes on on the submit host, within the local slots and with one warning. The next build starts a new server."""
    local_slots = 2
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], executors=4, local_slots=local_slots)
    errors = sandbox.aside / "stderr"
    with errors.open("wb") as stderr, sandbox.start(command, stderr=stderr) as process:
        sandbox.wait_for_busy_executors(4)
        pid = sandbox.status()["server"]["pid"]
        os.kill(pid, signal.SIGKILL)
        sandbox.wait_for("a compile runs here", lambda: "+" in compiler.notes())
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert 1 <= compiler.most_on_submit_host() <= local_slots, compiler.notes()
    warnings = [line for line in errors.read_text().splitlines() if "spraycc" in line]
    assert len(warnings) == 1, warnings
    assert_built(sandbox)
    sandbox.wait_for("the executors are gone", _nothing_runs(sandbox))

    sandbox.run("make", "clean").ok()
    built = sandbox.build("make", "-j8").ok()
    assert built.figures["remote"] == UNITS + 1
    assert sandbox.status()["server"]["pid"] != pid
    assert_built(sandbox)


@pytest.mark.overlay
def test_a_server_whose_directory_was_removed_spares_the_next_one(sandbox: Sandbox) -> None:
    """As a cleaner of /tmp does. The next server of the workspace makes a directory of the same name."""
    sandbox.write(c_project(1))
    command, _ = sandbox.build_command(["build", "--", "cat"])
    with sandbox.start(command, stdin=subprocess.PIPE) as process:
        sandbox.wait_for("the build is open", lambda: sandbox.status().get("builds"))
        first = sandbox.status()["server"]
        directory = Path(first["runtime_dir"])
        shutil.rmtree(directory)
        sandbox.build("make").ok()
        second = sandbox.status()["server"]
        assert second["pid"] != first["pid"]
        process.communicate(timeout=HANG_S)
    sandbox.wait_for("the first server has ended", lambda: not Path(f"/proc/{first['pid']}").exists())
    assert sandbox.status()["server"]["pid"] == second["pid"]
    assert {"socket", "lock", "slots"} <= {path.name for path in directory.iterdir()}
    assert len(list(sandbox.home.rglob("session-*.json"))) == 1, "executors can still connect"


def test_stopped_server(sandbox: Sandbox) -> None:
    """``spraycc server stop --now`` in the middle of a build: the build goes on on the submit host, and the server ends."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j8"], executors=3)
    with sandbox.start(command) as process:
        sandbox.wait_for_busy_executors(3)
        sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--now").ok()
        sandbox.wait_for("a compile runs here", lambda: "+" in compiler.notes())
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert compiler.most_on_submit_host() == 1, compiler.notes()
    assert_built(sandbox)


def sleepers(seconds: int) -> list[int]:
    """All processes of this host that sleep for this exact time, whichever process started them."""
    found = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(entry.path, "cmdline").read_bytes() == b"sleep\0%d\0" % seconds:
                found.append(int(entry.name))
    return found


#: Leaves two processes behind: one in its own session with its own streams, and one without a living parent.
_LEAVES = "setsid sleep {0} </dev/null >/dev/null 2>&1 & (setsid nohup sleep {0} >/dev/null 2>&1 &)"


def test_what_compiles_leave_behind_ends_with_them(sandbox: Sandbox) -> None:
    seconds = 10**6 + os.getpid()
    script = f"""\
#!/bin/sh
case " $* " in *" -c "*)
    {_LEAVES.format(seconds)}
    echo started >&2 ;;
esac
exec /usr/bin/gcc "$@"
"""
    sandbox.write({"gcc": script}, sandbox.aside / "compiler", mode=0o755)
    sandbox.path_front.append(sandbox.aside / "compiler")
    sandbox.write(c_project(UNITS))
    built = sandbox.build("make", "-j8", executors=3).ok()
    assert sleepers(seconds) == []
    assert built.figures["remote"] == UNITS + 1
    assert built.err.count(b"started") == UNITS + 1
    assert_built(sandbox)


@pytest.mark.overlay
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_cancelled_command_has_started_is_gone(sandbox: Sandbox, number: signal.Signals) -> None:
    """tests/stress/test_timing.py checks the time that this takes."""
    seconds = 10**6 + os.getpid()
    recipe = f"trap '' TERM HUP INT; {_LEAVES.format(seconds)}; sleep {seconds}"
    sandbox.write({"Makefile": f'all:\n\t@spraycc-run --remote sh -c "{recipe}"\n'})
    command, _ = sandbox.build_command(["make"], executors=1)
    with sandbox.start(command, stderr=subprocess.DEVNULL) as process:
        sandbox.wait_for("all three sleep", lambda: len(sleepers(seconds)) == 3)
        (runner,) = [p for p in sandbox.processes() if p.command.startswith("spraycc-run --remote")]
        os.kill(runner.pid, number)
        sandbox.wait_for("nothing of it runs", lambda: not sleepers(seconds))
        assert process.wait(HANG_S) == 2


def _nothing_runs(sandbox: Sandbox) -> Callable[[], bool]:
    return lambda: not sandbox.processes()
