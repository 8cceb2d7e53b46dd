"""The server stops sending a build's tasks to executors that can't do them."""

from __future__ import annotations

import pytest

from tests.system.harness.projects import FakeCompiler, c_project, output_of
from tests.system.harness.sandbox import Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

UNITS, LIMIT, EXECUTORS = 40, 5, 3


@pytest.mark.overlay
def test_a_build_that_executors_can_not_do_ends_here_and_says_so_once(sandbox: Sandbox) -> None:
    # Only a command on the submit host can write to this directory.
    here = sandbox.aside / "here"
    FakeCompiler(sandbox, f"( : >>'{here}' ) 2>/dev/null || {{ echo 'cc1: No space left on device' >&2; exit 1; }}")
    sandbox.write(c_project(UNITS))
    built = sandbox.build("make", "-j8", options=["--fall-back-limit", str(LIMIT)], executors=EXECUTORS).ok()
    assert built.figures["remote"] == 0
    assert built.figures["local"] == UNITS + 2  # main.c, and the link
    # Tasks that were already sent when the limit was reached are tried as well, and no others.
    assert LIMIT < built.figures["retried"] <= LIMIT + EXECUTORS
    told = [line for line in built.own_lines() if "could not be done by executors" in line]
    assert len(told) == 1, built.words()
    assert "No space left on device" in told[0]
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)

    # The next build starts with a new count.
    sandbox.path_front = []
    sandbox.run("make", "clean").ok()
    assert sandbox.build("make", "-j8", executors=EXECUTORS).ok().figures["remote"] == UNITS + 1
