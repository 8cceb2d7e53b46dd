"""The server's log files do not grow without limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spraycc.server.__main__ import _LOG_BYTES, shorten


@pytest.mark.parametrize(("size", "left"), [(_LOG_BYTES, ["log"]), (_LOG_BYTES + 1, ["log.1"])])
def test_a_long_log_is_begun_anew(tmp_path: Path, size: int, left: list[str]) -> None:
    (tmp_path / "log").touch()
    os.truncate(tmp_path / "log", size)
    shorten(tmp_path / "log")
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_a_log_that_is_missing(tmp_path: Path) -> None:
    shorten(tmp_path / "log")
    assert not any(tmp_path.iterdir())
