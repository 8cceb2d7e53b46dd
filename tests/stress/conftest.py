"""Fixtures for the faults at random moments.

FAULT_RUNS is the number of runs over all faults, in turn; FAULT_LANE=1/2 and FAULT_LANE=2/2, with one FAULT_SEED, are halves
of them to run side by side; FAULT_SECONDS ends them early; FAULT_SEED makes the moments the same again; FAULT_ONLY is a
comma-separated choice of faults; FAULT_TABLE is a file to which each run adds a line of JSON, of which ``python
tests/stress/report.py table FILE`` makes the table in docs/reliability.md.
"""

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
    """When no further run begins."""
    return time.monotonic() + float(os.environ.get("FAULT_SECONDS", "inf"))
