"""Earlier runs of a task decide how it is scheduled: second attempts of late tasks, and hosts with too little memory."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

UNITS = 5
#: A second attempt must save the task of a stopped executor. The server must not give up on the executor before.
PATIENT = ("--lost-after-s", "90", "--heartbeat-s", "30")


def history_of(sandbox: Sandbox) -> Path:
    return sandbox.home / ".local/state/spraycc/history.sqlite3"


def known(sandbox: Sandbox) -> int:
    """The targets in the history's file."""
    if not history_of(sandbox).exists():
        return 0
    shown = sandbox.run(sandbox.bin / "spraycc", "history", "show", "--json")
    return len(shown.out.splitlines())


@pytest.mark.overlay
def test_a_stopped_executor(sandbox: Sandbox) -> None:
    """While a task hangs, an idle executor does it: the same files, one result, and no process is left over."""
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j8", options=PATIENT, executors=3).ok()
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    objects_before = {path.name: path.read_bytes() for path in sandbox.workspace.glob("*.[od]")}
    sandbox.wait_for("the history is written", lambda: known(sandbox) == UNITS + 1)
    sandbox.run("make", "clean").ok()
    sandbox.run(sandbox.bin / "spraycc", "server", "stop").ok()

    # A new server: its expectations come from the file.
    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j8"], executors=3, options=PATIENT)
    with sandbox.start(command) as process:
        stopped = sandbox.wait_for_busy_executors(3)[0]
        os.kill(stopped["pid"], signal.SIGSTOP)
        try:
            compiler.open()
            assert process.wait(HANG_S) == 0
        finally:
            os.kill(stopped["pid"], signal.SIGCONT)
    figures = sandbox.figures(summary)
    assert figures["second"] >= 1, figures
    assert figures["second_won"] >= 1, figures
    assert (figures["remote"], figures["failed"], figures["local"]) == (UNITS + 1, 0, 1), figures
    assert {path.name: path.read_bytes() for path in sandbox.workspace.glob("*.[od]")} == objects_before
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    # The stopped executor wakes up, learns that its task was cancelled, and takes the next one.
    sandbox.wait_for("all executors are idle", lambda: not sandbox.busy_executors())
    assert len(sandbox.status()["executors"]) == 3


@pytest.mark.overlay
def test_commands_of_the_users_choice_are_not_tried_twice(sandbox: Sandbox) -> None:
    """A command sent by ``--remote`` may talk to others, so it gets no second attempt, however long it takes."""
    gate = sandbox.aside / "gate"
    script = f"until [ -e '{gate}' ]; do sleep 0.05; done; echo done"
    gate.touch()
    remote: list[str | Path] = [sandbox.bin / "spraycc-run", "--remote", "--", "sh", "-c", script]
    sandbox.build("build", "--", *remote, executors=2).ok()
    gate.unlink()
    command, summary = sandbox.build_command(["build", "--", *remote], executors=2)
    with sandbox.start(command) as process:
        (busy,) = sandbox.wait_for_busy_executors(1)
        assert busy["task"] is not None
        # The first time it took 0.05 s, so it is late by now.
        sandbox.wait_for("it runs for 3 s", lambda: sandbox.status()["builds"][0]["age_s"] > 3)
        assert len(sandbox.busy_executors()) == 1
        gate.touch()
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["second"] == 0


