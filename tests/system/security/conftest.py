"""The sandbox of the end-to-end tests, and another user who wants in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.harness.sandbox import Account, Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of an unprivileged user."""
    sandbox = Sandbox(Account.unprivileged())
    yield sandbox
    sandbox.close()
