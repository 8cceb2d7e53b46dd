"""Programs in the recipes of a build: each prints, ends and sees what it does without SprayCC."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.sandbox import Finished, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.overlay]

OPTIONS = ("--wait-for-cluster", "--no-summary-line")

PROGRAM = """\
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
	char *bytes = malloc(3);
	printf("%d words%s\\n", argc, getenv("LD_PRELOAD") && NAMES_PRELOADED ? ", preloaded" : "");
	fflush(stdout);
	bytes[argc > 1 ? 3 : 2] = 'x';
	free(bytes);
	return 3;
}
"""

#: A kind of program: the compile command, and the program that it needs.
KINDS = {
    "ASan of gcc": ("gcc -fsanitize=address", {"gcc": "gcc"}),
    "ASan of clang": ("clang -fsanitize=address", {"clang": "clang"}),
    "TSan of gcc": ("gcc -fsanitize=thread", {"gcc": "gcc"}),
    "TSan of clang": ("clang -fsanitize=thread", {"clang": "clang"}),
    "32 bits": ("gcc -m32", {"gcc": "gcc"}),
    "static": ("gcc -static", {"gcc": "gcc"}),
    "musl": ("musl-gcc", {"musl-gcc": "musl-tools"}),
}


def said(done: Finished) -> tuple[bytes, bytes]:
    """Both outputs, without numbers that differ in each run."""
    changing = rb"0x[0-9a-f]+|==\d+==|\(process \d+\)|pid=\d+"
    return re.sub(changing, b"", done.out), re.sub(changing, b"", done.err)


# A program outside the workspace may have the library: docs/explanation/interception.md.
@pytest.mark.parametrize("place", ["in the workspace", "outside"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_the_build_has_made(sandbox: Sandbox, kind: str, place: str) -> None:
    compiler, packages = KINDS[kind]
    needs.programs(packages)
    if kind == "32 bits" and not Path("/usr/lib32/libc.so.6").exists():
        needs.missing("the C library for 32 bits", "gcc-multilib")
    inside = place == "in the workspace"
    directory = sandbox.workspace if inside else sandbox.temp
    makefile = f"""\
all: {directory}/prog
	@$<; echo status $$?
	@$< more; echo status $$?
	@env -i $<; echo status $$?
	@sh -c '$< | cat'
{directory}/prog: {directory}/main.o
	@{compiler} -o $@ $<
{directory}/main.o: main.c
	@{compiler} -DNAMES_PRELOADED={int(inside)} -g -c -o $@ $<
