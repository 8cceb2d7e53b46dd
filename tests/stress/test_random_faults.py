"""A real build under each fault at a random moment.

FAULT_SEED repeats the moments and choices of an earlier run. FAULT_RUNS is the number of runs, over all faults in turn (one
of each). FAULT_SECONDS: no run begins later than this. FAULT_ONLY is a comma-separated choice of faults. FAULT_LANE=1/2 and
FAULT_LANE=2/2, with one FAULT_SEED, are halves to run side by side. FAULT_TABLE is a file to which each run adds a line of
JSON; ``python tests/stress/report.py table FILE`` makes the table of docs/explanation/reliability.md from it.
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest

from tests.system.faults.breakages import FAULTS, SETTINGS, Fault, build_under
from tests.system.faults.faultlab import BUILD_S, RANDOM, Lab, Reference
from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.timeout(600)]

_only = os.environ.get("FAULT_ONLY")
_chosen = [fault for fault in FAULTS if _only is None or fault.name in _only.split(",")]
assert _chosen, f"no fault is named {_only}"
_seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 30)))
if "FAULT_SEED" in os.environ:  # so that each seed leaves out other faults if the time is short
    random.Random(_seed).shuffle(_chosen)
_lane, _lanes = map(int, os.environ.get("FAULT_LANE", "1/1").split("/"))
_runs = [
    pytest.param(_chosen[number % len(_chosen)], turn, id=f"{_chosen[number % len(_chosen)].name}-{turn}")
    for number in range(int(os.environ.get("FAULT_RUNS", len(_chosen))))
    if number % _lanes == _lane - 1
    for turn in [number // len(_chosen)]
]


@pytest.mark.parametrize(("fault", "turn"), _runs)
def test_build_under_fault(
    fault: Fault, turn: int, reference: Reference, clock_end: float, request: pytest.FixtureRequest
) -> None:
    if time.monotonic() > clock_end:
        pytest.skip("the time for faults is over (FAULT_SECONDS)")
    if fault.needs_root:
        request.getfixturevalue("own_namespaces")
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(SETTINGS)
    lab = Lab(sandbox, RANDOM, random.Random(f"{_seed} {fault.name} {turn}"))
    moment_s = lab.rng.uniform(0, BUILD_S) if lab.rng else 0.0
    print(f"FAULT_SEED={_seed} {fault.name}, turn {turn}, {moment_s:.2f} s after the start")
    try:
        whole, late = build_under(fault, lab, reference, lambda: lab.pause(moment_s))
    finally:
        sandbox.close()
    if table := os.environ.get("FAULT_TABLE"):
        with open(table, "a") as file:
            file.write(json.dumps({"fault": fault.name, "whole": whole, "late": late}) + "\n")
