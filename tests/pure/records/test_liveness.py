"""The process in a record's header is alive, or the record was cut."""

from __future__ import annotations

import pytest

from spraycc.records.liveness import is_written, this_process


def test_this_process_is_alive() -> None:
    assert is_written({"server": this_process()})


@pytest.mark.parametrize("server", [None, [], [1], ["1", 2], [0, 0], [-1, 5], [2**40, 5], 7])
def test_anything_else_is_no_living_process(server: object) -> None:
    assert not is_written({"server": server})
    assert not is_written({})


def test_another_process_with_the_same_id_is_not_the_server() -> None:
    pid, started = this_process()
    assert not is_written({"server": [pid, started + 1]})
