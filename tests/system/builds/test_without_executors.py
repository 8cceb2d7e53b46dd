"""The default of cluster local: no executors, this host runs all commands; and compile slots beside a cluster's executors."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from spraycc.status_reply import HereTask
from tests.system.harness.projects import FakeCompiler, GatedCompiler, c_project, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.needs("gcc", "make")]

#: A cluster whose executors never come.
NO_CLUSTER = {
    "SPRAYCC_CLUSTER": "command",
    "SPRAYCC_START_COMMAND": "/bin/bash -c 'exec -a spraycc-none sleep 1000' {command}",
}


@pytest.fixture
def alone(sandbox: Sandbox) -> Sandbox:
    """A sandbox in which builds have no executors."""
    sandbox.without_executors()
    return sandbox


def running_here(sandbox: Sandbox, count: int) -> list[HereTask]:
    """The compiles that run on this host, as soon as there are ``count``."""

    def enough() -> list[HereTask] | None:
        status = sandbox.status()
        tasks = [t for t in status["submit_host"]["running"] if t["kind"] == "compile"] if status else []
        return tasks if len(tasks) >= count else None

    found: list[HereTask] = sandbox.wait_for(f"{count} compiles run on this host", enough)
    return found


def program(sandbox: Sandbox) -> bytes:
    return sandbox.run(sandbox.workspace / "prog").ok().out


def history(sandbox: Sandbox) -> str:
    return sandbox.run(sandbox.bin / "spraycc", "history", "show").ok().out.decode()


@pytest.mark.parametrize("tool", [["make"], ["make", "-j"], ["make", "-j9"], ["ninja"]])
def test_a_build_is_as_wide_as_the_limit_and_starts_no_executor(alone: Sandbox, tool: Sequence[str]) -> None:
    alone.write(c_project(6))
    compiler = GatedCompiler(alone)
    command, summary = alone.build_command(tool, executors=3)
    with alone.start(command) as process:
        running_here(alone, 3)
        status = alone.status()
        assert (status["executors"], status["pending"], status["listens"]) == ([], [], [])
        assert {task["reason"] for task in status["submit_host"]["running"]} == {"here: local"}
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert compiler.most_on_submit_host() == 3
    assert program(alone) == output_of(6)
    figures = alone.figures(summary)
    assert (figures["tasks"], figures["local"], figures["remote"], figures["failed"]) == (8, 8, 0, 0)
    assert figures["cpu_s_here"] > 0
    assert "u1.o" in history(alone)


def test_the_summary_speaks_of_this_host_alone(alone: Sandbox) -> None:
    alone.write(c_project(2))
    built = alone.build("make", "-j2").ok()
    (line,) = built.own_lines()
    assert "4 on this host" in line
    assert "executor" not in line


def test_a_failed_compile_shows_what_it_shows_without_spraycc(alone: Sandbox) -> None:
    alone.write({**c_project(3), "u2.c": "int f2(int x) { return y; }\n"})
    plain = alone.run("make", "-k", "-j1")
    alone.run("make", "clean")
    built = alone.build("make", "-k", "-j1")
    assert built.status == plain.status == 2
    assert built.out == plain.out
    ours = [line for line in built.err.splitlines() if not line.startswith(b"spraycc")]
    assert ours == plain.err.splitlines()
    assert built.figures["failed"] == 1
    assert "u2.o" not in history(alone)


def test_a_failed_link_is_known_to_why(alone: Sandbox) -> None:
    alone.write({**c_project(2), "u2.c": "int f3(int x) { return x; }\n"})  # main calls f2
    built = alone.build("make", "-j2")
    assert built.status == 2
    why = alone.run(alone.bin / "spraycc", "why").ok().out.decode()
    assert "1 task failed:\n  prog: status 1 on this host" in why, why


def test_a_killed_compile_fails_as_without_spraycc(alone: Sandbox) -> None:
    alone.write(c_project(1))
    FakeCompiler(alone, 'case " $* " in *" u1.c "*) kill -9 $$ ;; esac')
    built = alone.build("make", "u1.o")
    assert built.status == 2
    assert b"Killed" in built.err
    assert (built.figures["failed"], built.figures["retried"]) == (1, 0)


def test_ctrl_c_ends_the_compiles(alone: Sandbox) -> None:
    alone.write(c_project(4))
    GatedCompiler(alone)
    command, _ = alone.build_command(["make", "-j2"])
    with alone.start(command, start_new_session=True) as process:
        running_here(alone, 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(HANG_S) in (-signal.SIGINT, 128 + signal.SIGINT, 2)
    alone.wait_for("no compile is left", lambda: not alone.strangers())
    alone.wait_for("no build is open", lambda: not alone.status()["builds"])


def test_a_recursive_make_has_the_same_limit(alone: Sandbox) -> None:
    alone.write({f"{name}/{file}": text for name in ("a", "b") for file, text in c_project(3).items()})
    alone.write({"Makefile": "all: a b\na b:\n\t$(MAKE) -C $@\n.PHONY: all a b\n"})
    compiler = GatedCompiler(alone)
    command, _ = alone.build_command(["make", "-j4"], executors=2)
    with alone.start(command) as process:
        running_here(alone, 2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert compiler.most_on_submit_host() <= 2


def test_one_command_for_executors_runs_here(alone: Sandbox) -> None:
    done = alone.run(alone.bin / "spraycc", "run", "--remote", "--", "sh", "-c", "echo made >x; exit 3")
    assert done.status == 3
    assert (alone.workspace / "x").read_text() == "made\n"
    assert alone.status()["executors"] == []


def test_recipes_without_a_runner_get_their_tokens_at_once(alone: Sandbox) -> None:
    """All of them wait for each other, so fewer tokens would hang."""
    names = " ".join(f"t{n}" for n in range(4))
    wait = "touch $@; until [ -e t0 -a -e t1 -a -e t2 -a -e t3 ]; do sleep 0.02; done"
    alone.write({"Makefile": f"all: {names}\n{names}:\n\t@{wait}\n"})
    assert alone.build("make", "-j4", executors=4, local_slots=1).ok().figures["tokens_lost"] == 0


def test_a_server_goes_from_executors_to_none_and_back(sandbox: Sandbox) -> None:
    sandbox.write(c_project(3))
    assert sandbox.build("make", "-j2").ok().figures["remote"] == 4
    server = sandbox.status()["server"]["pid"]
    sandbox.run("make", "clean")
    assert sandbox.build("make", "-j2", options=["--capture", "auto"]).ok().figures["remote"] == 0
    sandbox.wait_for("the executors have left", lambda: not sandbox.status()["executors"])
    sandbox.run("make", "clean")
    assert sandbox.build("make", "-j2").ok().figures["remote"] == 4
    assert sandbox.status()["server"]["pid"] == server
    assert program(sandbox) == output_of(3)


def test_the_doctor_still_tries_executors_on_this_host(alone: Sandbox) -> None:
    shown = alone.run(alone.bin / "spraycc", "doctor", "--cluster").ok().out.decode()
    assert "compile: " in shown
    assert "connected" in shown


# ---- compile slots beside executors


def test_compile_slots_build_while_executors_are_pending(alone: Sandbox) -> None:
    alone.settings |= NO_CLUSTER
    alone.write(c_project(4))
    built = alone.build("make", "-j4", options=["--local-compile-slots", "2"]).ok()
    assert built.figures["reasons"]["here: compile-slot"] == 5
    assert program(alone) == output_of(4)


def test_commands_that_wait_for_a_cpu_end_when_no_build_wants_them(alone: Sandbox) -> None:
    alone.settings |= {**NO_CLUSTER, "SPRAYCC_RELEASE_DELAY_S": "0.5"}
    alone.write(c_project(2))
    alone.build("make", "-j4", options=["--local-compile-slots", "2"]).ok()
    alone.wait_for("no executor is pending", lambda: not alone.status()["pending"])
    alone.wait_for("no command waits", lambda: not [p for p in alone.processes() if "spraycc-none" in p.command])
    alone.run("make", "clean")
    assert alone.build("make", "-j4", options=["--local-compile-slots", "2"]).ok().figures["remote"] == 0


def test_this_host_and_an_executor_work_together(alone: Sandbox) -> None:
    alone.settings |= {"SPRAYCC_CLUSTER": "command", "SPRAYCC_START_COMMAND": "/usr/bin/env"}
    alone.write(c_project(6))
    compiler = GatedCompiler(alone)
    command, summary = alone.build_command(["make", "-j6"], ["--local-compile-slots", "2"], executors=1)
    with alone.start(command) as process:
        alone.wait_for_busy_executors(1)
        assert {task["reason"] for task in running_here(alone, 2)} == {"here: compile-slot"}
        compiler.open()
        assert process.wait(HANG_S) == 0
    figures = alone.figures(summary)
    assert figures["remote"] >= 1
    assert figures["reasons"]["here: compile-slot"] >= 2
    assert compiler.most_on_submit_host() <= 2
    assert program(alone) == output_of(6)
