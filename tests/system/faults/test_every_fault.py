"""A build under each fault once, at a gate: all compiles wait in a known state when the fault comes.

The same faults at random moments are in tests/stress/test_random_faults.py.
"""

from __future__ import annotations

import pytest

from tests.system.faults.breakages import FAULTS, SETTINGS, Fault, build_under
from tests.system.faults.faultlab import GATED, Lab, Reference
from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]


def _at_the_gate(lab: Lab) -> None:
    """Returns when each executor runs a compile: the build can go no further while the gate is closed."""
    lab.wait_for("each executor compiles", lambda: len(lab.remote_compiles()) == lab.scale.executors)


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.root] if f.needs_root else [], id=f.name) for f in FAULTS]
)
def test_build_under_fault_at_the_gate(
    fault: Fault, gated_reference: Reference, request: pytest.FixtureRequest
) -> None:
    if fault.needs_root:
        request.getfixturevalue("own_namespaces")
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(SETTINGS)
    lab = Lab(sandbox, GATED)
    try:
        whole, late = build_under(fault, lab, gated_reference, lambda: _at_the_gate(lab))
    finally:
        sandbox.close()
    assert not late
    assert whole == (not fault.expected.may_fail), "the fault did not reach the build"
