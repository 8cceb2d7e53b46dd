"""Bounded memory, with unusually large outputs, command lines and numbers of runners."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.limits import HEARTBEATS, build_with_diagnostics, build_with_runners
from tests.system.harness.sandbox import Account, Process, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 1 << 20
#: Server and executor take 30 to 60 MiB for any build. None may keep much of the data that passes through it.
MEMORY = 160 * MIB


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(HEARTBEATS)
    yield sandbox
    sandbox.close()


def peak(process: Process) -> int:
    """The peak memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def check_memory(sandbox: Sandbox) -> None:
    """The peak memory of the server and of the living executors."""
    ours = [p for p in sandbox.processes() if re.search(r" -m spraycc\.(server|executor)", p.command)]
    assert len(ours) >= 2
    for process in ours:
        print(f"{peak(process) / MIB:.0f} MiB: {process.command[:100]}")
    assert [p for p in ours if peak(p) > MEMORY] == []


def test_an_output_of_a_gigabyte(sandbox: Sandbox) -> None:
    """Incompressible, so that all of it passes through the executor and the server."""
    size = 1 << 30
    make = f"""\
big:
\t@spraycc-run --remote sh -c 'head -c {32 * MIB} /dev/urandom >part && \\
\t\tfor i in $$(seq 32); do cat part; done | head -c {size} >big'
"""
    sandbox.write({"Makefile": make})
    built = sandbox.build("make", executors=1, timeout_s=250).ok()
    assert built.figures["remote"] == 1, built.words()
    assert built.figures["retried"] == 0
    assert (sandbox.workspace / "big").stat().st_size == size
    with (sandbox.workspace / "big").open("rb") as big, (sandbox.workspace / "part").open("rb") as part:
        once = part.read()
        assert all(big.read(len(once)) == once for _ in range(32))
    check_memory(sandbox)


def test_words_that_nobody_reads_for_a_while(sandbox: Sandbox) -> None:
    """Hundreds of megabytes of diagnostics, and a reader that pauses for longer than executors may be silent."""
    lines = 4_000_000
    sandbox.write(
        {"Makefile": f"words:\n\t@spraycc-run --remote seq -f '%.0f: warning: this is one of a great many' {lines}\n"}
    )
    command, summary = sandbox.build_command(["make"], executors=1)
    digest = hashlib.sha256()
    with sandbox.start(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        sandbox.wait_for_busy_executors(1)
        time.sleep(float(HEARTBEATS["SPRAYCC_LOST_AFTER_S"]) + 2)  # the fault: a reader that is slow
        while data := process.stdout.read(1 << 16):
            digest.update(data)
        assert process.wait(60) == 0
    expected = hashlib.sha256()
    for first in range(1, lines + 1, 10000):
        expected.update(
            b"".join(b"%d: warning: this is one of a great many\n" % i for i in range(first, first + 10000))
        )
    assert digest.digest() == expected.digest()
    figures = sandbox.figures(summary)
    assert (figures["remote"], figures["retried"]) == (1, 0)
    check_memory(sandbox)


def test_a_hundred_thousand_lines_of_diagnostics_a_second(sandbox: Sandbox) -> None:
    """Large outputs of several compiles at once."""
    build_with_diagnostics(sandbox, 100_000)
    check_memory(sandbox)


def test_two_thousand_runners_at_once(sandbox: Sandbox) -> None:
    build_with_runners(sandbox, 2000)
    check_memory(sandbox)
