"""Compilers without a runner: found among a build's processes, with the cause."""

from __future__ import annotations

import pytest

from spraycc.server.builds.unwrapped import Program, Unwrapped, drivers, path_up, unwrapped
from spraycc.server.host.process_tree import Process

TOP = 10
GCC = Program(b"/usr/bin/x86_64-linux-gnu-gcc-12", b"gcc", names_library=True)
MAKE = Program(b"/usr/bin/make", b"make", has_library=True, names_library=True)


def processes(*rows: tuple[int, int, bytes] | tuple[int, int, bytes, int]) -> dict[int, Process]:
    """By process id. A row is a process id, a parent, a name and CPU time."""
    return {
        pid: Process(pid, parent, name, "S", 1, ticks[0] if ticks else 0, pid) for pid, parent, name, *ticks in rows
    }


MAKE_AND_SHELL = ((TOP, 1, b"make"), (11, TOP, b"sh"))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        pytest.param((), ((12, 11, b"gcc"), (13, 12, b"cc1")), {12: True}, id="gcc"),
        pytest.param((), ((12, 11, b"g++"), (13, 12, b"cc1plus"), (14, 12, b"as")), {12: True}, id="g++ -pipe"),
        pytest.param((), ((12, 11, b"gfortran"), (13, 12, b"f951")), {12: True}, id="gfortran"),
        pytest.param((), ((12, 1, b"gcc"), (13, 12, b"cc1")), {}, id="another build's"),
        pytest.param((), ((12, 11, b"gcc"), (13, 12, b"collect2")), {}, id="a link"),
        pytest.param((), ((12, 11, b"clang", 9),), {}, id="clang seen once"),
        pytest.param(((12, 11, b"clang", 9),), ((12, 11, b"clang", 10),), {12: False}, id="clang at work"),
        pytest.param(((12, 11, b"clang", 9),), ((12, 11, b"clang", 9),), {}, id="clang waits"),
        pytest.param(
            ((12, 11, b"clang"), (13, 12, b"clang", 1)),
            ((12, 11, b"clang"), (13, 12, b"clang", 2)),
            {12: False},
            id="clang starts itself",
        ),
        pytest.param(((12, 11, b"nasm", 1),), ((12, 11, b"nasm", 2),), {12: False}, id="nasm"),
        pytest.param(((12, 11, b"make", 1),), ((12, 11, b"make", 2),), {}, id="no compiler"),
        pytest.param(((12, 11, b"gcc", 1),), ((12, 11, b"gcc", 2),), {}, id="gcc works in its inner program only"),
    ],
)  # fmt: skip
def test_drivers_at_work(before: tuple, now: tuple, found: dict[int, bool]) -> None:
    assert drivers(processes(*MAKE_AND_SHELL, *now), TOP, processes(*MAKE_AND_SHELL, *before)) == found


def test_a_process_with_the_number_of_an_older_one() -> None:
    now = processes(*MAKE_AND_SHELL, (12, 11, b"clang", 10))
    before = {12: Process(12, 11, b"clang", "S", 1, 9, started=5)}
    assert drivers(now, TOP, before) == {}


def test_a_tool_that_is_itself_a_compiler_has_nothing_above() -> None:
    assert drivers(processes((TOP, 1, b"gcc"), (11, TOP, b"cc1")), TOP, {}) == {}


def test_processes_that_name_each_other_as_parent_end_the_search() -> None:
    assert path_up(processes((12, 13, b"a"), (13, 12, b"b")), 12, TOP) == []


@pytest.mark.parametrize(
    ("chain", "cause", "culprit"),
    [
        pytest.param(
            [GCC, Program(b"/opt/bazel", obstacle="static"), MAKE], "static", b"/opt/bazel", id="a static program"
        ),
        pytest.param(
            [GCC, Program(b"/bin/sh"), Program(b"/ws/tool", in_workspace=True), MAKE],
            "workspace",
            b"/ws/tool",
            id="a shell below a program of the workspace",
        ),
        pytest.param(
            [GCC, Program(b"/ws/tool", obstacle="foreign", in_workspace=True), MAKE],
            "foreign",
            b"/ws/tool",
            id="the file says more than its place",
        ),
        pytest.param([Program(b"/usr/bin/gcc", b"gcc"), MAKE], "replaced", b"/usr/bin/make", id="replaced"),
        pytest.param([GCC, MAKE], "system-call", b"/usr/bin/make", id="a program that calls no libc"),
        pytest.param(
            [Program(b"/opt/x/bin/driver", b"/opt/bin/mycc", names_library=True), MAKE],
            "unknown-name",
            b"mycc",
            id="an unknown name",
        ),
        pytest.param(
            [Program(b"/usr/bin/gcc", b"gcc", is_off=True), MAKE], "switched-off", b"", id="switched off by a recipe"
        ),
        pytest.param(
            [GCC, Program(b"/usr/bin/make", is_off=True)], "switched-off", b"", id="switched off for the tool"
        ),
        pytest.param(
            [Program(b"/opt/gcc"), Program(b"/usr/bin/make", has_shims=True)], "by-path", b"/opt/gcc", id="shims"
        ),
        pytest.param([GCC, Program(b"/usr/bin/make")], "", b"/usr/bin/make", id="no library at all"),
    ],
)
def test_causes(chain: list[Program], cause: str, culprit: bytes) -> None:
    found = unwrapped(chain)
    assert found is not None
    assert (found.cause, found.culprit, found.by) == (cause, culprit, chain[1].path)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([Program(b"/usr/bin/gcc", has_slot=True), MAKE], id="a runner has become the compiler"),
        pytest.param([GCC, Program(b"/opt/nvcc", has_slot=True), MAKE], id="below a wrapped command"),
        pytest.param([Program(b"/usr/bin/ccache", b"gcc"), MAKE], id="a launcher under a compiler's name"),
        pytest.param([GCC], id="nothing above"),
    ],
)
def test_no_compiler_without_a_runner(chain: list[Program]) -> None:
    assert unwrapped(chain) is None


def test_the_compiler_is_named_as_it_was_called_or_by_its_file() -> None:
    assert unwrapped([Program(b"/usr/bin/gcc-12", b"/opt/bin/gcc"), MAKE]) == Unwrapped(
        b"/opt/bin/gcc", MAKE.path, "replaced", MAKE.path
    )
    found = unwrapped([GCC, MAKE])
    assert found is not None
    assert found.as_map()["compiler"] == "/usr/bin/x86_64-linux-gnu-gcc-12"
