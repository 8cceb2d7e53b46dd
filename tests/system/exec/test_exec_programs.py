"""Programs that can't load the library, or that the build has made, run as without the library."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hatch_build import EXEC_LIBRARY
from tests.system.exec import intercepting
from tests.system.exec.intercepting import Interception, compiled, programs
from tests.system.harness import needs

library = intercepting.library
calls = intercepting.calls
fake_runner = intercepting.fake_runner
interception = intercepting.interception

pytestmark = pytest.mark.needs("cc", package="gcc")

#: Prints the environment, and starts a thread, so that sanitizers have work.
SOURCE = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern char **environ;
static void *work(void *text) { return strdup(text); }
int main(int argc, char **argv)
{
	pthread_t thread;
	void *copy;
	(void)argc;
	pthread_create(&thread, NULL, work, argv[0]);
	pthread_join(thread, &copy);
	puts(getenv("LD_PRELOAD") ? "preloaded" : "plain");
	free(copy);
	return 7;
}
"""


def write_source(interception: Interception) -> Path:
    source = interception.top / "t.c"
    source.write_text(SOURCE)
    return source


def build(interception: Interception, program: Path, *command: str) -> bool:
    source = write_source(interception)
    return interception.plain(*command, source, "-pthread", "-o", program).returncode == 0


def check_runs_alike(interception: Interception, calls: Path, program: Path, *, silent: bool = True) -> None:
    """However the program is executed, with whatever environment."""
    script = interception.top / "script"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    for command in (
        ["sh", "-c", f"{program}; exit $?"],
        ["sh", "-c", f"env -i {program}; {program}; exit 3"],
        ["make", "-s", "-f", "-", "all"],
        [calls, "posix_spawn", program, program],
        [calls, "execvp", program, program],
        [calls, "vfork", script, script],
        [calls, "system", str(program)],
    ):
        if command[0] == "make":
            (interception.work / "makefile").write_text(f"all:\n\t{program} || echo status $$?\n")
            command = ["make", "-s"]
        if silent:
            done = interception.run_alike(*command)
            assert b"preloaded" not in done.stdout
        else:
            done, plain = interception.run(*command), interception.plain(*command)
            assert (done.returncode, done.stderr) == (plain.returncode, plain.stderr)
            assert done.stdout.count(b"p") == plain.stdout.count(b"p") or b"preloaded" in done.stdout


@pytest.mark.parametrize("place", ["work", "outside"])
@pytest.mark.parametrize("name", ["address", "thread", "leak", "undefined", "hwaddress", "memory"])
@pytest.mark.parametrize("compiler", ["gcc", "clang", "clang-shared"])
def test_programs_with_sanitizers(interception: Interception, calls: Path, compiler: str, name: str, place: str) -> None:  # fmt: skip
    program = (interception.work if place == "work" else interception.top / "outside") / "program"
    path, words = needs.compiler(compiler.removesuffix("-shared")), []
    if compiler == "clang-shared":
        runtime = interception.plain(path, "-print-runtime-dir").stdout.decode().strip()
        words = ["-shared-libsan", f"-Wl,-rpath,{runtime}"]
    if not build(interception, program, path, f"-fsanitize={name}", *words):
        pytest.skip(f"{compiler} has no library for -fsanitize={name}")
    if interception.plain(program).returncode != 7:
        pytest.skip("the program does not run on this host")
    check_runs_alike(
        interception, calls, program, silent=place == "work" or (name == "address" and compiler != "clang")
    )


def test_the_test_above_would_notice(interception: Interception) -> None:
    program = interception.work / "program"
    assert build(interception, program, "gcc", "-fsanitize=address")
    done = interception.run(program)  # executed by this process, which has no library
    assert done.returncode == 1
    assert b"ASan runtime does not come first" in done.stderr
    interception.run_alike("sh", "-c", "./program; exit $?")
    # Behind the sanitizer's own library, ours does no harm.
    asan = interception.plain("gcc", "-print-file-name=libasan.so").stdout.decode().strip()
    interception.run_alike("sh", "-c", f"LD_PRELOAD={asan} ./program; LD_PRELOAD={asan} true; exit 3")


