"""Files of a gigabyte come back whole, with their holes, and no process keeps them in memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.system.capture.bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

GIB = 1 << 30
#: The memory that the server and an executor need otherwise, and pieces of files in flight.
MEMORY_KIB = 150 * 1024


def run(bench: Bench, line: str) -> None:
    bench.prepare({})
    launcher: list[str | bytes | Path] = [bench.sandbox.bin / "spraycc-run", "--remote", "--", "sh", "-c", line]
    done = bench.execute(launcher)
    assert (done.status, done.out, done.err) == (0, b"", b"")
    assert [task["ran"] for task in bench.tasks(1)] == ["remote"]


def peaks(bench: Bench) -> dict[str, int]:
    """Peak memory (KiB) of the server and the executors so far, by their command lines."""
    found = {}
    for process in bench.sandbox.processes():
        if " -m spraycc." in process.command:
            with open(f"/proc/{process.pid}/status", encoding="ascii") as lines:
                found[process.command] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return found


def test_sparse_gigabyte(user_overlay: Bench) -> None:
    run(user_overlay, "truncate -s 1G n; printf end | dd of=n bs=1M seek=700 conv=notrunc status=none")
    with open(user_overlay.tree / "n", "rb") as file:
        status = os.fstat(file.fileno())
        assert status.st_size == GIB
        assert status.st_blocks * 512 < 1 << 20
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 700 << 20
        assert os.pread(file.fileno(), 4, 700 << 20) == b"end\0"


def test_dense_gigabyte(user_overlay: Bench) -> None:
    run(user_overlay, f"yes 0123456789abcdef | head -c {GIB} > n; chmod 600 n")
    check = f"yes 0123456789abcdef | head -c {GIB} | cmp - n"
    subprocess.run(["sh", "-c", check], cwd=user_overlay.tree, check=True)
    assert os.stat(user_overlay.tree / "n").st_size == GIB
    os.unlink(user_overlay.tree / "n")
    found = peaks(user_overlay)
    assert len(found) == 2
    assert max(found.values()) < MEMORY_KIB, found
