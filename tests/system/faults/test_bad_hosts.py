"""Each fault of a bad host once: a disk that hangs until the test ends it, a quota, a full table of open files.

Slow disks with real delays are in tests/stress/test_slow_hosts.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.faults.badhost import (
    UNITS,
    check,
    check_scratch_is_cleared,
    library,
    make_executors_bad,
    sandbox,
    start_bad_server,
)
from tests.system.harness.projects import GatedCompiler
from tests.system.harness.sandbox import Finished, Sandbox

__all__ = ["library", "sandbox"]

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

EXECUTORS = 4


def executors(sandbox: Sandbox) -> set[int]:
    return {p.pid for p in sandbox.processes() if " -m spraycc.executor" in p.command}


def connected(sandbox: Sandbox) -> set[int]:
    return {executor["pid"] for executor in sandbox.status().get("executors", [])}


def build_while_a_disk_hangs(sandbox: Sandbox, switch: Path, lost: Callable[[set[int]], bool]) -> dict[str, object]:
    """The disk hangs from the moment at which each executor compiles until all of these executors are lost."""
    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j8"], executors=EXECUTORS)
    with sandbox.start(command) as process:
        compiler.wait_for_width(EXECUTORS)
        first = executors(sandbox)
        switch.touch()
        compiler.open()
        sandbox.wait_for("the executors are lost", lambda: lost(first), timeout_s=100)
        switch.unlink()
        assert process.wait(200) == 0
    figures = sandbox.figures(summary)
    check(sandbox, Finished((), 0, b"", b"", figures))
    return figures


def test_a_disk_that_hangs_at_the_server(sandbox: Sandbox) -> None:
    """Executors that receive nothing meanwhile leave, others join, and nothing is lost."""
    switch = sandbox.aside / "hangs"
    start_bad_server(sandbox, WHERE=sandbox.workspace, HANG=1, SINCE=switch)
    figures = build_while_a_disk_hangs(sandbox, switch, lambda first: first.isdisjoint(executors(sandbox)))
    assert figures["remote"], figures


def test_disks_that_hang_at_the_executors(sandbox: Sandbox) -> None:
    """The server gives up on them, and the build goes on without them."""
    switch = sandbox.aside / "hangs"
    make_executors_bad(sandbox, WHERE=sandbox.scratch, HANG=1, SINCE=switch)
    figures = build_while_a_disk_hangs(sandbox, switch, lambda first: first.isdisjoint(connected(sandbox)))
    assert figures["retried"], figures
    check_scratch_is_cleared(sandbox, switch)


def test_the_quota_is_exceeded_at_write_back(sandbox: Sandbox) -> None:
    """The server can't write, so the commands run on the submit host, where they can."""
    start_bad_server(sandbox, WHERE=sandbox.workspace, WRITE=errno.EDQUOT)
    built = sandbox.build("make", "-j4", executors=4).ok()
    check(sandbox, built)
    assert (built.figures["remote"], built.figures["local"]) == (0, UNITS + 2)


def test_the_quota_is_exceeded_in_the_middle(sandbox: Sandbox) -> None:
    """A large output, whose first part is on the disk: its command runs on the submit host, and no partial file is left."""
    switch = sandbox.aside / "full"
    sandbox.write({"Makefile": "big:\n\t@spraycc-run --remote sh -c 'head -c 8000000 /dev/zero | tr \\\\0 x >big'\n"})
    start_bad_server(sandbox, WHERE=sandbox.workspace, WRITE=errno.EDQUOT, SINCE=switch)
    switch.touch()
    built = sandbox.build("make", executors=1).ok()
    assert (built.figures["remote"], built.figures["local"]) == (0, 1), built.words()
    assert (sandbox.workspace / "big").read_bytes() == b"x" * 8000000


def test_the_quota_is_found_exceeded_at_the_close(sandbox: Sandbox) -> None:
    """As on NFS, where write(2) only fills a cache. The file that the command changes keeps its old contents."""
    sandbox.write({"Makefile": "all:\n\t@spraycc-run --remote sed -i s/old/new/ f\n", "f": "old\n"})
    start_bad_server(sandbox, WHERE=sandbox.workspace, CLOSE=errno.EDQUOT)
    built = sandbox.build("make", executors=1).ok()
    assert (built.figures["remote"], built.figures["local"]) == (0, 1), built.words()
    assert (sandbox.workspace / "f").read_text() == "new\n"
    assert not list(sandbox.workspace.glob(".spraycc-*.tmp"))


def test_the_servers_host_has_a_full_table_of_open_files(sandbox: Sandbox) -> None:
    switch = sandbox.aside / "full"
    start_bad_server(sandbox, OPEN=errno.ENFILE, EVERY=2, SINCE=switch)
    switch.touch()
    sandbox.short_of_memory = True  # executors' interpreters also find the table full
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    switch.unlink()


def test_the_executors_hosts_have_a_full_table_of_open_files(sandbox: Sandbox) -> None:
    switch = sandbox.aside / "full"
    switch.touch()
    sandbox.short_of_memory = True  # so interpreters may already fail during their start
    make_executors_bad(sandbox, OPEN=errno.ENFILE, EVERY=2, SINCE=switch)
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    check_scratch_is_cleared(sandbox, switch)
