"""Hosts whose disk takes a real time for each access, and full tables of open files of all kinds."""

from __future__ import annotations

import errno

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
from tests.system.harness.projects import objects
from tests.system.harness.sandbox import Finished, Sandbox

__all__ = ["library", "sandbox"]

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_slow_disk_at_the_server(sandbox: Sandbox) -> None:
    """The server examines files and writes results in parallel, and gives up on no executor meanwhile."""
    start_bad_server(sandbox, WHERE=sandbox.workspace, DELAY_MS=600)
    built = sandbox.build("make", "-j8", executors=8).ok()
    check(sandbox, built)
    assert (built.figures["remote"], built.figures["retried"]) == (UNITS + 1, 0)


def test_a_disk_that_hangs_at_the_server(sandbox: Sandbox) -> None:
    """The disk hangs for longer than executors bear silence: executors that leave are replaced, and nothing is lost."""
    switch = sandbox.aside / "slow"
    switch.touch()
    start_bad_server(sandbox, WHERE=sandbox.workspace, DELAY_MS=4000, SINCE=switch)
    command, summary = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for(
            "an object is written",
            lambda: any(line for line in objects(sandbox.workspace)) or process.poll() is not None,
            timeout_s=60,
        )
        switch.unlink()
        assert process.wait(100) == 0
    check(sandbox, Finished((), 0, b"", b"", sandbox.figures(summary)))


@pytest.mark.parametrize("delay_ms", [100, 1500])
def test_a_slow_disk_at_the_executors(sandbox: Sandbox, delay_ms: int) -> None:
    """The executors' disks are slow, or so slow that the executors seem dead. Then the build goes on without them."""
    switch = sandbox.aside / "slow"
    switch.touch()
    if delay_ms < 1000:  # a task's twenty accesses in a row are silence too
        sandbox.settings["SPRAYCC_LOST_AFTER_S"] = "6"
    make_executors_bad(sandbox, WHERE=sandbox.scratch, DELAY_MS=delay_ms, SINCE=switch)
    built = sandbox.build("make", "-j8", executors=4, timeout_s=200).ok()
    check(sandbox, built)
    if delay_ms < 1000:
        assert (built.figures["remote"], built.figures["retried"]) == (UNITS + 1, 0)
    check_scratch_is_cleared(sandbox, switch)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_the_servers_host_has_a_full_table_of_open_files(sandbox: Sandbox, every: int) -> None:
    switch = sandbox.aside / "full"
    start_bad_server(sandbox, OPEN=errno.ENFILE, EVERY=every, SINCE=switch)
    switch.touch()
    sandbox.short_of_memory = True  # executors' interpreters also find the table full
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    switch.unlink()


@pytest.mark.parametrize("every", [2, 3, 7])
def test_the_executors_hosts_have_a_full_table_of_open_files(sandbox: Sandbox, every: int) -> None:
    switch = sandbox.aside / "full"
    switch.touch()
    sandbox.short_of_memory = True  # so interpreters may already fail during their start
    make_executors_bad(sandbox, OPEN=errno.ENFILE, EVERY=every, SINCE=switch)
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    check_scratch_is_cleared(sandbox, switch)
