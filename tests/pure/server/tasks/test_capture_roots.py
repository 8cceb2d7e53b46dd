"""The environment that a task takes along, and the directories that its capture must hold."""

from __future__ import annotations

from os.path import normpath

import pytest

from spraycc.model import Command, Description, Kind, Placement
from spraycc.server.tasks.capture_roots import CaptureRoots, capture_roots, remote_environment

WS = b"/ws"
HOME = b"/home/u"


def command(cwd: bytes = WS) -> Command:
    return Command((b"gcc",), b"/usr/bin/gcc", cwd, (), 0o022)


def plan(cwd: bytes, *outputs: bytes, complete: bool = False, missing: bytes = b"") -> CaptureRoots | None:
    description = Description(Kind.COMPILE, Placement.REMOTE, "compile", (b"a.c",), outputs, complete=complete)
    return capture_roots(
        command(cwd), description, WS, HOME, lambda p: normpath(p.replace(b"/link", b"/real")), lambda p: p != missing
    )


@pytest.mark.parametrize(
    ("cwd", "outputs", "roots", "named"),
    [
        (b"/ws", (b"a.d", b"a.o"), (b"/ws",), (b"/ws/a.d", b"/ws/a.o")),
        (b"/ws/sub", (b"x/a.o",), (b"/ws",), (b"/ws/sub/x/a.o",)),
        (b"/ws/sub", (b"/ws/b/a.o",), (b"/ws",), (b"/ws/b/a.o",)),
        (b"/else", (b"a.o",), (b"/ws", b"/else"), (b"/else/a.o",)),
        (b"/ws", (b"/out/a.o",), (b"/ws", b"/out"), (b"/out/a.o",)),
        (b"/ws", (b"/tmp/x.o",), (b"/ws",), (b"/tmp/x.o",)),
        (b"/ws", (b"/dev/shm/x.o",), (b"/ws",), (b"/dev/shm/x.o",)),
        (b"/ws", (b"/dev/null",), (b"/ws",), ()),
        (b"/ws/link", (b"a.o",), (b"/ws",), (b"/ws/real/a.o",)),
    ],
)
def test_roots(cwd: bytes, outputs: tuple[bytes, ...], roots: tuple[bytes, ...], named: tuple[bytes, ...]) -> None:
    assert plan(cwd, *outputs) == CaptureRoots(roots, (b"/tmp", b"/dev/shm"), named)


@pytest.mark.parametrize(
    ("cwd", "outputs", "roots"),
    [
        (b"/ws", (b"obj/a.d", b"obj/a.o"), (b"/ws/obj",)),
        (b"/ws", (b"dep/a.d", b"obj/a.o"), (b"/ws/dep", b"/ws/obj")),
        (b"/ws/src", (b"a.o",), (b"/ws/src",)),
        (b"/ws/src", (b"../a.o",), (b"/ws",)),
        (b"/ws", (b"/out/a.o",), (b"/out",)),
        (b"/else", (b"/ws/obj/a.o",), (b"/ws/obj",)),
        (b"/ws", (b"/tmp/a.o",), ()),
        (b"/ws", (), ()),
        (b"/ws", (b"new/a.o",), (b"/ws",)),
    ],
)
def test_roots_where_all_that_is_written_is_known(
    cwd: bytes, outputs: tuple[bytes, ...], roots: tuple[bytes, ...]
) -> None:
    found = plan(cwd, *outputs, complete=True, missing=b"/ws/new")
    assert found is not None
    assert found.roots == roots


def test_directories_for_files_with_unknown_names() -> None:
    description = Description(
        Kind.COMPILE, Placement.REMOTE, "compile", (b"a.f90",), (b"a.o",), directories=(b"mod", b"/out/m/")
    )
    found = capture_roots(command(b"/ws/b"), description, WS, HOME, normpath)
    assert found is not None
    assert found.roots == (b"/ws", b"/out/m")
    assert found.outputs == (b"/ws/b/mod/", b"/out/m/", b"/ws/b/a.o")


@pytest.mark.parametrize("cwd", [b"/", HOME, b"/tmp", b"/var/tmp", b"/dev/shm"])
def test_directories_that_are_never_captured_whole(cwd: bytes) -> None:
    assert plan(cwd, b"a.o") is None


def test_an_output_in_the_home_directory_itself_runs_here() -> None:
    assert plan(WS, HOME + b"/a.o") is None


def test_the_builds_own_variables_stay_behind() -> None:
    env = (
        b"PATH=/usr/bin",
        b"SPRAYCC_SOCKET=/tmp/s",
        b"MAKEFLAGS= -j8 --jobserver-auth=3,4",
        b"MFLAGS=-j8 --jobserver-auth=3,4",
        b"LANG=C",
        b"ODD",
        b"=x",
        b"BIN=\xff\n",
    )
    assert remote_environment(env) == (b"PATH=/usr/bin", b"LANG=C", b"ODD", b"=x", b"BIN=\xff\n")


def test_other_make_flags_go_along() -> None:
    (entry,) = remote_environment((b"MAKEFLAGS=k -j8 --jobserver-auth=fifo:/tmp/f -- CC=gcc",))
    assert b"jobserver" not in entry
    assert b"-j" not in entry
    assert entry.startswith(b"MAKEFLAGS=k")
    assert b"CC=gcc" in entry
