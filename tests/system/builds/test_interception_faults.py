"""Faults of builds whose compilers were links on PATH: none of them comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import needs, ways
from tests.system.harness.projects import c_project, objects
from tests.system.harness.sandbox import Finished, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.overlay]

#: Where a compiler is intercepted: at its execution (the default), or by its name on PATH.
BOTH = pytest.mark.parametrize("where", ["exec", "path"])
WAIT = "--wait-for-cluster"


def spraycc_make(sandbox: Sandbox, *words: str, where: str = "exec", env: dict[str, str] | None = None) -> Finished:
    options = ["--intercept", where, WAIT, "--no-summary-line"]
    return sandbox.build("make", *words, options=options, env=env).ok()


@BOTH
def test_a_compiler_that_is_gone(sandbox: Sandbox, where: str) -> None:
    """A search for the newest compiler finds no name that only an earlier build's PATH had."""
    search = "for c in gcc-99 gcc; do command -v $$c >/dev/null && { echo $$c; break; }; done"
    sandbox.write({"Makefile": f"CC := $(shell {search})\nu.o: u.c\n\t$(CC) -c -o $@ $<\n", "u.c": "int u;\n"})
    newest = sandbox.aside / "newest"
    sandbox.write({"gcc-99": '#!/bin/sh\nexec /usr/bin/gcc "$@"\n'}, newest, mode=0o755)
    for directories, compiler in (([newest], b"gcc-99"), ([], b"gcc")):
        sandbox.path_front = directories
        built = spraycc_make(sandbox, "-B", where=where)
        assert built.out == compiler + b" -c -o u.o u.c\n"
        assert built.err == b""
        assert built.figures["remote"] == 1


@pytest.mark.needs("ccache")
@pytest.mark.needs("gcc-11")
@pytest.mark.needs("gcc-12")
@BOTH
def test_a_cache_tells_compilers_apart(sandbox: Sandbox, where: str) -> None:
    """Two directories with a gcc, one after the other the first on PATH."""
    sandbox.write({"Makefile": "u.o: u.c\n\tccache gcc -c -o $@ $<\n", "u.c": "int u;\n"})
    for version in ("11", "12"):
        directory = sandbox.aside / version
        directory.mkdir()
        (directory / "gcc").symlink_to(f"/usr/bin/gcc-{version}")
    made: dict[str, list[bytes]] = {}
    for cache in ("plain", "intercepted"):
        made[cache] = []
        for version in ("11", "12", "11", "12"):
            sandbox.path_front = [sandbox.aside / version]
            env = {"CCACHE_DIR": str(sandbox.temp / cache)}
            if cache == "plain":
                sandbox.run("make", "-B", env=env).ok()
            else:
                spraycc_make(sandbox, "-B", where=where, env=env)
            made[cache].append((sandbox.workspace / "u.o").read_bytes())
    assert made["intercepted"] == made["plain"]
    assert made["plain"][0] != made["plain"][1]


#: Like sccache: a client starts a daemon, which finds the compiler on the client's PATH and runs it by its path, with the
#: environment that the daemon was started with.
DAEMON_CLIENT = """\
#!/usr/bin/python3
import json, os, shutil, socket, subprocess, sys

PLACE = os.environ["DAEMON"]

def serve():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(PLACE)
    listener.listen()
    if os.fork():
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    while True:
        peer = listener.accept()[0]
        text = peer.makefile("rb").readline()
        if text == b"stop\\n":
            os._exit(0)
        words, directory = json.loads(text)
        done = subprocess.run(words, cwd=directory, stdin=null, capture_output=True)
        peer.sendall(json.dumps([done.returncode, done.stdout.decode(), done.stderr.decode()]).encode())
        peer.close()

def ask(text):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(PLACE)
    peer.sendall(text + b"\\n")
    return peer.makefile("rb").read()

if sys.argv[1:] == ["stop"]:
    ask(b"stop")
    sys.exit()
if not os.path.exists(PLACE):
    serve()
words = [shutil.which(sys.argv[1]), *sys.argv[2:]]
status, out, err = json.loads(ask(json.dumps([words, os.getcwd()]).encode()))
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


@BOTH
def test_a_daemon_that_outlives_the_build(sandbox: Sandbox, where: str) -> None:
    """Compiles that it starts when its build is over, or when the server is gone, run as without SprayCC."""
    client = sandbox.write({"client": DAEMON_CLIENT}, sandbox.aside / "daemon", mode=0o755) / "client"
    env = {"DAEMON": str(sandbox.temp / "socket")}
    makefile = f"u.o: u.c\n\t@{client} gcc -Wall -c -o $@ $<\n"
    tree = sandbox.write({"Makefile": makefile, "u.c": "static int u;\n"})
    plain = sandbox.run("make", env={"DAEMON": str(sandbox.temp / "plain")}).ok()
    data = (tree / "u.o").read_bytes()
    assert b"unused" in plain.err
    sandbox.run(client, "stop", env={"DAEMON": str(sandbox.temp / "plain")}).ok()
    try:
        built = spraycc_make(sandbox, "-B", where=where, env=env)
        assert built.figures["remote"] == 1
        later = [sandbox.run("make", "-B", env=env)]
        later += [spraycc_make(sandbox, "-B", where=where, env=env)]
        sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--now").ok()
        later += [sandbox.run("make", "-B", env=env)]
    finally:
        sandbox.run(client, "stop", env=env)
    for done in (built, *later):
        assert (done.status, done.out, done.err) == (0, plain.out, plain.err)
    assert (tree / "u.o").read_bytes() == data


@BOTH
def test_a_makefile_follows_the_compilers_links(sandbox: Sandbox, where: str) -> None:
    sandbox.write(
        {
            "Makefile": "CC := $(shell readlink -f $$(command -v gcc))\nu.o: u.c\n\t@$(CC) -c -o $@ $<\n",
            "u.c": "int u;\n",
        }
    )
    built = spraycc_make(sandbox, where=where)
    assert built.figures["remote"] == 1
    assert built.err == b""
    assert objects(sandbox.workspace) == {"u.o"}


def test_a_makefile_looks_beside_the_compiler(sandbox: Sandbox) -> None:
    makefile = """\
