"""What went wrong in builds whose compilers were links on PATH, and must not go wrong again."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from tests.system.harness import ways
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
file(WRITE ${CMAKE_BINARY_DIR}/environment "$ENV{PATH} $ENV{CC}")
add_executable(prog main.c)
"""

#: Each configures a project in ``build``.
CONFIGURED = {
    "cmake": (
        {"CMakeLists.txt": CONFIGURED_FILE, "compiler.h.in": "${CMAKE_C_COMPILER} ${CMAKE_AR}\n", "main.c": ""},
        "cmake -S . -B build",
    ),
    "cmake with ninja": (ways.PROJECT, "cmake -GNinja -S . -B build"),
    "meson": (ways.MESON, "meson setup build"),
    "autotools": (ways.AUTOTOOLS, "mkdir build && cd build && ../configure"),
}