@pytest.mark.parametrize("place", ["work", "outside"])
def test_static_programs(interception: Interception, calls: Path, place: str) -> None:
    program = (interception.work if place == "work" else interception.top / "outside") / "program"
    for words in (["-static"], ["-static-pie"]):
        assert build(interception, program, "gcc", *words)
        check_runs_alike(interception, calls, program)


def test_32_bit_programs(interception: Interception, calls: Path) -> None:
    for place in ("work", "outside"):
        program = (interception.work if place == "work" else interception.top / "outside") / "program"
        if not build(interception, program, "gcc", "-m32"):
            needs.missing("gcc -m32", "gcc-12-multilib")
        if interception.plain(program).returncode != 7:
            needs.missing("the C library for 32-bit programs", "libc6-i386")
        check_runs_alike(interception, calls, program)
        # A process without the library can't take the library out: the loader complains.
        assert b"wrong ELF class" in interception.run(program).stderr


@pytest.mark.needs("musl-gcc", package="musl-tools")
def test_musl_programs(interception: Interception, calls: Path) -> None:
    for words in ([], ["-static"]):
        for place in ("work", "outside"):
            program = (interception.work if place == "work" else interception.top / "outside") / "program"
            assert build(interception, program, "musl-gcc", *words)
            check_runs_alike(interception, calls, program)


def test_setuid_programs(interception: Interception, calls: Path) -> None:
    program = interception.top / "outside" / "program"
    assert build(interception, program, "gcc")
    program.chmod(0o4755)
    check_runs_alike(interception, calls, program)


def test_what_the_build_has_made(interception: Interception, calls: Path) -> None:
    program = interception.work / "program"
    assert build(interception, program, "gcc")
    check_runs_alike(interception, calls, program)
    # The file decides, not the way to it.
    outside = interception.top / "outside"
    (outside / "link").symlink_to(program)
    (interception.top / "way").symlink_to(interception.ws)
    check_runs_alike(interception, calls, outside / "link")
    check_runs_alike(interception, calls, interception.top / "way" / "work" / "program")
    # A neighbour of the workspace is no part of it, and a link in the workspace may lead out.
    neighbour = Path(f"{interception.ws}2")
    neighbour.mkdir()
    shutil.copy(program, neighbour / "program")
    (interception.work / "out").symlink_to(neighbour / "program")
    for path in (neighbour / "program", interception.work / "out"):
        assert interception.run("sh", "-c", f"{path}; exit 0").stdout == b"preloaded\n"


def test_scripts_of_the_workspace_are_intercepted(interception: Interception) -> None:
    """configure is one."""
    for line, name in (("#!/bin/sh", "a"), ("#! /bin/sh -e", "b"), ("#!/usr/bin/env sh", "c"), ("", "d")):
        script = interception.work / name
        script.write_text(f"{line}\ngcc -c x\nexit 0\n")
        script.chmod(0o755)
        assert interception.got("sh", "-c", f"./{name}; exit 0") == ["/usr/bin/gcc"], name
    # An interpreter that the build has made.
    shutil.copy("/bin/sh", interception.work / "shell")
    script.write_text(f"#!{interception.work}/shell\n/usr/bin/gcc --version; env\n")
    done = interception.run("sh", "-c", "./d; exit 0")
    assert programs(done) == []
    assert EXEC_LIBRARY.encode() not in done.stdout


def test_a_compiler_is_wrapped_whatever_it_is(interception: Interception) -> None:
    """Static, of another class, or made by the build: the runner executes it without the library."""
    for words in (["-static"], []):
        program = interception.work / "riscv64-unknown-elf-gcc-12"
        assert build(interception, program, "gcc", *words)
        assert interception.got("sh", "-c", f"./{program.name} -c; exit 0") == [f"./{program.name}"]
        assert interception.got("env", "-i", program, "-c") == [str(program)]


