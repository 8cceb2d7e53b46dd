"""Builds in the ways in which people build: each compile has a runner, and the files are those of a plain build.

The runner is the real one, without a server, behind a program that notes each start.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_build import RUNNER, sources_of
from spraycc.commands.interception import LIBRARY_NAME
from tests.system.exec import intercepting
from tests.system.exec.intercepting import Interception, compiled
from tests.system.harness import needs, ways
from tests.system.harness.native import STRICT
from tests.system.harness.ways import UNITS, Way

library = intercepting.library

pytestmark = [pytest.mark.needs("cc", package="gcc"), pytest.mark.needs("make")]


@pytest.fixture(scope="session")
def real_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / RUNNER
    subprocess.run(["cc", *STRICT, "-static", '-DSPRAYCC_VERSION="0"', *sources_of(RUNNER), "-o", path], check=True)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def interception(tmp_path: Path, library: Path, real_runner: Path, log: Path) -> Interception:
    words = ["-static", f'-DRUNNER="{real_runner}"', f'-DLOG="{log}"']
    return Interception(tmp_path, library, compiled(tmp_path, "noting_runner", *words))


def write_project(work: Path) -> None:
    for name, text in ways.PROJECT.items():
        (work / name).write_text(text)


def compiles(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[0] for line in lines if re.search(r" -c( |$)", line)]


def products(work: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in work.rglob("*")
        if path.suffix == ".o" or path.name == "prog"
    }


#: Each is a shell line in the project's directory. ``RUNNER`` stands for the runner.
MAKE_WAYS = ways.MAKE_WAYS | {
    "CC=gcc": Way("make -j3 CC=gcc"),
    "clang": Way("make -j3 CC=clang", needs={"clang": "clang"}),
    "bash as SHELL": Way("make -j3 SHELL=/bin/bash CC=gcc"),
    "script": Way("./build.sh"),
    "launcher": Way("make -j3 CC='ccache gcc'", needs={"ccache": "ccache"}),
    "ccache's link": Way("PATH=/usr/lib/ccache:$PATH make -j3 CC=gcc", needs={"ccache": "ccache"}),
    "old launcher": Way("make -j3 CC='RUNNER gcc'"),
    "python": Way("python3 build.py"),
    "perl": Way("perl build.pl", needs={"perl": "perl"}),
    "xargs": Way("ls *.c | xargs -n1 -P3 gcc -g -c && gcc -o prog *.o"),
    "find": Way("find . -name '*.c' -exec gcc -g -c {} ';' && gcc -o prog *.o"),
    "nohup and nice": Way("nohup nice env -u LD_PRELOAD make -j3 CC=gcc"),
}


def write_scripts(work: Path) -> None:
    (work / "build.sh").write_text("#!/bin/sh -e\nfor f in *.c; do gcc -g -c $f & done\nwait\ngcc -o prog *.o\n")
    (work / "build.sh").chmod(0o755)
    (work / "build.py").write_text(
        "import glob, os, subprocess\n"
        "a, b, c, *more = sorted(glob.glob('*.c'))\n"
        "subprocess.run(['gcc', '-g', '-c', a], check=True)\n"
        "subprocess.run(['gcc', '-g', '-c', b], check=True, env={'PATH': '/usr/bin'}, close_fds=False)\n"
        "os.system(f'gcc -g -c {c}')\n"
        "for name in more:\n"
        "    subprocess.run(f'/usr/bin/gcc -g -c {name}', shell=True, check=True, env={'PATH': '/usr/bin'}, cwd=os.getcwd())\n"
        "os.waitpid(os.posix_spawnp('gcc', ['gcc', '-o', 'prog', *sorted(glob.glob('*.o'))], os.environ), 0)\n"
    )
    (work / "build.pl").write_text(
        "my @c = sort glob('*.c');\nsystem('gcc', '-g', '-c', shift @c) == 0 or die;\n"
        "%ENV = (PATH => '/usr/bin');\nsystem(\"gcc -g -c $_\") == 0 or die for @c;\n"
        "my $pid = fork; if (!$pid) { exec 'gcc', '-o', 'prog', sort glob('*.o') } waitpid $pid, 0;\n"
    )


@pytest.mark.parametrize("way", MAKE_WAYS)
def test_make_and_scripts(interception: Interception, log: Path, real_runner: Path, way: str) -> None:
    needs.programs(dict(MAKE_WAYS[way].needs))
    work = interception.work
    write_project(work)
    write_scripts(work)
    command = ["sh", "-c", MAKE_WAYS[way].line.replace("RUNNER", str(real_runner))]
    results = []
    for run, cache in ((interception.plain, "plain"), (interception.run, "intercepted")):
        assert interception.plain("make", "clean").returncode == 0
        # A cache that has the result starts no compiler.
        changes = {"CCACHE_DIR": str(interception.top / cache), "HOME": str(interception.top)}
        done = run(*command, cwd=None, **changes)
        assert done.returncode == 0, done.stderr
        results.append((done.stdout, done.stderr, products(work)))
    assert results[0] == results[1]
    assert len(results[0][2]) == UNITS + 2
    if way == "old launcher":  # the runner is a launcher and asks the server itself
        assert compiles(log) == []
    else:
        assert len(compiles(log)) == UNITS + 1


@pytest.mark.parametrize("way", ways.CMAKE_WAYS.values(), ids=ways.CMAKE_WAYS)
def test_cmake(interception: Interception, log: Path, way: Way) -> None:
    """The tree is configured plainly, with absolute paths of the compilers."""
    needs.programs(dict(way.needs))
    work = interception.work
    write_project(work)
    line = way.line.replace("NINJA", str(Path(sys.executable).parent / "ninja"))
    results = []
    for run in (interception.plain, interception.run):
        shutil.rmtree(work / "build", ignore_errors=True)
        configured = interception.plain("sh", "-c", way.configure)
        assert configured.returncode == 0, configured.stderr
        done = run(*shlex.split(line))
        assert done.returncode == 0, done.stdout + done.stderr
        results.append(products(work))
    assert results[0] == results[1]
    assert len(results[0]) == UNITS + 2
    assert len(compiles(log)) == UNITS + 1


@pytest.mark.needs("cmake")
def test_a_tree_that_is_configured_with_the_library_is_the_same(interception: Interception) -> None:
    """No path of ours is in any of its files."""
    work = interception.work
    write_project(work)
    trees = []
    for run in (interception.plain, interception.run):
        shutil.rmtree(work / "build", ignore_errors=True)
        done = run("cmake", "-GUnix Makefiles", "-S", ".", "-B", "build", HOME=str(interception.top))
        assert done.returncode == 0, done.stderr
        files = {path.relative_to(work): path for path in (work / "build").rglob("*") if path.is_file()}
        texts = {str(name): path.read_bytes() for name, path in files.items() if path.name != "a.out" and "CMakeOutput" not in path.name}  # fmt: skip
        ours = (b"SPRAYCC_", os.fsencode(LIBRARY_NAME), bytes(interception.runner), bytes(interception.file))
        assert not [name for name, text in texts.items() if any(word in text for word in ours)]
        trees.append(texts)
    assert trees[0].keys() == trees[1].keys()
    assert [name for name, text in trees[0].items() if trees[1][name] != text] == []


def test_a_compilers_own_programs_cost_no_runner(interception: Interception, log: Path) -> None:
    """gcc starts cc1, as, collect2 and ld."""
    write_project(interception.work)
    assert interception.run("sh", "-c", "gcc -save-temps -o prog *.c; exit $?").returncode == 0
    assert len(log.read_text().splitlines()) == 1
    assert interception.run("sh", "-c", "ar rc x.a u0.c; /usr/bin/ranlib x.a; /usr/bin/ld -r -o y main.o; strip prog").returncode == 0  # fmt: skip
    assert [line.split()[0] for line in log.read_text().splitlines()[1:]] == [
        "/usr/bin/ar",
        "/usr/bin/ranlib",
        "/usr/bin/ld",
        "/usr/bin/strip",
    ]


@pytest.mark.parametrize("compiler", ["/usr/bin/gcc", "/usr/bin/cc", "clang"])
def test_a_static_build_tool_starts_compilers_without_runners(
    interception: Interception, log: Path, compiler: str
) -> None:
    """Nobody intercepts the compiler itself. It loads the library, which must not intercept its assembler and linker."""
    write_project(interception.work)
    tool = compiled(interception.top, "calls", "-static")
    path = needs.compiler(compiler) if compiler == "clang" else compiler
    words = ["-no-integrated-as"] if compiler == "clang" else ["-pipe"]
    done = interception.run(tool, "execvp", path, path, *words, "main.c", "-o", "prog")
    assert (done.returncode, done.stderr) == (0, b"")
    assert not log.exists()
    # A script is no compiler, whatever its name is.
    script = interception.work / "gcc"
    script.write_text('#!/bin/sh\n/usr/bin/gcc "$@"\n')
    script.chmod(0o755)
    assert interception.run(tool, "execve", script, "gcc", "-c", "main.c").returncode == 0
    assert compiles(log) == ["/usr/bin/gcc"]


def test_tests_of_the_build_by_a_rule(interception: Interception, log: Path) -> None:
    write_project(interception.work)
    interception.configure(wrap=["work/tests/*"])
    (interception.work / "tests").mkdir()
    makefile = "check: tests/one\n\ttests/one\n\tcd tests && ./one\ntests/one: main.c\n\tgcc -o $@ $<\n"
    (interception.work / "Makefile").write_text(makefile)
    assert interception.run("make", "check").returncode == 0
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["/usr/bin/gcc", "tests/one", "./one"]


def test_the_runner_leaves_no_trace_of_the_library(interception: Interception) -> None:
    """A wrapped program sees the environment of a plain build, but for the variables that the server's socket needs."""
    compiler = interception.top / "outside" / "gcc"
    compiler.write_text("#!/bin/sh\nenv\ncat /proc/$$/maps\n")
    compiler.chmod(0o755)
    done = interception.run("sh", "-c", f"{compiler} -c x; exit 0", LD_PRELOAD="")
    assert b"libspraycc-exec" not in done.stdout
    names = {line.partition("=")[0] for line in os.fsdecode(done.stdout).splitlines() if line.startswith("SPRAYCC_")}
    assert names <= {"SPRAYCC_SLOT"}
