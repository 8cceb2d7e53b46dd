"""Tests that a build has made run on executors, by rules for their paths."""

from __future__ import annotations

import os
import socket

import pytest

from tests.system.harness import needs
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

_TEST = '#include <stdio.h>\nint main(int argc, char **argv) { printf("%s %d\\n", argv[0], argc); return argc == 3; }\n'
_MAKEFILE = """\
all: unit_test tests/a
unit_test tests/a: test.c
	gcc -o $@ $<
tests/a: | tests
tests:
	mkdir $@
check: all
	./unit_test x
	cd tests && ./a
	$(CURDIR)/tests/a y
	tests/a 1 2 3
	./other z
"""
_CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(p C)
enable_testing()
foreach(i RANGE 1 4)
  add_executable(t${i} test.c)
  add_test(NAME t${i} COMMAND t${i} ${i})
endforeach()
"""


def policy(*patterns: str) -> str:
    return f"[policy]\nremote = {list(patterns)}\n"


def attempts(sandbox: Sandbox) -> int:
    """Commands that executors ran, by their own count."""
    sandbox.stop()
    return sum(int(counters["done"]) for counters in sandbox.executor_counters())


def test_make_check(sandbox: Sandbox) -> None:
    other = {"other": "#!/bin/sh\necho $0 $*\n"}
    rules = policy("./unit_test", "./other", "tests/*")
    tree = sandbox.write({"test.c": _TEST, "Makefile": _MAKEFILE, ".spraycc.toml": rules})
    sandbox.write(other, tree, mode=0o755)
    plain = sandbox.run("make", "-s", "check").ok()
    built = sandbox.build("make", "-s", "check").ok()
    assert built.out == plain.out
    assert built.figures["remote"] == 5, built.words()
    assert attempts(sandbox) == 5


#: A command's standard input, and where the command runs by a rule.
_INPUTS = {
    "./gen < in": "here",
    "./gen < empty": "remote",
    "./gen < /dev/null": "remote",
    "{ cat > /dev/null; ./gen; } < in": "remote",
    "{ read line; ./gen; } < in": "here",
    "./gen < /proc/self/comm": "here",
    "./gen": "remote",
    "cat in | ./gen": "here",
    "{ sleep 0.3; cat in; } | ./gen": "here",
    "cat in | { read line; ./gen; }": "here",
    "cat in | { cat > /dev/null; ./gen; }": "remote",
}


def test_a_command_of_a_rule_reads_its_input(sandbox: Sandbox) -> None:
    rules = "".join(f"o{i}:\n\t{line} > $@\n" for i, line in enumerate(_INPUTS))
    names = [f"o{i}" for i in range(len(_INPUTS))]
    makefile = f"all: {' '.join(names)}\n{rules}explicit:\n\tspraycc-run --remote ./gen < in > $@\n"
    tree = sandbox.write({"Makefile": makefile, "in": "1\n2\n", "empty": "", ".spraycc.toml": policy("./gen")})
    sandbox.write({"gen": "#!/bin/sh\nexec cat\n"}, tree, mode=0o755)

    def contents() -> list[str]:
        return [(tree / name).read_text() for name in names]

    sandbox.run("make", "-s").ok()
    plain = contents()
    for name in names:
        (tree / name).unlink()
    built = sandbox.build("make", "-s").ok()
    assert contents() == plain
    assert built.figures["remote"] == list(_INPUTS.values()).count("remote"), built.words()
    # A prefix is for one call, so the user's word counts.
    sandbox.build("make", "-s", "explicit").ok()
    assert (tree / "explicit").read_text() == ""


def test_a_command_of_a_rule_with_an_inherited_descriptor(sandbox: Sandbox) -> None:
    """automake gives its tests a descriptor of its own: ``AM_TESTS_FD_REDIRECT = 9>&2``."""
    makefile = "all:\n\t./test > out 2> err 9>&2\n"
    tree = sandbox.write({"Makefile": makefile, ".spraycc.toml": policy("./test")})
    sandbox.write({"test": "#!/bin/sh\necho told >&9\necho printed\necho made > made\n"}, tree, mode=0o755)
    built = sandbox.build("make", "-s").ok()
    found = {name: (tree / name).read_text() for name in ("err", "out", "made")}
    assert found == {"err": "told\n", "out": "printed\n", "made": "made\n"}
    assert built.figures["remote"] == 0, built.words()


def test_the_input_of_the_whole_build_keeps_no_command_here(sandbox: Sandbox) -> None:
    """CI and ssh give a build a pipe or a socket that nothing is ever written to; make passes it on to one job at a time."""
    lines = "".join(f"o{i}:\n\t./gen > $@\n" for i in range(4))
    tree = sandbox.write({"Makefile": f"all: o0 o1 o2 o3\n{lines}", ".spraycc.toml": policy("./gen")})
    sandbox.write({"gen": "#!/bin/sh\necho made\n"}, tree, mode=0o755)
    words, summary = sandbox.build_command(["make", "-s"])
    for type_of_input, pair in (("pipe", os.pipe()), ("socket", [end.detach() for end in socket.socketpair()])):
        try:
            with sandbox.start(words, stdin=pair[0]) as build:
                assert build.wait(HANG_S) == 0
        finally:
            for fd in pair:
                os.close(fd)
        assert sandbox.figures(summary)["remote"] == 4, type_of_input
        sandbox.run("rm", "o0", "o1", "o2", "o3").ok()


def test_ctest(sandbox: Sandbox) -> None:
    needs.program("cmake")
    tree = sandbox.write({"test.c": _TEST, "CMakeLists.txt": _CMAKE, ".spraycc.toml": policy("build/t?")})
    sandbox.run("cmake", "-B", "build").ok()
    sandbox.run("make", "-C", "build").ok()
    built = sandbox.build("build", "--", "ctest", "-j4", cwd=tree / "build").ok()
    assert b"100% tests passed, 0 tests failed out of 4" in built.out
    assert built.figures["remote"] == 4, built.words()
    assert attempts(sandbox) == 4


def test_a_rule_for_every_program_wraps_none(sandbox: Sandbox) -> None:
    tree = sandbox.write({"test.c": _TEST, "Makefile": _MAKEFILE, ".spraycc.toml": policy("*", "*/*")})
    sandbox.write({"other": "#!/bin/sh\n"}, tree, mode=0o755)
    built = sandbox.build("make", "check").ok()
    # The policy's rule is for the links only, which are wrapped anyway.
    assert built.figures["tasks"] == built.figures["remote"] == 2, built.words()


def test_a_compiler_that_the_user_names(sandbox: Sandbox) -> None:
    makefile = "all:\n\ttools/gcc-site -c u.c\n\ttools/odd -c u.c -o v.o\n\ttools/gcc-site -o prog u.o\n"
    tools = '[tools]\nlike_gcc = ["gcc-site"]\noverlay-only = ["od?"]\n'
    tree = sandbox.write({"u.c": "int main(void) { return 0; }\n", "Makefile": makefile, ".spraycc.toml": tools})
    script = '#!/bin/sh\nexec /usr/bin/gcc "$@"\n'
    sandbox.write({"gcc-site": script, "odd": f"{script[:10]}touch beside\n{script[10:]}"}, tree / "tools", mode=0o755)
    built = sandbox.build("make").ok()
    assert built.figures["remote"] == 2, built.words()
    assert (tree / "u.o").read_bytes() == (tree / "v.o").read_bytes()
    assert (tree / "beside").exists()
    # Without an overlay, only the line with GCC's grammar can be predicted.
    sandbox.stop()
    built = sandbox.build("make", options=["--capture", "predict"]).ok()
    assert built.figures["remote"] == 1, built.words()
