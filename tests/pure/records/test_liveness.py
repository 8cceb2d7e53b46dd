"""The server in a record's header has the build open, or the record has lost its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.records.liveness import is_open, this_process


def test_a_build_is_open_while_its_server_lives_and_its_directory_is_there(tmp_path: Path) -> None:
    directory = tmp_path / "b1"
    header = {"server": this_process(), "directory": str(directory)}
    assert not is_open(header)  # an idle server
    directory.mkdir()
    assert is_open(header)
    assert not is_open({"server": this_process()})


@pytest.mark.parametrize("server", [None, [], [1], ["1", 2], [0, 0], [-1, 5], [2**40, 5], [True, 1], [10**400, 5], 7])
def test_anything_else_is_no_living_process(tmp_path: Path, server: object) -> None:
    assert not is_open({"server": server, "directory": str(tmp_path)})
    assert not is_open({"directory": str(tmp_path)})


@pytest.mark.parametrize("directory", [7, "\0", "\ud800", "x" * 5000])
def test_anything_else_is_no_directory(directory: object) -> None:
    assert not is_open({"server": this_process(), "directory": directory})


def test_another_process_with_the_same_id_is_not_the_server(tmp_path: Path) -> None:
    pid, started = this_process()
    assert not is_open({"server": [pid, started + 1], "directory": str(tmp_path)})
