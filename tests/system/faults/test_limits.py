"""Bounded memory, and hosts that are short of descriptors: with outputs, words and runners beyond all that is usual."""

from __future__ import annotations

import hashlib
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.projects import c_project, objects, output_of
from tests.system.harness.sandbox import Account, Process, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1 << 20
#: Server and executor take 30 to 60 MiB whatever they do; none may hold much of what passes through it.
MEMORY = 160 * MIB
#: Small, so that what keeps a link busy for long is not taken for silence.
HEARTBEATS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(HEARTBEATS)
    yield sandbox
    sandbox.close()


def peak(process: Process) -> int:
    """Most memory that it ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def check_memory(sandbox: Sandbox) -> None:
    """Of the server and of the executors that are still there."""
    ours = [p for p in sandbox.processes() if re.search(r" -m spraycc\.(server|executor)", p.command)]
    assert len(ours) >= 2
    for process in ours:
        print(f"{peak(process) / MIB:.0f} MiB: {process.command[:100]}")
    assert [p for p in ours if peak(p) > MEMORY] == []


def test_an_output_of_a_gigabyte(sandbox: Sandbox) -> None:
    """Incompressible, so that all of it passes through both."""
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
    """Hundreds of megabytes of diagnostics, and a reader that takes none for longer than executors may be silent."""
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
    """From each of several compiles at once."""
    compilers, lines = 4, 100_000
    script = f"#!/bin/sh\nseq -f '%.0f: warning: unused' {lines} >&2\nexec /usr/bin/gcc \"$@\"\n"
    sandbox.write({"gcc": script}, sandbox.aside / "compiler", mode=0o755)
    sandbox.path_front.append(sandbox.aside / "compiler")
    sandbox.write({f"u{i}.c": f"int f{i};\n" for i in range(compilers)})
    sandbox.write({"Makefile": "all: $(patsubst %.c,%.o,$(wildcard *.c))\n%.o: %.c\n\t@gcc -c -o $@ $<\n"})
    built = sandbox.build("make", "-j4", "--output-sync=target", executors=compilers).ok()
    assert built.figures["remote"] == compilers, built.figures
    told = [line for line in built.err.splitlines() if b"warning" in line]
    assert told == [b"%d: warning: unused" % i for i in range(1, lines + 1)] * compilers
    check_memory(sandbox)


def test_two_thousand_runners_at_once(sandbox: Sandbox) -> None:
    """All are held while the one executor is busy, and then all are served."""
    count = 2000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * count:
        pytest.skip(f"NOT TRIED: the hard limit of open files is below {2 * count}")
    gate = sandbox.aside / "gate"
    script = f"""\
i=0
while [ $i -lt {count} ]; do
    i=$((i + 1))
    spraycc-run --remote sh -c "until [ -e '{gate}' ]; do sleep 0.05; done; echo $i" &
done
wait
"""
    sandbox.write({"all.sh": script})
    out = sandbox.aside / "out"
    command, summary = sandbox.build_command(["build", "--", "sh", "all.sh"], executors=4)
    with out.open("wb") as stdout, sandbox.start(command, stdout=stdout) as process:
        sandbox.wait_for(
            "all runners are held",
            lambda: sum(build["tasks"] for build in sandbox.status().get("builds", [])) == count,
            timeout_s=100,
        )
        held = sandbox.status()["scheduler"]["total"]
        assert held["queued"] + held["remote"] == count, held
        gate.touch()
        assert process.wait(150) == 0
    assert sorted(map(int, out.read_text().split())) == list(range(1, count + 1))
    figures = sandbox.figures(summary)
    assert (figures["tasks"], figures["remote"]) == (count, count)
    check_memory(sandbox)


def short_of_descriptors(count: int) -> str:
    """A shell line that leaves its program so many open files, now and for ever."""
    return f'ulimit -n {count} && exec "$@"'


@pytest.mark.parametrize("count", [24, 40, 64])
def test_a_server_with_few_descriptors(sandbox: Sandbox, count: int) -> None:
    """It accepts when some are free again; executors and runners that it has no room for find their way. Completions that
    are held (``-j24``, one local slot) must not keep the descriptors that the runners need who would end the holding."""
    units = 30
    sandbox.write(c_project(units))
    sandbox.settings["SPRAYCC_RELEASE_DELAY_S"] = "600"  # executors that go would make room, too
    server_start = ("sh", sandbox.bin / "spraycc", "server", "start")
    sandbox.run("sh", "-c", short_of_descriptors(count), *server_start).ok()
    # A build in which nothing moves is pushed after 60 s: that is not what this is about.
    built = sandbox.build("make", "-j24", executors=8, timeout_s=45).ok()
    print(built.figures, built.own_lines())
    assert any("open files" in line for line in built.own_lines()), built.words()
    assert len(objects(sandbox.workspace)) == units + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(units)


@pytest.mark.parametrize("count", [8, 14, 18, 24])
def test_executors_with_few_descriptors(sandbox: Sandbox, count: int) -> None:
    units = 12
    sandbox.write(c_project(units))
    wrapper = f"#!/bin/sh\n{short_of_descriptors(count)}\n"
    sandbox.write({"few": wrapper}, sandbox.aside / "prefix", mode=0o755)
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = str(sandbox.aside / "prefix/few")
    sandbox.short_of_memory = True
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    print(built.figures, built.own_lines())
    assert len(objects(sandbox.workspace)) == units + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(units)
