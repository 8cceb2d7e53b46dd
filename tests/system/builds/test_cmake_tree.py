"""A tree that was configured by CMake without SprayCC: it names its compiler by path."""

from __future__ import annotations

import shlex

import pytest

from tests.system.harness.sandbox import Sandbox

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.needs("cmake"),
]

CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.10)
project(p C)
add_executable(p a.c b.c)
add_custom_target(nap ALL COMMAND sleep 1.1)
"""


def test_the_advice_helps(sandbox: Sandbox) -> None:
    """No compile goes through SprayCC. The user follows the printed advice, and then all compiles do."""
    sandbox.write({"CMakeLists.txt": CMAKE_LISTS, "a.c": "int f(void);\nint main(void) { return f(); }\n"})
    sandbox.write({"b.c": "int f(void) { return 0; }\n"})
    sandbox.run("cmake", "-S", ".", "-B", "b").ok()
    built = sandbox.build("make", "-C", "b", options=["--wait-for-cluster"]).ok()
    assert built.figures["tasks"] == 0
    (said,) = (line for line in built.own_lines() if "to use SprayCC, run: " in line)
    sandbox.run(*shlex.split(said.partition("to use SprayCC, run: ")[2])).ok()
    sandbox.run("make", "-C", "b", "clean").ok()
    built = sandbox.build("make", "-C", "b", options=["--wait-for-cluster"]).ok()
    assert built.figures["remote"] == 2
    assert not [line for line in built.own_lines() if "to use SprayCC, run" in line]
    # Without SprayCC the tree still works.
    sandbox.run("make", "-C", "b", "clean", "all").ok()
    sandbox.run("b/p").ok()
