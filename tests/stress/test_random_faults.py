"""A real build under each fault at a random moment. How many runs, and which: see conftest.py."""

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

#: Unless told otherwise. (Killed servers are in tests/system/builds/test_kills.py as well, which is quicker.)
_FEW = ("executor killed",)

_chosen = [f for f in FAULTS if f.name in os.environ.get("FAULT_ONLY", ",".join(f.name for f in FAULTS)).split(",")]
if "FAULT_RUNS" not in os.environ and "FAULT_ONLY" not in os.environ:
    _chosen = [f for f in FAULTS if f.name in _FEW]
_lane, _lanes = map(int, os.environ.get("FAULT_LANE", "1/1").split("/"))
_runs = [
    pytest.param(_chosen[number % len(_chosen)], number, id=f"{number}-{_chosen[number % len(_chosen)].name}")
    for number in range(int(os.environ.get("FAULT_RUNS", len(_chosen))))
    if number % _lanes == _lane - 1
]
_seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 30)))


@pytest.mark.parametrize(("fault", "number"), _runs)
def test_build_under_fault(
    fault: Fault, number: int, reference: Reference, clock_end: float, request: pytest.FixtureRequest
) -> None:
    if time.monotonic() > clock_end:
        pytest.skip("the time for faults is over (FAULT_SECONDS)")
    if fault.needs_root:
        request.getfixturevalue("own_namespaces")
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(SETTINGS)
    lab = Lab(sandbox, RANDOM, random.Random(f"{_seed} {number}"))
    moment_s = lab.rng.uniform(0, BUILD_S) if lab.rng else 0.0
    print(f"FAULT_SEED={_seed} run {number}: {fault.name}, {moment_s:.2f} s after the start")
    try:
        whole, late = build_under(fault, lab, reference, lambda: lab.pause(moment_s))
    finally:
        sandbox.close()
    if table := os.environ.get("FAULT_TABLE"):
        with open(table, "a") as file:
            file.write(json.dumps({"fault": fault.name, "whole": whole, "late": late}) + "\n")
