"""A build that ran no compile on an executor says why. The compilers are real, and wait in their inner program."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from spraycc.ui.no_executor import LEAST_S, explanation
from tests.system.harness.projects import GCC, Gate
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.needs("gcc")]

#: Executes its words: in its own place, in a child, or in a child by a system call.
_LAUNCH = """\
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	int status;
	(void)argc;
	if (!IN_PLACE && fork() > 0)
		return wait(&status) < 0 || status != 0;
	if (BY_SYSTEM_CALL)
		syscall(SYS_execve, argv[1], argv + 1, environ);
	else
		execv(argv[1], argv + 1);
	return 127;
}
"""


class Project:
    """A makefile that compiles one source. The compile waits until the gate is open."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.gate = Gate(sandbox)
        self._inner = sandbox.aside / "inner"
        cc1 = subprocess.run([GCC, "-print-prog-name=cc1"], check=True, capture_output=True, text=True).stdout.strip()
        sandbox.write({"cc1": f'#!/bin/sh\n{self.gate.wait("$0")}\nexec {cc1} "$@"\n'}, self._inner, mode=0o755)
        sandbox.write({"u.c": "int v;\n"})

    def launch(self, directory: Path, *flags: str, in_place: bool = False, by_system_call: bool = False) -> Path:
        """A program that executes its words."""
        sandbox = self.sandbox
        source = sandbox.write({"launch.c": _LAUNCH}, sandbox.aside / "source") / "launch.c"
        defines = (f"-DIN_PLACE={int(in_place)}", f"-DBY_SYSTEM_CALL={int(by_system_call)}")
        subprocess.run([GCC, *flags, *defines, source, "-o", directory / "launch"], check=True)
        sandbox.give(directory)
        return directory / "launch"

    def build(self, compiler: str, *options: str, least_s: float = 0.0) -> tuple[dict[str, Any], bytes]:
        """Run the makefile with ``compiler``, at least for ``least_s``; returns the figures and SprayCC's lines."""
        sandbox = self.sandbox
        sandbox.write({"Makefile": f"u.o: u.c\n\t{compiler} -B {self._inner}/ -c u.c -o u.o\n"})
        command, summary = sandbox.build_command(["make"], options=options)
        with sandbox.start(command, stderr=subprocess.PIPE) as process:
            sandbox.wait_for("the server sees the compiler", lambda: self._is_seen(least_s))
            self.gate.open()
            _, err = process.communicate(timeout=HANG_S)
        assert process.returncode == 0, err
        assert (sandbox.workspace / "u.o").exists()
        return sandbox.figures(summary), err

    def _is_seen(self, least_s: float) -> bool:
        builds = self.sandbox.status().get("builds", [])
        return any(build["compiles_here"]["unwrapped"] and build["age_s"] >= least_s for build in builds)


@pytest.fixture
def project(sandbox: Sandbox) -> Project:
    return Project(sandbox)


def found(figures: dict[str, Any]) -> dict[str, str]:
    assert (figures["compiles"], figures["tasks"]) == (0, 0), figures
    here = figures["compiles_here"]
    assert here["samples"] >= here["samples_unwrapped"] >= 1
    return here["unwrapped"]


def test_a_compiler_that_a_static_program_has_started(project: Project) -> None:
    launch = project.launch(project.sandbox.aside, "-static")
    figures, err = project.build(f"{launch} {GCC}")
    assert found(figures) == {"compiler": GCC, "by": str(launch), "cause": "static", "culprit": str(launch)}
    assert f"{GCC} was executed by launch ({launch} is a static program" in str(explanation(figures, 0))
    if figures["wall_s"] < LEAST_S:
        assert b"no compile" not in err


def test_a_compile_that_a_rule_keeps(sandbox: Sandbox) -> None:
    sandbox.write({"u.c": "int v;\n", "Makefile": f"u.o: u.c\n\t{GCC} -c u.c -o u.o\n"})
    figures = sandbox.build("make", options=("--policy-here-light", "gcc")).ok().figures
    reason = "policy: here-light = 'gcc'"
    assert figures["compiles_here"]["reasons"] == {reason: 1}
    assert f'1 was "{reason}" ({GCC}, started by make)' in str(explanation(figures, 0))