BIN := $(dir $(shell command -v gcc))
u.o: u.c
	@gcc -c -o $@ $<
	@$(BIN)nm $@
	@ls -d $$(dirname $$(which gcc))/../lib/gcc
	@echo $(BIN)
"""
    sandbox.write({"Makefile": makefile, "u.c": "int u;\n"})
    plain = sandbox.run("make", "-B").ok()
    built = spraycc_make(sandbox, "-B")
    assert (built.out, built.err) == (plain.out, plain.err)
    assert built.figures["remote"] == 1


CONFIGURED_FILE = """\
cmake_minimum_required(VERSION 3.13)
project(p C)
configure_file(compiler.h.in compiler.h)
add_executable(prog main.c)
"""

#: Each configures a project in ``build``: its files, what comes first, the line, and programs.
CONFIGURED: dict[str, tuple[Mapping[str, str], str, str, dict[str, str]]] = {
    "configure_file": (
        {"CMakeLists.txt": CONFIGURED_FILE, "compiler.h.in": "${CMAKE_C_COMPILER} ${CMAKE_AR}\n", "main.c": ""},
        "",
        "cmake -S . -B build",
        {"cmake": "cmake"},
    ),
    "cmake": (ways.PROJECT, "", "cmake -GNinja -S . -B build", {"cmake": "cmake", "ninja": "ninja-build"}),
    "meson": (ways.MESON, "", "meson setup build", {"meson": "meson"}),
    "autotools": (
        ways.AUTOTOOLS,
        "autoreconf -i",
        "mkdir build && cd build && ../configure",
        {"autoreconf": "autoconf", "automake": "automake", "libtoolize": "libtool"},
    ),
}
#: Logs name temporary files, times and process ids. Meson writes sets in any order.
LOGS = ("CMakeOutput.log", "CMakeError.log", "config.log", "meson-log.txt")
CHANGING = (*LOGS, "build.dat", "coredata.dat")


def tree_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shell", ["build", "prepared shell"])
@pytest.mark.parametrize("name", CONFIGURED)
def test_a_configured_tree_is_that_of_a_plain_build(sandbox: Sandbox, name: str, shell: str) -> None:
    """No file names a path or a variable of SprayCC, and another user can take the tree."""
    files, before, line, packages = CONFIGURED[name]
    needs.programs(packages)
    tree = sandbox.write(files)
    sandbox.run("sh", "-ec", before).ok()
    sandbox.run("sh", "-ec", line).ok()
    plain = tree_of(tree / "build")
    shutil.rmtree(tree / "build")
    if shell == "build":
        sandbox.build("build", "--", "sh", "-ec", line, options=[WAIT]).ok()
    else:
        sandbox.run("sh", "-ec", f'eval "$(spraycc env)"\n{line}').ok()
    made = tree_of(tree / "build")
    if shell == "prepared shell":
        # Logs have PATH.
        made = {file: data for file, data in made.items() if Path(file).name not in LOGS}
        plain = {file: data for file, data in plain.items() if Path(file).name not in LOGS}
    ours = [b"SPRAYCC_", b"libspraycc", b"spraycc-run", bytes(sandbox.runtime), bytes(sandbox.home)]
    assert [(file, word) for file, data in made.items() for word in ours if word in data] == []
    assert made.keys() == plain.keys()
    assert [file for file in plain if made[file] != plain[file] and Path(file).name not in CHANGING] == []


@pytest.mark.needs("bear")
@pytest.mark.parametrize("around", [True, False], ids=["bear around the build", "bear in the build"])
def test_bear_notes_the_plain_commands(sandbox: Sandbox, around: bool) -> None:
    """Bear's wrapper executes compilers past all preloaded libraries, so no compile goes to an executor."""
    sandbox.write(ways.PROJECT)
    make = ["make", "-B", "CC=gcc"]
    database = sandbox.workspace / "compile_commands.json"
    sandbox.run("bear", "--", *make).ok()
    plain = sorted(json.loads(database.read_bytes()), key=str)
    assert len(plain) == ways.UNITS + 1
    database.unlink()
    if around:
        command, _ = sandbox.build_command(make, options=[WAIT])
        sandbox.run("bear", "--", *command).ok()
    else:
        sandbox.build("build", "--", "bear", "--", *make, options=[WAIT]).ok()
    assert sorted(json.loads(database.read_bytes()), key=str) == plain


