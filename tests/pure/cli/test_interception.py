"""The program that a build starts: the tool, or a runner in the tool's place."""

from __future__ import annotations

import pytest

from spraycc.cli.interception import Interception
from spraycc.runner_files import RunnerFiles

FILES = RunnerFiles("/data", b"/data/bin/spraycc-run", b"/data/lib/l.so")


@pytest.mark.parametrize(
    ("program", "is_wrapped"),
    [
        (b"/usr/bin/make", False),
        (b"/usr/bin/sh", False),
        (b"/usr/bin/ccache", False),
        (b"/usr/lib/ccache/gcc", False),
        (b"/usr/bin/gcc-12", True),
        (b"/opt/site-cc", True),
        (b"./unit", True),
        (b"unit", False),
    ],
)
def test_a_wrapped_program_is_started_by_a_runner(program: bytes, is_wrapped: bool) -> None:
    intercepted = Interception(FILES, wrapped=("site-*", "./unit"))
    expected = (FILES.runner, {b"SPRAYCC_PROGRAM": program}) if is_wrapped else (program, {})
    assert intercepted.start_of(program, b"word") == expected
