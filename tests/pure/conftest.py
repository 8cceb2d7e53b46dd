"""Pure tests: no process, no socket, no waiting. Files below ``tmp_path`` are allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import guard


@pytest.fixture(autouse=True)
def pure() -> Iterator[None]:
    """Fails a test that starts a process, opens a socket or sleeps."""
    with guard.forbidden(guard.PROCESSES | guard.NETWORK | guard.SOCKETS):
        yield
