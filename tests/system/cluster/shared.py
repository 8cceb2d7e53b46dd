"""Shared code of the tests with cluster managers."""

from __future__ import annotations

from collections.abc import Callable

from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

UNITS = 8


def assert_built(sandbox: Sandbox) -> None:
    assert len(objects(sandbox.workspace)) == UNITS + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def server_log(sandbox: Sandbox) -> str:
    return "".join(path.read_text() for path in (sandbox.home / ".local/state").rglob("server.log"))


def forget_killed_server(sandbox: Sandbox) -> None:
    """Removes the session file that a killed server leaves, so that it does not count as a leftover."""
    for path in (sandbox.home / ".local/state").rglob("session-*.json"):
        path.unlink()


def wait_for_others(sandbox: Sandbox, first: set[str], count: int) -> None:
    """Waits until ``count`` executors are busy, at least one of which is not among the first."""

    def there() -> bool:
        busy = {executor["id"] for executor in sandbox.busy_executors()}
        return len(busy) >= count and bool(busy - first)

    sandbox.wait_for(f"{count} executors are busy, others than at first", there)


def check_cancelled_in_mid_task(sandbox: Sandbox, cancel: Callable[[str], object]) -> None:
    """The batch job of one of two executors is cancelled: its task runs on another, once, and a replacement joins."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(2)
        cancel(busy[0]["batch_job"])
        wait_for_others(sandbox, {executor["id"] for executor in busy}, 2)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    figures = sandbox.figures(summary)
    assert figures["retried"] == 1
    assert figures["local"] == 1  # the link
