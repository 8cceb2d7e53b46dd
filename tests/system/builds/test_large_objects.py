"""Builds whose objects are so large that threads of the server receive them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of, unit
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.overlay, pytest.mark.slow]

UNITS = 4
#: More than the buffers of a connection hold: 6 MiB to receive and 4 MiB to send (tcp(7), tcp_rmem and tcp_wmem).
EXTRA_BYTES = 24_000_001


def large_project() -> dict[str, str | bytes]:
    """:func:`c_project` with objects of 24 MB, each with other bytes."""
    files: dict[str, str | bytes] = dict(c_project(UNITS))
    for number in range(1, UNITS + 1):
        files[f"u{number}.bin"] = os.urandom(EXTRA_BYTES)
        files[f"u{number}.c"] = f'__asm__(".section .extra\\n.incbin \\"u{number}.bin\\"\\n.text");\n{unit(number)}'
    return files


def contents(tree: Path) -> dict[str, bytes]:
    return {name: (tree / name).read_bytes() for name in objects(tree)}


def test_several_large_objects_at_once(sandbox: Sandbox) -> None:
    tree = sandbox.write(large_project())
    sandbox.run("make").ok()
    plain = contents(tree)
    assert sum(map(len, plain.values())) > UNITS * EXTRA_BYTES
    sandbox.run("make", "clean").ok()
    built = sandbox.build("make", "-j8", executors=3).ok()
    assert built.figures["remote"] == UNITS + 1
    assert built.figures["bytes_returned"] > UNITS * EXTRA_BYTES
    assert contents(tree) == plain
    assert sandbox.run(tree / "prog").out == output_of(UNITS)


def test_an_executor_that_is_killed_in_the_middle_of_an_object(sandbox: Sandbox) -> None:
    tree = sandbox.write(large_project())
    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j1", "u1.o"], executors=1)
    with sandbox.start(command) as process:
        compiler.wait_for_width(1)
        server = sandbox.status()["server"]["pid"]
        [executor] = [e["pid"] for e in sandbox.busy_executors()]
        os.kill(server, signal.SIGSTOP)
        try:
            compiler.open()
            sandbox.wait_for("the executor is in the middle of its object", lambda: unsent_bytes(executor))
            os.kill(executor, signal.SIGKILL)
        finally:
            os.kill(server, signal.SIGCONT)
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["retried"] >= 1
    assert (tree / "u1.bin").read_bytes() in (tree / "u1.o").read_bytes()


def unsent_bytes(pid: int) -> int:
    """Bytes in the queues of a process's TCP connections that the peer has not taken."""
    inodes = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    connections = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return sum(int(fields[4].partition(":")[0], 16) for fields in connections if f"socket:[{fields[9]}]" in inodes)
