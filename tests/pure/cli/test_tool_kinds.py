"""Versions of build tools, and the place of -j on their command lines."""

from __future__ import annotations

import pytest

from spraycc.cli.tool_kinds import is_blocking_make, is_jobserver_ninja, plain_argv
from spraycc.jobserver.cmdline import strip


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.13.0", True),
        ("2.0", True),
        ("1.12.1", False),
        ("1.11.1.git.kitware.jobserver-1", True),
        ("1.11.1.git.kitware", False),
        ("next", True),
    ],
)
def test_ninja(version: str, expected: bool) -> None:
    assert is_jobserver_ninja(version) is expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("GNU Make 4.2", True),
        ("GNU Make 4.2.1", True),
        ("GNU Make 4.1", False),
        ("GNU Make 4.20", False),
        ("GNU Make 4.3", False),
        ("bmake", False),
        ("", False),
    ],
)
def test_make(version: str, expected: bool) -> None:
    assert is_blocking_make(version) is expected


@pytest.mark.parametrize(
    ("words", "makeflags", "expected"),
    [
        ("make all", "", "make -j8 all"),
        ("make -j3 all", "", "make -j3 all"),
        ("make all -kj 100", "", "make -j8 all -k"),
        ("make -j3 all", " -j --jobserver-auth=3,4", "make all"),
        ("ninja -C d -j100", "", "ninja -j8 -C d"),
        ("cmake --build d -v", "", "cmake --build d -v -j8"),
        ("cmake --build --preset release", "", "cmake --build --preset release -j8"),
        ("cmake --build d --target a b -j3", "", "cmake --build d --target a b -j3"),
        ("cmake --build d -j100 -- -k", "", "cmake --build d -j8 -- -k"),
        ("cmake --build d -- -k -j100", "", "cmake --build d -j8 -- -k"),
        ("cmake .", "", "cmake ."),
        ("cargo build", "", "cargo build"),
        ("cargo metadata", "", "cargo metadata"),
        ("cargo run -j 100 a -- -j9", "", "cargo run -j8 a -- -j9"),
        ("cargo build --release --jobs=3", "", "cargo build --release -j3"),
        ("ctest -V", "", "ctest -V"),
        ("ctest -j100 -V", "", "ctest -j8 -V"),
        ("ctest -V --parallel 100 -R x", "", "ctest -V -j8 -R x"),
        ("ctest -V -j", "", "ctest -V -j8"),
        ("ctest -j3", "", "ctest -j3"),
        ("./build.sh -j100", "", "./build.sh -j100"),
    ],
)
def test_a_build_without_a_server(words: str, makeflags: str, expected: str) -> None:
    argv = [word.encode() for word in words.split()]
    stripped = strip(words.split()[0], argv, makeflags.encode())
    assert b" ".join(plain_argv(stripped, 8, makeflags.encode())).decode() == expected
