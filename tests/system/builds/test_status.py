"""``spraycc status`` of a real build: files by name on executors and on the submit host, in the documented schema."""

from __future__ import annotations

import pytest

from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S
from tests.tools import status_schema

pytestmark = [pytest.mark.e2e, pytest.mark.needs("gcc", "make")]


def test_status_names_the_files_of_a_build(sandbox: Sandbox) -> None:
    sandbox.write(c_project(4))
    compiler = GatedCompiler(sandbox)
    command, _ = sandbox.build_command(["make", "-j4"], executors=2)
    with sandbox.start(command) as process:
        compiler.wait_for_width(2)
        busy = sandbox.wait_for_busy_executors(2)
        status = sandbox.status()
        assert status_schema.problems(status, status_schema.schema()) == []
        targets = {executor["running"]["target"] for executor in busy}
        assert len(targets) == 2
        assert all(target.endswith(".o") and not target.startswith("/") for target in targets)
        assert {executor["running"]["kind"] for executor in busy} == {"compile"}
        (build,) = status["builds"]
        assert build["tasks"] == build["done"] + build["running"] + build["running_here"] + build["waiting"]
        shown = sandbox.run(sandbox.bin / "spraycc", "status", "--sort", "task").out.decode()
        rows = [line for line in shown.splitlines() if " compile " in line]
        assert {row.split()[4] for row in rows} == targets
        compiler.open()
        assert process.wait(HANG_S) == 0
    done = sandbox.status()
    assert status_schema.problems(done, status_schema.schema()) == []
    assert done["builds"] == []