@pytest.mark.slow
@pytest.mark.needs("clang")
def test_clang_works_in_its_driver(sandbox: Sandbox) -> None:
    text = "constexpr int f(int n) { int i = 0; while (i < n) ++i; return i; }\nstatic_assert(f(2000000000));\n"
    line = "SPRAYCC_EXEC= clang++ -std=c++14 -fconstexpr-steps=4294967295 -c u.cc"
    sandbox.write({"u.cc": text, "Makefile": f"u.o: u.cc\n\t{line}\n"})
    command, summary = sandbox.build_command(["make"])
    with sandbox.start(command) as process:
        builds = sandbox.wait_for(
            "the server sees the compiler",
            lambda: [b for b in sandbox.status().get("builds", []) if b["compiles_here"]["unwrapped"]],
        )
        for compiler in sandbox.processes():
            if compiler.command.startswith("clang++ "):
                os.kill(compiler.pid, signal.SIGTERM)
        process.wait(HANG_S)
    assert "clang" in builds[0]["compiles_here"]["unwrapped"]["compiler"]
    assert builds[0]["compiles_here"]["unwrapped"]["cause"] == "switched-off"
    assert sandbox.figures(summary)["exit_status"] != 0


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--no-summary-line",)], ids=["", "no summary line"])
def test_a_build_of_ten_seconds(project: Project, option: tuple[str, ...]) -> None:
    launch = project.launch(project.sandbox.aside, "-static")
    figures, err = project.build(f"{launch} {GCC}", *option, least_s=LEAST_S)
    text = f"spraycc: {explanation(figures)}\n".encode()
    assert b"no compile went through SprayCC" in text
    assert (text in err) == (option == ()), err


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["replaced", "workspace", "system-call", "switched-off", "unknown-name", "by-path"])
def test_causes(project: Project, cause: str) -> None:
    sandbox = project.sandbox
    compiler, culprit = GCC, ""
    if cause == "replaced":
        compiler = f"{project.launch(sandbox.aside, '-static', in_place=True)} {GCC}"
    elif cause == "workspace":
        culprit = str(project.launch(sandbox.workspace))
        compiler = f"{culprit} {GCC}"
    elif cause == "system-call":
        culprit = str(project.launch(sandbox.aside, by_system_call=True))
        compiler = f"{culprit} {GCC}"
    elif cause == "switched-off":
        compiler = f"SPRAYCC_EXEC= {GCC}"
    elif cause == "unknown-name":
        (sandbox.aside / "mycc").symlink_to(GCC)
        compiler, culprit = str(sandbox.aside / "mycc"), "mycc"
    options = ("--intercept", "path") if cause == "by-path" else ()
    noted = found(project.build(compiler, *options)[0])
    assert noted["cause"] == cause
    assert not culprit or noted["culprit"] == culprit


def test_compilers_below_a_named_program_of_the_build(sandbox: Sandbox) -> None:
    """As CPython 3.11 compiles its extension modules."""
    tool = f'#include <stdlib.h>\nint main(void) {{ return system("{GCC} -c u.c") != 0; }}\n'
    sandbox.write({"u.c": "int v;\n", "tool.c": tool})
    sandbox.write({"Makefile": f"u.o: tool u.c\n\t./tool\ntool: tool.c\n\t{GCC} -o $@ $<\n"})
    for options, remote in ((("--intercept-below", "./tool"), 1), ((), 0)):
        assert sandbox.build("make", "-B", options=options).ok().figures["remote"] == remote


@pytest.mark.slow
@pytest.mark.needs("ccache")
def test_a_cache_that_has_all_results_needs_no_executor(sandbox: Sandbox) -> None:
    sandbox.write({"u.c": "int v;\n", "Makefile": "u.o: u.c\n\tccache gcc -c u.c -o u.o\n"})
    environment = {"CCACHE_DIR": str(sandbox.temp / "ccache")}
    for compiles in (1, 0):
        figures = sandbox.build("make", "-B", env=environment).ok().figures
        assert (figures["compiles"], figures["compiles_remote"]) == (compiles, compiles)
        assert explanation(figures, 0) is None
