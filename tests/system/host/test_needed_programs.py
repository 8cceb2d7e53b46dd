"""The programs that an executor's host must have like the submit host."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from spraycc.model import Command, Description, Kind, Placement
from spraycc.server.tasks.toolchains import Toolchains
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
            return [name for name, _ in await Toolchains().needed_by(command, description)]

        return trio.run(ask)

    nvcc = top + b"/nvcc"
    assert needed() == [nvcc]
    assert needed(b"gcc") == [nvcc, top + b"/gcc"]
    assert needed(b"bin") == [nvcc, top + b"/bin/gcc"]
    assert needed(b"missing") == [nvcc]
    assert needed(b"./bin") == [nvcc, top + b"/./bin/gcc"]
    assert needed(top + b"/other", native=True) == [nvcc, top + b"/other", CPU]
