"""Simulated worlds: the server's and executor's coroutines on a virtual clock. No process, no network, no real waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import guard


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    """Has a test fail that starts a process, binds or connects a socket, or sleeps. Socket pairs are allowed."""
    with guard.forbidden(guard.PROCESSES | guard.NETWORK | guard.WAITING):
        yield
