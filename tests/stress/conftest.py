"""Fixtures for the faults at random moments."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.system.faults.conftest import own_namespaces, reference_of
from tests.system.faults.faultlab import RANDOM, Reference

__all__ = ["own_namespaces"]


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    """A plain make of the project for faults at random moments."""
    yield from reference_of(RANDOM)


@pytest.fixture(scope="session")
def clock_end() -> float:
    """The time after which no further run begins."""
    return time.monotonic() + float(os.environ.get("FAULT_SECONDS", "inf"))