def built(sandbox: Sandbox, workspace: Path, *words: str, where: str) -> dict[str, Any]:
    options = ["--intercept", where, WAIT]
    return sandbox.build("make", *words, options=options, cwd=workspace).ok().figures


@BOTH
def test_a_rule_about_the_assembler_costs_only_its_own_calls(sandbox: Sandbox, where: str) -> None:
    """gcc starts an assembler in each compile. Neither this workspace nor another has a task for it."""
    files = {
        **c_project(2),
        "Makefile": "all: u1.o u2.o main.o\n%.o: %.c\n\tgcc -c -o $@ $<\nx.o: x.s\n\tas -o $@ $<\n",
    }
    sandbox.write({**files, "x.s": "nop\n", ".spraycc.toml": '[policy]\nremote = ["as"]\n'})
    other = sandbox.write({**files, "x.s": "nop\n", ".spraycc.toml": ""}, sandbox.base / "other")
    assert built(sandbox, sandbox.workspace, "x.o", where=where)["remote"] == 1
    figures = built(sandbox, sandbox.workspace, "all", where=where)
    assert (figures["tasks"], figures["remote"]) == (3, 3)
    figures = built(sandbox, other, "all", where=where)
    assert (figures["tasks"], figures["remote"]) == (3, 3)
    assert built(sandbox, other, "x.o", where=where)["remote"] == 0
    sandbox.run(sandbox.bin / "spraycc", "server", "stop", "--now", cwd=other).ok()


@pytest.mark.needs("ccache")
@pytest.mark.needs("cmake")
def test_ccache_as_cmakes_launcher(sandbox: Sandbox) -> None:
    """A cold compile goes to an executor, and a result from the cache costs no task."""
    sandbox.write(ways.PROJECT)
    env = {"CCACHE_DIR": str(sandbox.temp / "ccache")}
    sandbox.run("cmake", "-S", ".", "-B", "build", "-DCMAKE_C_COMPILER_LAUNCHER=ccache").ok()
    # In front of each compile, ccache preprocesses.
    for expected in ({"compile": ways.UNITS + 1, "preprocess to a file": ways.UNITS + 1, "link": 1}, {"link": 1}):
        done = sandbox.build("make", "-C", "build", "-j2", options=[WAIT], env=env).ok()
        assert done.figures["reasons"] == expected, done.words()
        assert done.figures["local"] == 1
        assert len(done.own_lines()) == 1, done.words()
        sandbox.run("make", "-C", "build", "clean").ok()


def test_old_trees_that_name_the_runner(sandbox: Sandbox) -> None:
    """CC with a runner in front, and a link from the time when links on PATH intercepted compilers."""
    sandbox.write(ways.PROJECT)
    sandbox.run(sandbox.bin / "spraycc", "env").ok()  # brings the runner's copy
    shims = sandbox.home / ".local/share/spraycc/shims"
    shims.mkdir()
    (shims / "gcc").symlink_to("../bin/spraycc-run")
    for compiler in ("spraycc-run gcc", f"{sandbox.bin}/spraycc-run /usr/bin/gcc", str(shims / "gcc")):
        done = sandbox.build("make", "-B", "-j2", f"CC={compiler}", options=[WAIT]).ok()
        assert done.figures["remote"] == ways.UNITS + 1, done.words()
        assert len(done.own_lines()) == 1, done.words()
        sandbox.run("make", "-B", f"CC={compiler}").ok()


@pytest.mark.needs("cmake")
@pytest.mark.parametrize("place", ["bin", "data"])
def test_old_trees_with_the_runner_as_cmakes_launcher(sandbox: Sandbox, place: str) -> None:
    sandbox.write(ways.PROJECT)
    sandbox.run(sandbox.bin / "spraycc", "env").ok()
    runner = (sandbox.bin if place == "bin" else sandbox.home / ".local/share/spraycc/bin") / "spraycc-run"
    sandbox.run("cmake", "-S", ".", "-B", "build", f"-DCMAKE_C_COMPILER_LAUNCHER={runner}").ok()
    done = sandbox.build("make", "-C", "build", "-j2", options=[WAIT]).ok()
    assert done.figures["remote"] == ways.UNITS + 1, done.words()
    assert done.figures["tasks"] == ways.UNITS + 2