def test_no_second_heavy_unit_on_a_host(sandbox: Sandbox) -> None:
    """Two units, each expected to take most of this host's memory, are compiled one after the other."""
    sandbox.write(c_project(UNITS))
    sandbox.build("make", "-j8", executors=3).ok()
    sandbox.wait_for("the history is written", lambda: known(sandbox) == UNITS + 1)
    sandbox.run("make", "clean").ok()
    sandbox.run(sandbox.bin / "spraycc", "server", "stop").ok()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    set_memory(sandbox, total * 6 // 10, ("u1.o", "u2.o"))

    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j8"], executors=3)
    with sandbox.start(command) as process:
        # Four light units, one after the other, and one of the heavy ones: the other executor has nothing to do.
        for name in ("u3", "u4", "u5", "main"):
            os.utime(sandbox.workspace / f"{name}.c", (1, 1))
        compiler.gate.open_for(sandbox.workspace / "main.c")
        sandbox.wait_for("only heavy ones are left", lambda: light_ones_done(sandbox))
        sandbox.wait_for(
            "one of them is queued, though two executors are idle",
            lambda: len(sandbox.busy_executors()) == sandbox.status()["scheduler"]["total"]["queued"] == 1,
        )
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["remote"] == UNITS + 1
    assert len(objects(sandbox.workspace)) == UNITS + 1


def light_ones_done(sandbox: Sandbox) -> bool:
    return {"u3.o", "u4.o", "u5.o", "main.o"} <= objects(sandbox.workspace)


def set_memory(sandbox: Sandbox, size_bytes: int, names: tuple[str, ...]) -> None:
    """Writes a history in which these targets used that much memory."""
    with sqlite3.connect(history_of(sandbox)) as db:
        marks = ", ".join("?" * len(names))
        done = db.execute(
            f"UPDATE target SET memory_bytes = ? WHERE name IN ({marks})", (size_bytes, *map(os.fsencode, names))
        )
        assert done.rowcount == len(names)
    db.close()


@pytest.mark.overlay
@pytest.mark.parametrize("words", ["cc1: out of memory allocating 65536 bytes after a total of 1 bytes", "Killed"])
def test_out_of_memory(sandbox: Sandbox, words: str) -> None:
    """A compile that runs out of memory on executors runs on the submit host, as no host has more. The build does not fail."""
    sandbox.write(c_project(1))
    directory = sandbox.aside / "compiler"
    here = sandbox.aside / "here"
    end = "kill -9 $$" if words == "Killed" else f"echo '{words}' >&2; exit 1"
    # Only the submit host can write outside the workspace.
    script = f"""#!/bin/sh
case " $* " in *" u1.c "*) touch '{here}' 2>/dev/null || {{ {end}; }} ;; esac
exec /usr/bin/gcc "$@"
"""
    sandbox.write({"gcc": script}, directory, mode=0o755)
    sandbox.path_front.append(directory)
    built = sandbox.build("make", "-j4", executors=2).ok()
    assert built.figures["retried"] >= 1, built.words()
    assert words.encode() not in built.err
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(1)
    reason = "here: memory" if words != "Killed" else "here: attempts"
    assert built.figures["reasons"].get(reason) == 1, built.words()


def test_history_shown_and_cleared(sandbox: Sandbox) -> None:
    """``spraycc history`` shows the known targets, the longest first; ``clear`` makes the running server forget them, too."""
    history: list[str | Path] = [sandbox.bin / "spraycc", "history"]
    empty = sandbox.run(*history, "show")
    assert (empty.status, empty.out) == (1, b"")
    assert "nothing is known" in empty.own_lines()[0]
    sandbox.write(c_project(2))
    sandbox.build("make", "-j2").ok()
    sandbox.wait_for("the history is written", lambda: known(sandbox) == 3)
    shown = sandbox.run(*history, "show").ok().out.decode().splitlines()
    assert {line.split("compile")[1].split()[0] for line in shown} == {"u1.o", "u2.o", "main.o"}
    assert [float(line.split()[0]) for line in shown] == sorted(
        (float(line.split()[0]) for line in shown), reverse=True
    )
    assert len(sandbox.run(*history, "show", "u1").ok().out.splitlines()) == 1
    assert sandbox.run(*history, "show", "nowhere").status == 1
    assert "3 targets" in sandbox.run(*history, "clear").ok().own_lines()[0]
    assert known(sandbox) == 0
    # The server notices at its next write, and then has forgotten everything older.
    (sandbox.workspace / "u1.o").unlink()
    sandbox.build("make").ok()
    (sandbox.workspace / "u2.o").unlink()
    sandbox.build("make").ok()
    sandbox.wait_for("the later tasks are in the history", lambda: known(sandbox) >= 1)
    assert known(sandbox) < 3
