"""Runner, server and executor of different versions, as after an upgrade while a server runs: an error, never a hang."""

from __future__ import annotations

import re

import pytest

import spraycc
from spraycc.wire.executor import EXECUTOR_PROTOCOL
from tests.system.harness.installed import Installed
from tests.system.harness.projects import GatedCompiler, c_project, output_of
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e]

UNITS = 4
OLD = "0.0.9"


def other_version(sandbox: Sandbox, **numbers: int) -> Installed:
    """An installation of SprayCC with another release and other protocol numbers."""
    other = Installed(sandbox, name="other-" + "-".join(numbers))
    edits = {"__init__.py": [(r"__version__ = .*", f'__version__ = "{OLD}"')]}
    for name, number in numbers.items():
        edits[f"wire/{name.split('_')[0].lower()}.py"] = [(rf"\n{name} = \d+", f"\n{name} = {number}")]
    for file, changes in edits.items():
        path = other.package / file
        text = path.read_text()
        for pattern, replacement in changes:
            text, count = re.subn(pattern, replacement, text)
            assert count == 1
        path.write_text(text)
    sandbox.give(other.root)
    return other


def assert_built(sandbox: Sandbox) -> None:
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


@pytest.mark.parametrize("numbers", [{}, {"RUNNER_PROTOCOL": 99}], ids=["release", "protocol"])
def test_an_idle_server_of_another_version_is_replaced(sandbox: Sandbox, numbers: dict[str, int]) -> None:
    older = other_version(sandbox, **numbers)
    sandbox.write(c_project(UNITS))
    sandbox.run(older.spraycc, "server", "start").ok()
    before = sandbox.status()["server"]  # its form is the same in every version
    assert before["release"] == OLD
    built = sandbox.build("make", "-j4").ok()
    assert built.figures.get("remote") == UNITS + 1, built.words()
    after = sandbox.status()["server"]
    assert after["release"] == spraycc.__version__
    assert after["pid"] != before["pid"]
    assert_built(sandbox)


@pytest.mark.parametrize("numbers", [{}, {"RUNNER_PROTOCOL": 99}], ids=["release", "protocol"])
def test_a_busy_server_of_another_version_is_left_alone(sandbox: Sandbox, numbers: dict[str, int]) -> None:
    """Two builds at once, one of each version, both succeed. The runners have the newer version."""
    older = other_version(sandbox, **numbers)
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    sandbox.write({"Makefile": "all:\n\techo built >other\n"}, sandbox.workspace / "other")
    command, _ = sandbox.build_command(["make", "-j4"])
    command[0] = older.spraycc
    errors = sandbox.aside / "stderr"
    with errors.open("wb") as stderr, sandbox.start(command, stderr=stderr) as process:
        sandbox.wait_for("a compile waits", lambda: compiler.notes() if numbers else sandbox.busy_executors())
        pid = sandbox.status()["server"]["pid"]
        other = sandbox.build("make", "-C", "other").ok()
        assert sandbox.status()["server"]["pid"] == pid
        compiler.open()
        assert process.wait(HANG_S) == 0
    told = errors.read_text()
    if numbers:
        assert "protocol 99" in told, told
        assert f"{OLD} (protocol 99)" in other.err.decode()
    else:
        assert "protocol" not in told, told
        assert other.own_lines()[-1].startswith("spraycc: no tasks"), other.words()
    assert (sandbox.workspace / "other/other").read_text() == "built\n"
    assert_built(sandbox)


def test_executors_of_another_version_are_not_used_and_say_so(sandbox: Sandbox) -> None:
    """A host of the cluster has another installation."""
    other = other_version(sandbox, EXECUTOR_PROTOCOL=99)
    # In the place of PYTHON -E -P ISOLATED.PY -m spraycc.executor.
    prefix = sandbox.aside / "prefix"
    prefix.write_text(f'#!/bin/sh\npython=$1\nshift 4\nexec "$python" -E -P {other.package}/isolated.py "$@"\n')
    prefix.chmod(0o755)
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = str(prefix)
    sandbox.write(c_project(UNITS))
    built = sandbox.build("make", "-j4").ok()
    assert built.figures["remote"] == 0
    assert any("could not be started" in line for line in built.own_lines()), built.words()
    assert_built(sandbox)
    logs = "".join(path.read_text() for path in sandbox.home.rglob("executor*.log"))
    assert f"peer speaks executor protocol {EXECUTOR_PROTOCOL}, this is 99" in logs
    assert "Traceback" not in logs
