"""Hosts short of descriptors, and many words and runners. Larger tests, and memory, are in tests/stress/test_limits.py."""

from __future__ import annotations

import pytest

from tests.system.faults.limits import HEARTBEATS, build_with_diagnostics, build_with_runners
from tests.system.harness.projects import c_project, objects, output_of
from tests.system.harness.sandbox import Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]


def test_thousands_of_lines_of_diagnostics(sandbox: Sandbox) -> None:
    build_with_diagnostics(sandbox, 20_000)


def test_two_hundred_runners_at_once(sandbox: Sandbox) -> None:
    build_with_runners(sandbox, 200)


def short_of_descriptors(count: int) -> str:
    """A shell line that lowers the limit of open files for its program, permanently."""
    return f'ulimit -n {count} && exec "$@"'


@pytest.mark.parametrize("count", [24, 40, 64])
def test_a_server_with_few_descriptors(sandbox: Sandbox, count: int) -> None:
    """The server accepts when descriptors are free again. Executors and runners without one try again. Completions that are
    held (``-j24``, one local slot) must not keep the descriptors of the runners whose arrival would end the holding."""
    units = 30
    sandbox.write(c_project(units))
    sandbox.settings.update(HEARTBEATS)
    sandbox.settings["SPRAYCC_RELEASE_DELAY_S"] = "600"  # executors that leave would free descriptors, too
    server_start = ("sh", sandbox.bin / "spraycc", "server", "start")
    sandbox.run("sh", "-c", short_of_descriptors(count), *server_start).ok()
    built = sandbox.build("make", "-j24", executors=8, timeout_s=240).ok()
    print(built.figures, built.own_lines())
    # The server gives a stalled build one recipe more. That would hide completions that are held for ever.
    logs = "".join(log.read_text(errors="replace") for log in sandbox.home.rglob("server.log"))
    assert logs
    assert "nothing moves" not in logs, logs
    assert any("open files" in line for line in built.own_lines()), built.words()
    assert len(objects(sandbox.workspace)) == units + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(units)


@pytest.mark.parametrize("count", [8, 14, 18, 24])
def test_executors_with_few_descriptors(sandbox: Sandbox, count: int) -> None:
    units = 12
    sandbox.write(c_project(units))
    sandbox.settings.update(HEARTBEATS)
    wrapper = f"#!/bin/sh\n{short_of_descriptors(count)}\n"
    sandbox.write({"few": wrapper}, sandbox.aside / "prefix", mode=0o755)
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = str(sandbox.aside / "prefix/few")
    sandbox.short_of_memory = True
    built = sandbox.build("make", "-j8", executors=4, timeout_s=240).ok()
    print(built.figures, built.own_lines())
    assert len(objects(sandbox.workspace)) == units + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(units)
