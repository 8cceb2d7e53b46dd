"""Versions of build tools, and the place of -j on their command lines."""

from __future__ import annotations

import pytest

from spraycc.cli.tool_kinds import is_blocking_make, is_jobserver_ninja, plain_argv, with_width
from spraycc.jobserver.cmdline import Stripped


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
    ("argv", "expected"),
    [
        ((b"make", b"all"), (b"make", b"-j4", b"all")),
        ((b"ninja",), (b"ninja", b"-j4")),
        ((b"cmake", b"--build", b"d", b"-v"), (b"cmake", b"--build", b"d", b"-j4", b"-v")),
        ((b"cmake", b"--build"), (b"cmake", b"--build")),
        ((b"cmake", b"."), (b"cmake", b".")),
        ((b"./build.sh",), (b"./build.sh",)),
    ],
)
def test_width(argv: tuple[bytes, ...], expected: tuple[bytes, ...]) -> None:
    assert with_width(argv[0].decode(), argv, 4) == expected


@pytest.mark.parametrize(
    ("cap", "makeflags", "expected"),
    [
        (None, b"", (b"make", b"-j8", b"all")),
        (3, b"", (b"make", b"-j3", b"all")),
        (100, b"", (b"make", b"-j8", b"all")),
        (3, b" -j --jobserver-auth=3,4", (b"make", b"all")),
    ],
)
def test_a_build_without_a_server(cap: int | None, makeflags: bytes, expected: tuple[bytes, ...]) -> None:
    assert plain_argv("make", Stripped((b"make", b"all"), cap, True), 8, makeflags) == expected