"""
    sandbox.write({"main.c": PROGRAM, "Makefile": makefile})
    plain = sandbox.run("make", "-B").ok()
    assert b"1 words\nstatus 3\n" in plain.out, plain.words()
    built = sandbox.build("make", "-B", options=OPTIONS).ok()
    assert said(built) == said(plain)
    # musl-gcc is a script, and SprayCC knows the gcc that it starts.
    assert built.figures["remote"] == 1


#: Programs that trace or preload, and the line of a recipe for each.
TOOLS = {
    "fakeroot": "fakeroot sh -c 'chown 1:2 x && gcc -c u.c && stat -c %u:%g x u.o'",
    "eatmydata": "eatmydata gcc -c u.c",
    "strace": "strace -f -o log gcc -c u.c && grep -q 'exited with 0' log",
    "gdb": "gdb -batch -ex run -ex 'print 1 + 1' --args sh -c 'echo in gdb' && gcc -c u.c",
    "valgrind": "valgrind -q --trace-children=yes /bin/sh -c 'echo in valgrind' && gcc -c u.c",
    "faketime": "faketime '2001-02-03 04:05:06' sh -c 'date +%F; gcc -c u.c'",
}
AROUND = {
    "fakeroot": "fakeroot",
    "eatmydata": "eatmydata",
    "strace": "strace -f -o log",
    "gdb": "gdb -batch -ex run --args",
    "valgrind": "valgrind -q",
    "faketime": "faketime '2001-02-03 04:05:06'",
}


def write_unit(sandbox: Sandbox, recipe: str) -> None:
    makefile = f"all:\n\t@echo begin\n\t@{recipe}\n\t@echo end\n"
    sandbox.write({"u.c": "char date[] = __DATE__;\n", "x": "", "Makefile": makefile})


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_in_a_recipe(sandbox: Sandbox, tool: str) -> None:
    needs.program(tool)
    write_unit(sandbox, TOOLS[tool])
    plain = sandbox.run("make").ok()
    data = (sandbox.workspace / "u.o").read_bytes()
    (sandbox.workspace / "u.o").unlink()
    built = sandbox.build("make", options=OPTIONS).ok()
    assert said(built) == said(plain)
    assert (sandbox.workspace / "u.o").read_bytes() == data
    # A tracer may show other files to its command.
    assert built.figures["remote"] == (tool != "strace")


@pytest.mark.parametrize("tool", AROUND)
def test_a_tool_around_the_build(sandbox: Sandbox, tool: str) -> None:
    needs.program(tool)
    write_unit(sandbox, "gcc -c u.c")
    # strace waits for the server if the server is below it.
    sandbox.build("make", "-n", options=OPTIONS).ok()
    words = shlex.split(AROUND[tool])
    sandbox.run(*(words if tool == "faketime" else []), "make").ok()
    data = (sandbox.workspace / "u.o").read_bytes()
    (sandbox.workspace / "u.o").unlink()
    command, summary = sandbox.build_command(["make"], options=OPTIONS)
    built = sandbox.run(*words, *command).ok()
    assert [line for line in built.out.splitlines() if line in (b"begin", b"end")] == [b"begin", b"end"]
    assert (sandbox.workspace / "u.o").read_bytes() == data
    if tool == "fakeroot":  # spraycc believes that it is root, and trusts no server of this user
        assert "goes on without a server" in built.own_lines()[-1]
    else:
        assert not built.own_lines()
        assert sandbox.figures(summary)["remote"] == 1


def environment(text: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)


#: The variables with the jobserver (docs/explanation/jobserver.md). make itself adds MFLAGS.
JOBSERVER = {"MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"}
#: All variables of a build: these, and those of docs/explanation/interception.md.
DOCUMENTED = JOBSERVER | {"SPRAYCC_EXEC", "LD_PRELOAD", "SPRAYCC_SOCKET", "SPRAYCC_BUILD"}


def test_the_environment_of_a_recipe(sandbox: Sandbox) -> None:
    sandbox.write({"Makefile": "all:\n\t@env\n"})
    plain = environment(sandbox.run("make", "-j2").ok().out)
    made = environment(sandbox.build("make", "-j2", options=OPTIONS).ok().out)
    assert {name for name in made.keys() | plain.keys() if made.get(name) != plain.get(name)} <= DOCUMENTED
    assert made["PATH"] == plain["PATH"]
    ours = [name for name, value in made.items() if "spraycc/" in value and name not in DOCUMENTED]
    assert ours == [name for name, value in plain.items() if "spraycc/" in value]


@pytest.mark.parametrize("place", ["remote", "here"])
def test_a_compiler_sees_no_variable_of_interception(sandbox: Sandbox, place: str) -> None:
    compiler = '#!/bin/sh\nenv\necho "shell: $(grep -c libspraycc /proc/self/maps)"\nexec /usr/bin/gcc "$@"\n'
    gcc = sandbox.write({"gcc": compiler}, sandbox.aside / "compiler", mode=0o755) / "gcc"
    rule = '[policy]\nhere-light = ["gcc"]\n' if place == "here" else ""
    sandbox.write({"Makefile": f"u.o: u.c\n\t@{gcc} -c -o $@ $<\n", "u.c": "int u;\n", ".spraycc.toml": rule})
    plain_run = sandbox.run("make", "-B").ok()
    built = sandbox.build("make", "-B", options=OPTIONS).ok()
    assert built.figures["remote"] == (place == "remote"), built.words()
    made, plain = environment(built.out), environment(plain_run.out)
    assert made.keys() - plain.keys() <= JOBSERVER | ({"SPRAYCC_SLOT"} if place == "here" else set())
    differing = {name for name in plain if made.get(name) != plain[name]} - JOBSERVER
    # The user's settings of SprayCC stay outside. An executor gives each task a TMPDIR of its own.
    settings = {name for name in plain if name.startswith("SPRAYCC_")}
    assert differing == settings | ({"TMPDIR"} if place == "remote" else set())
    assert b"shell: 0" in built.out
