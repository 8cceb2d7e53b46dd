"""Unusually large builds, in a size that the test chooses."""

from __future__ import annotations

import resource

import pytest

from tests.system.harness.sandbox import Sandbox

#: Small, so that the test fails if one side takes a busy link for a silent one.
HEARTBEATS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}


def build_with_diagnostics(sandbox: Sandbox, lines: int) -> None:
    """Several compiles at once print ``lines`` lines of diagnostics each; all of them arrive in order."""
    compilers = 4
    script = f"#!/bin/sh\nseq -f '%.0f: warning: unused' {lines} >&2\nexec /usr/bin/gcc \"$@\"\n"
    sandbox.write({"gcc": script}, sandbox.aside / "compiler", mode=0o755)
    sandbox.path_front.append(sandbox.aside / "compiler")
    sandbox.write({f"u{i}.c": f"int f{i};\n" for i in range(compilers)})
    sandbox.write({"Makefile": "all: $(patsubst %.c,%.o,$(wildcard *.c))\n%.o: %.c\n\t@gcc -c -o $@ $<\n"})
    built = sandbox.build("make", "-j4", "--output-sync=target", executors=compilers).ok()
    assert built.figures["remote"] == compilers, built.figures
    told = [line for line in built.err.splitlines() if b"warning" in line]
    assert told == [b"%d: warning: unused" % i for i in range(1, lines + 1)] * compilers


def build_with_runners(sandbox: Sandbox, count: int) -> None:
    """All runners wait while the executors are busy, and then all are served."""
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
            timeout_s=240,
        )
        held = sandbox.status()["scheduler"]["total"]
        assert held["queued"] + held["remote"] == count, held
        gate.touch()
        assert process.wait(240) == 0
    assert sorted(map(int, out.read_text().split())) == list(range(1, count + 1))
    figures = sandbox.figures(summary)
    assert (figures["tasks"], figures["remote"]) == (count, count)
