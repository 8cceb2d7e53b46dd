"""The programs that an executor's host must have like the submit host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from spraycc.model import BuildId, Command, Description, Kind, Placement
from spraycc.server.tasks.toolchains import Toolchains, needs_of
from spraycc.system.toolchain import CPU


def test_programs_that_the_command_starts(tmp_path: Path) -> None:
    for name in ("nvcc", "gcc", "bin/gcc", "other"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {name}\n")
        path.chmod(0o755)
    top = os.fsencode(tmp_path)

    def needed(*starts: bytes, native: bool = False) -> list[bytes]:
        command = Command((b"nvcc",), top + b"/nvcc", top, (b"PATH=/nowhere:" + top,), 0o022)
        description = Description(Kind.COMPILE, Placement.REMOTE, "compile", starts=starts, native=native)

        async def ask() -> list[bytes]:
            return [name for name, _ in await Toolchains().needed_by(command, description, BuildId("b"))]

        return trio.run(ask)

    nvcc = top + b"/nvcc"
    assert needed() == [nvcc]
    assert needed(b"gcc") == [nvcc, top + b"/gcc"]
    assert needed(b"bin") == [nvcc, top + b"/bin/gcc"]
    assert needed(b"missing") == [nvcc]
    assert needed(b"./bin") == [nvcc, top + b"/./bin/gcc"]
    assert needed(top + b"/other", native=True) == [nvcc, top + b"/other", CPU]


@pytest.mark.parametrize(
    ("upgraded", "build", "after_s", "is_noticed"),
    [
        ("cc", "first", 0.0, True),
        ("as", "first", 0.5, False),  # the next look at all files is one second after the first
        ("as", "first", 1.0, True),
        ("as", "second", 0.0, True),
    ],
)
def test_an_upgrade_is_noticed(tmp_path: Path, upgraded: str, build: str, after_s: float, is_noticed: bool) -> None:
    def install(name: str, version: str) -> None:
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\n[ $1 = -print-prog-name=as ] && echo {tmp_path}/as\n: {version}\n")
        new.chmod(0o755)
        new.rename(tmp_path / name)

    install("as", "1")
    install("cc", "1")
    compiler = os.fsencode(tmp_path / "cc")
    command = Command((b"cc",), compiler, os.fsencode(tmp_path), (), 0o022)
    description = Description(Kind.COMPILE, Placement.REMOTE, "compile")
    clock = MockClock()

    async def ask() -> bool:
        toolchains = Toolchains()

        async def identity(build: str) -> str:
            ((name, text),) = await toolchains.needed_by(command, description, BuildId(build))
            assert name == compiler
            return text

        before = await identity("first")
        assert await identity("first") == before
        install(upgraded, "2")
        clock.jump(after_s)
        return await identity(build) != before

    assert trio.run(ask, clock=clock) is is_noticed


def test_an_upgraded_compiler_is_another_need() -> None:
    """An executor whose host was upgraded first has refused the old compiler. The new compiler needs a new question."""
    assert needs_of(()) == ""
    assert needs_of(((b"/usr/bin/cc", "cc 1\na"),)) == needs_of(((b"/usr/bin/cc", "cc 1\na"),))
    assert needs_of(((b"/usr/bin/cc", "cc 1\na"),)) != needs_of(((b"/usr/bin/cc", "cc 1\nb"),))
    assert needs_of(((b"/usr/bin/cc", "cc 1\na"),)) != needs_of(((b"/usr/bin/c++", "cc 1\na"),))
