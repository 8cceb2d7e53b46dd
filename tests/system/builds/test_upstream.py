"""Real projects: executors compile every translation unit, and the result equals a plain build's, byte by byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.harness.projects import CountingCompilers
from tests.system.harness.sandbox import EXAMPLES, Sandbox
from tests.system.harness.waiting import LONG_HANG_S


@dataclass(frozen=True)
class Project:
    """How an upstream project is built."""

    package: str
    make: tuple[str, ...] = ()
    configure: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    #: files that also differ between two plain builds, as patterns of examples/compare
    different: tuple[str, ...] = ()
    #: dependency lines that fail and discard their messages. In a tree of a supplementary group the capture could be
    #: the cause, so they run once more on the submit host.
    fail_unseen: int = 0
    #: at least this many translation units; else the test has built the wrong project
    units: int = 10
    #: the project is configured under spraycc
    configured_by_us: bool = False
    #: objects that are removed at the end, to be built again by the build tool alone
    again: str = ""


LUA = Project("lua5.4", make=("linux",), units=30)
SLOW = [
    # A configure script that writes a makefile. Its log names temporary files, which differ each time.
    Project(
        "zlib",
        configure=("./configure",),
        environment=(("CFLAGS", "-O0"),),
        different=("configure.log",),
        units=30,
    ),
    # CMake's makefiles, C++. Files of the plain tree name the test's compilers, which count.
    Project(
        "leveldb",
        make=("leveldb",),
        configure=(
            "cmake",
            "-DLEVELDB_BUILD_TESTS=OFF",
            "-DLEVELDB_BUILD_BENCHMARKS=OFF",
            "-DCMAKE_BUILD_TYPE=",
            "-DCMAKE_CXX_FLAGS=-O0",
            ".",
        ),
        different=("CMakeCache.txt", "3.*", "*.make", "link.txt", "CMake*.log", "CMakeTmp", "compiler_depend.internal"),
        units=35,
        configured_by_us=True,
        again="CMakeFiles/leveldb.dir/db/*.o",
    ),
    # kbuild, a recursive make: -Wp,-MD, commands kept in files, partial links. With as few programs as possible.
    Project(
        "busybox",
        configure=("make", "allnoconfig"),
        environment=(("SOURCE_DATE_EPOCH", "1700000000"), ("KCONFIG_NOTIMESTAMP", "1")),
        units=60,
    ),
    # autotools and libtool. The log holds the whole environment.
    Project(
        "curl",
        make=("-C", "lib"),
        configure=(
            "./configure",
            "--without-ssl",
            "--disable-shared",
            "--disable-manual",
            "--without-zlib",
            "--disable-dependency-tracking",
            "--without-libpsl",
            "CFLAGS=-O0",
        ),
        different=("config.log",),
        units=100,
        configured_by_us=True,
        again="lib/libcurl_la-url*.*o",
    ),
]
PROJECTS = [
    pytest.param(LUA, id="lua5.4"),
    *(pytest.param(p, id=p.package, marks=[pytest.mark.slow, pytest.mark.timeout(LONG_HANG_S)]) for p in SLOW),
]


def differences(a: Path, b: Path, without: tuple[str, ...] = ()) -> str:
    """The output of examples/compare about two trees."""
    command: list[str | Path] = [sys.executable, EXAMPLES / "compare", a, b]
    for pattern in without:
        command += ["--exclude", pattern]
    compared: subprocess.CompletedProcess[str] = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compared.returncode in (0, 1), compared.stderr
    return compared.stdout


@pytest.mark.overlay
@pytest.mark.e2e
@pytest.mark.parametrize("project", PROJECTS)
def test_build_is_the_same_and_all_units_are_remote(
    sandbox: Sandbox, upstream: Callable[[str, Path], None], project: Project
) -> None:
    check_build(sandbox, upstream, project)


def check_build(sandbox: Sandbox, upstream: Callable[[str, Path], None], project: Project) -> None:
    """Builds a project without SprayCC and with it; tests/stress/test_upstream.py has larger ones."""
    environment = dict(project.environment)
    compilers = CountingCompilers(sandbox)
    tree = sandbox.workspace / project.package
    timeout_s = LONG_HANG_S

    def unpack(by_us: bool = False) -> None:
        upstream(project.package, tree)
        sandbox.give(tree)
        if project.configure and by_us:
            sandbox.build("build", "--", *project.configure, cwd=tree, env=environment, timeout_s=timeout_s).ok()
        elif project.configure:
            sandbox.run(*project.configure, cwd=tree, env=environment, timeout_s=timeout_s).ok()

    sandbox.path_front = [compilers.directory]  # before configure: CMake stores the path of its compiler
    unpack()
    compilers.log.unlink(missing_ok=True)
    sandbox.run("make", "-j2", *project.make, cwd=tree, env=environment, timeout_s=timeout_s).ok()
    sandbox.path_front = []
    units, dependencies = len(compilers.translation_units()), len(compilers.dependency_lines())
    assert units >= project.units
    plain = tree.rename(sandbox.aside / "plain")

    sandbox.read_only_workspace()
    unpack(project.configured_by_us)
    built = sandbox.build("make", "-j8", *project.make, cwd=tree, env=environment, timeout_s=timeout_s).ok()

    assert differences(plain, tree, project.different) == ""
    expected = units + dependencies - project.fail_unseen
    assert built.figures["remote"] == expected, built.words()
    sandbox.stop()
    counters = sandbox.executor_counters()
    # No command of configure is sent to an executor. A compile runs twice if its directory changes at its start.
    more = built.figures["retried"] + built.figures["second"]
    assert sum(counter["tasks"] for counter in counters) == expected + more, (counters, built.figures)
    if project.again:
        removed = list(tree.glob(project.again))
        assert removed
        for path in removed:
            path.unlink()
        plain_path = [
            word for word in map(os.fsdecode, sandbox.environment()[b"PATH"].split(b":")) if word != str(sandbox.bin)
        ]
        sandbox.run(
            "make", *project.make, cwd=tree, env={**environment, "PATH": ":".join(plain_path)}, timeout_s=timeout_s
        ).ok()
        assert differences(plain, tree, project.different) == ""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(LONG_HANG_S)
def test_example_project(sandbox: Sandbox) -> None:
    """The project that the documentation tells users to try first: C++, recursive make, a library, tests."""
    tree = sandbox.workspace / "hello-cpp"

    def copy() -> None:
        subprocess.run(["cp", "-r", EXAMPLES / "hello-cpp", tree], check=True)
        sandbox.give(tree)
        sandbox.run("make", "clean", cwd=tree).ok()

    copy()
    sandbox.run("make", "-j2", "test", cwd=tree, timeout_s=LONG_HANG_S).ok()
    plain = tree.rename(sandbox.aside / "plain")
    copy()
    built = sandbox.build("make", "-j8", "test", cwd=tree, timeout_s=LONG_HANG_S).ok()
    assert differences(plain, tree) == ""
    assert built.figures["remote"] == len(list(tree.rglob("*.cpp")))
