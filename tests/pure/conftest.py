"""Pure tests: no process, no socket, no waiting. Files below ``tmp_path`` are allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests import guard


def _no_sleep(seconds: float) -> NoReturn:
    raise guard.NotAllowedHereError(f"time.sleep({seconds}): see tests/README.md for the folder of such a test")


@pytest.fixture(autouse=True)
def pure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has a test fail that starts a process, opens a socket or sleeps."""
    # Python before 3.13 has no audit event for it.
    monkeypatch.setattr(time, "sleep", _no_sleep)
    with guard.forbidden(guard.PROCESSES | guard.NETWORK | guard.SOCKETS | guard.WAITING):
        yield
