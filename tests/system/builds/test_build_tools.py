"""Each build tool uses the same pool of executors, and reaches its whole width."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.harness.projects import GatedCompiler, c_project, output_of
from tests.system.harness.sandbox import Sandbox, program
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.e2e

EXECUTORS = 3
UNITS = 8


@pytest.fixture(params=["make", "make-4.4", "ninja"])
def tool(request: pytest.FixtureRequest) -> tuple[str | Path, ...]:
    """The command line of a build tool."""
    if request.param == "make-4.4":
        return (request.getfixturevalue("make_4_4"), "-j8")
    if request.param == "ninja":
        return (program("ninja"), "-j8")
    return ("make", "-j8")


def test_reaches_the_whole_width(sandbox: Sandbox, tool: tuple[str | Path, ...]) -> None:
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(tool, executors=EXECUTORS)
    with sandbox.start(command) as process:
        compiler.wait_for_width(EXECUTORS)
        compiler.open()
        assert process.wait(HANG_S) == 0
    figures = sandbox.figures(summary)
    assert figures["remote"] == UNITS + 1
    assert figures["running_peak"] == EXECUTORS
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def test_two_builds_share_the_executors(sandbox: Sandbox, tool: tuple[str | Path, ...]) -> None:
    compiler = GatedCompiler(sandbox)
    trees = [sandbox.write(c_project(UNITS), sandbox.workspace / name) for name in ("a", "b")]
    commands = [sandbox.build_command(tool, executors=EXECUTORS) for _ in trees]
    with sandbox.start(commands[0][0], cwd=trees[0]) as first, sandbox.start(commands[1][0], cwd=trees[1]) as second:
        compiler.wait_for_width(EXECUTORS)
        status = sandbox.wait_for(
            "both builds are open", lambda: (s := sandbox.status()) and len(s["builds"]) == 2 and s
        )
        assert len(status["executors"]) == EXECUTORS
        compiler.open()
        assert (first.wait(HANG_S), second.wait(HANG_S)) == (0, 0)
    for tree, (_, summary) in zip(trees, commands, strict=True):
        figures = sandbox.figures(summary)
        assert figures["remote"] == UNITS + 1
        assert figures["executors_peak"] == EXECUTORS
        assert sandbox.run(tree / "prog").out == output_of(UNITS)


def test_rebuild_does_nothing(sandbox: Sandbox, tool: tuple[str | Path, ...]) -> None:
    """Produced files are newer than their sources and no older than their dependencies: the next run has nothing to do."""
    sandbox.write(c_project(UNITS))
    assert sandbox.build(*tool).ok().figures["remote"] == UNITS + 1
    again = sandbox.build(*tool).ok()
    assert again.figures["tasks"] == 0, again.words()
