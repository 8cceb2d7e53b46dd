"""A command's environment: the first of several entries counts, and equal environments are examined once.

Response files: the names of descriptors are those of the server.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spraycc.server.tasks.command_files import environment_of, read_response_file


def test_the_first_entry_of_a_name_counts() -> None:
    env = environment_of((b"A=1", b"B=", b"A=2", b"ODD", b"C=x=y"))
    assert env.variables == {b"A": b"1", b"B": b"", b"C": b"x=y"}


def test_the_remote_environment_lacks_the_builds_variables() -> None:
    env = environment_of((b"SPRAYCC_BUILD=1", b"PATH=/bin", b"MAKEFLAGS= -j --jobserver-auth=fifo:/tmp/f", b"ODD"))
    assert env.remote == (b"PATH=/bin", b"ODD")


def test_equal_environments_share_an_object_unless_they_are_large() -> None:
    assert environment_of((b"A=1", b"B=2")) is environment_of((b"A=1", bytes([66]) + b"=2"))
    large = (b"A=" + b"x" * 200_000,)
    assert environment_of(large) is not environment_of(large)
    assert environment_of(large).remote == large


@pytest.mark.parametrize(
    "name", ["/dev/fd/{}", "//dev/fd/{}", "/tmp/../dev/fd/{}", "/proc/self/fd/{}", "/proc/{pid}/fd/{}"]
)
def test_a_response_file_is_no_descriptor_of_the_server(tmp_path: Path, name: str) -> None:
    path = tmp_path / "words"
    path.write_bytes(b"-c u.c")
    assert read_response_file(bytes(path)) == b"-c u.c"
    with path.open() as file:
        assert read_response_file(os.fsencode(name.format(file.fileno(), pid=os.getpid()))) is None
