"""Builds with compilers whose outputs can't be predicted: the same files as in a plain build, made by executors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.sandbox import Finished, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

#: b and c use the module a, c uses b, and main uses c. The submodule gives a's function its body.
_FORTRAN = {
    "a.f90": "module a\n interface\n  module integer function one()\n  end function\n end interface\nend module\n",
    "sub.f90": "submodule (a) s\ncontains\n module procedure one\n  one = 1\n end procedure\nend submodule\n",
    "b.F90": "#define TWO 2\nmodule b\n use a\n integer, parameter :: two = TWO\nend module\n",
    "c.f": "      module c\n      use b\n      end module\n",
    "main.f90": "program main\n use c\n print '(I0)', one() + two\nend program\n",
    "Makefile": """\
FC = gfortran
MODULES = -Jmod
objects := a.o sub.o b.o c.o main.o
prog: $(objects)
	$(FC) -o $@ $^
a.o: a.f90 | mod
	$(FC) $(MODULES) -O1 -g -c -o $@ $<
sub.o main.o: %.o: %.f90
	$(FC) $(MODULES) -O1 -g -c -o $@ $<
b.o: b.F90
	$(FC) $(MODULES) -O1 -g -c -o $@ $<
c.o: c.f
	$(FC) $(MODULES) -O1 -g -c -o $@ $<
mod:
	mkdir mod
sub.o b.o: a.o
c.o: b.o
main.o: c.o
""",
}
_ASSEMBLER = {
    "inc/two.inc": "%define TWO 2\n",
    **{
        f"f{i}.asm": f'%include "two.inc"\nglobal f{i}\nsection .text\nf{i}: mov eax, TWO + {i}\n ret\n'
        for i in range(4)
    },
    "main.c": "int f3(void);\nint main(void) { return f3(); }\n",
    "Makefile": """\
AS = nasm
prog: main.o f0.o f1.o f2.o f3.o
	gcc -o $@ $^
main.o: main.c
	gcc -c $<
%.o: %.asm
	$(AS) -f elf64 -Iinc/ -o $@ $<
""",
}
_MADE = ("*.o", "*.mod", "*.smod")


def made(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for end in _MADE for path in tree.rglob(end)}


def compare(sandbox: Sandbox, files: dict[str, str], *words: str) -> Finished:
    """Build plainly, then with SprayCC in the same directory: all files must be the same."""
    tree = sandbox.write(files)
    sandbox.run("make", "-j4", *words).ok()
    plain, status = made(tree), sandbox.run(tree / "prog")
    assert plain
    for path in (*map(tree.joinpath, plain), tree / "prog"):
        path.unlink()
    built = sandbox.build("make", "-j4", *words, executors=3).ok()
    assert made(tree) == plain
    assert dataclasses.replace(sandbox.run(tree / "prog")) == status
    return built


def attempts(sandbox: Sandbox) -> int:
    """Commands that executors ran, by their own count."""
    sandbox.stop()
    return sum(int(counters["tasks"]) for counters in sandbox.executor_counters())


@pytest.mark.parametrize("compiler", ["gfortran", "flang-new-19"])
def test_a_fortran_project_with_modules(sandbox: Sandbox, compiler: str) -> None:
    needs.program(compiler, {"flang-new-19": "flang-19"}.get(compiler))
    words = [f"FC={compiler}"] if compiler == "gfortran" else [f"FC={compiler}", "MODULES=-module-dir mod"]
    built = compare(sandbox, _FORTRAN, *words)
    assert built.figures["remote"] == 5, built.words()
    assert built.figures["retried"] == 0, built.words()
    assert attempts(sandbox) == 5


def test_executors_that_may_see_other_files(sandbox: Sandbox) -> None:
    """All files that the compiler has read are proved: also the modules that another executor has made just before."""
    needs.program("gfortran")
    # Executors that a user's command starts may be on any host.
    sandbox.settings |= {"SPRAYCC_CLUSTER": "command", "SPRAYCC_START_COMMAND": "/usr/bin/env"}
    built = compare(sandbox, _FORTRAN)
    assert (built.figures["remote"], built.figures["stale"]) == (5, 0), built.words()
    assert attempts(sandbox) == 5


def test_cmake_and_ninja(sandbox: Sandbox) -> None:
    """CMake finds the order of the modules by preprocessing each source to a file."""
    needs.programs({"gfortran": "gfortran", "cmake": "cmake", "ninja": "ninja-build"})
    project = "cmake_minimum_required(VERSION 3.13)\nproject(p Fortran)\nadd_executable(prog {})\n"
    sources = [name for name in _FORTRAN if name != "Makefile"]
    sandbox.write(_FORTRAN | {"CMakeLists.txt": project.format(" ".join(sources))})
    sandbox.run("cmake", "-GNinja", "-B", "build").ok()
    built = sandbox.build("ninja", "-C", "build", executors=3).ok()
    assert sandbox.run("build/prog").out == b"3\n"
    assert built.figures["remote"] == 2 * len(sources), built.words()


@pytest.mark.parametrize("assembler", ["nasm", "yasm"])
def test_an_assembler(sandbox: Sandbox, assembler: str) -> None:
    needs.program(assembler)
    built = compare(sandbox, _ASSEMBLER, f"AS={assembler}")
    assert built.figures["remote"] == 5, built.words()
    assert attempts(sandbox) == 5


@pytest.mark.parametrize("capture", ["predict", "in-place"])
def test_an_executor_without_an_overlay_runs_none_of_them(sandbox: Sandbox, capture: str) -> None:
    needs.program("gfortran")
    sandbox.write(_FORTRAN)
    built = sandbox.build("make", "-j4", options=["--capture", capture]).ok()
    assert built.figures["remote"] == 0, built.words()
    assert attempts(sandbox) == 0
    assert sandbox.run(sandbox.workspace / "prog").out == b"3\n"
