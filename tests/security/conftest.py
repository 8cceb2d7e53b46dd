"""The sandbox of the end-to-end tests, and another user who wants in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))

from sandbox import Account, Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of an unprivileged user."""
    sandbox = Sandbox(Account.unprivileged())
    yield sandbox
    sandbox.close()