def test_a_linker_that_runs_a_build_is_not_wrapped(interception: Interception) -> None:
    """The compilers below ``mold -run make`` are."""
    mold = interception.top / "outside" / "mold"
    compiled(mold.parent, "calls")
    (mold.parent / "calls").rename(mold)
    assert interception.got(mold, "system", "/usr/bin/gcc -c; exit 0") == ["/usr/bin/gcc"]
    assert interception.got("sh", "-c", f"{mold} system '/usr/bin/gcc -c; exit 0'; exit 0") == ["/usr/bin/gcc"]


def test_launchers_are_not_wrapped(interception: Interception) -> None:
    outside = interception.top / "outside"
    compiled(outside, "calls")
    (outside / "calls").rename(outside / "ccache")
    (outside / "gcc").symlink_to("ccache")
    links = outside / "distcc" / "x86_64"
    links.mkdir(parents=True)
    for path in (links / "gcc", links.parent / "gcc"):
        path.write_text("#!/bin/sh\necho launched\n")
        path.chmod(0o755)
    for path in (outside / "gcc", links / "gcc", links.parent / "gcc"):
        assert programs(interception.run_alike("sh", "-c", f"{path} system 'echo launched'; exit 0")) == []
    # The compiler that a launcher starts by its path is wrapped.
    assert interception.got("sh", "-c", f"{outside}/gcc system '/usr/bin/gcc -c'; exit 0") == ["/usr/bin/gcc"]


def test_rules_for_paths(interception: Interception) -> None:
    tests = interception.work / "tests" / "deep"
    tests.mkdir(parents=True)
    for directory in (interception.work, tests.parent, tests, interception.ws, interception.top / "outside"):
        shutil.copy("/bin/echo", directory / "unit")
        script = directory / "check.sh"
        script.write_text("#!/bin/sh\necho check\n")
        script.chmod(0o755)
    ws, outside = interception.ws, interception.top / "outside"

    def wrapped(wrap: list[str], never: list[str], *paths: str | Path) -> list[bool]:
        interception.configure(wrap=wrap, never=never)
        found = []
        for path in paths:
            done = interception.run("sh", "-c", f"{path} --version; exit 0")
            assert programs(done) in ([], [str(path)])
            found.append(programs(done) != [])
        return found

    everywhere = ("./unit", "tests/unit", "tests/deep/unit", "../unit", ws / "work" / "unit", outside / "unit", "tests/check.sh")  # fmt: skip
    assert wrapped(["work/tests/*"], [], *everywhere) == [False, True, True, False, False, False, True]
    assert wrapped(["work/tests/*"], ["*.sh"], *everywhere) == [False, True, True, False, False, False, False]
    assert wrapped(["work/tests/*"], ["work/tests/deep/*"], *everywhere) == [False, True, False, False, False, False, True]  # fmt: skip
    # As the call has it, or at the top of the workspace.
    assert wrapped(["./unit"], [], *everywhere) == [True, False, False, True, False, False, False]
    assert wrapped(["../*"], [], *everywhere) == [False, False, False, True, False, False, False]
    assert wrapped(["tests/unit"], [], *everywhere) == [False, True, False, False, False, False, False]
    assert wrapped(["*/deep/unit"], [], *everywhere) == [False, False, True, False, False, False, False]
    # A link is known by its own path, too.
    (interception.work / "link").symlink_to(outside / "unit")
    for rule in ("work/link", f"{interception.work.resolve()}/l*", f"{outside.resolve()}/unit"):
        assert wrapped([rule], [], interception.work / "link") == [True]
    assert wrapped(["unit"], [], *everywhere) == [True, True, True, True, True, True, False]
    assert wrapped([f"{outside.resolve()}/*"], [], *everywhere) == [False] * 5 + [True, False]
    assert wrapped(["[tu]*", "*.sh"], ["work/unit"], *everywhere) == [False, True, True, True, False, True, True]
    assert wrapped([], ["gcc"], "/usr/bin/gcc", "/usr/bin/cc") == [False, True]
    assert wrapped([], ["/usr/bin/*"], "/usr/bin/gcc", "/usr/bin/cc") == [False, False]


def test_the_library_needs_only_old_symbols(library: Path) -> None:
    """So hosts with an older C library than the compiling host's load it."""
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"@GLIBC_([0-9.]+)", symbols)}
    assert max(versions) <= (2, 17)
