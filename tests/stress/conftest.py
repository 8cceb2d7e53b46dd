"""The fixtures of the fault harness, for the faults at random moments."""

from __future__ import annotations

from tests.system.faults.conftest import clock_end, own_namespaces, reference

__all__ = ["clock_end", "own_namespaces", "reference"]
