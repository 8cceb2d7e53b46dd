"""The benchmark suite itself: each part runs, and its counts add up. The test judges no figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, farm, table
from benchmarks.simulated_runners import first_fit_makespan, least_makespan
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

#: The parts that run in CI. The others need a cluster manager, or start slowly.
PARTS = [
    "runner",
    "interception",
    "probe",
    "round-trip",
    "dispatch",
    "fill",
    "fill-ninja",
    "data",
    "submit-host",
    "no-op",
    "wall",
    "clean",
]
PARTS += ["executor-start", "tokens", "record", "report", "progress", "peers-farm"]
TOP = Path(__file__).resolve().parents[3]


def run_parts(parts: list[str], output: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", *parts, "--quick", "--json", str(output)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_and_its_accounting_adds_up(part: str, tmp_path: Path) -> None:
    # A part with simulated executors fails if a result is missing on disk, has another size, or is counted differently by
    # the executors or the server.
    result = run_parts([part], tmp_path / "result.json")
    assert result["quick"] is True
    assert dict(compare.figures(result["parts"][part])), result


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.root
def test_simulated_executors_compress_on_a_slow_link(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    needs.programs({"ip": "iproute2", "tc": "iproute2"})
    figures = run_parts(["slow-link"], tmp_path / "result.json")["parts"]["slow-link"]
    assert figures["compressed_share"] > 0
    assert figures["ratio"] > 1


def counted(tasks: int = 10, size: int = 1000) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The counts of the runners, the executors and the server."""
    seen = {"wrong": [], "tasks_sent": tasks, "results_seen": tasks, "bytes_seen": size}
    return (
        seen,
        {"tasks": tasks, "cancelled": 0, "bytes_sent": size},
        {
            "remote": tasks,
            "bytes_returned": size,
            "second": 0,
        },
    )


def test_the_accounting_accepts_what_adds_up() -> None:
    farm.check(*counted())


@pytest.mark.parametrize(
    ("which", "key", "value"),
    [
        (0, "wrong", ["x.o: 3 of 4 bytes"]),
        (0, "results_seen", 9),
        (0, "bytes_seen", 999),
        (1, "tasks", 11),
        (1, "bytes_sent", 1001),
        (2, "remote", 9),
        (2, "bytes_returned", 0),
    ],
)
def test_the_accounting_notices_what_is_missing(which: int, key: str, value: Any) -> None:
    account = counted()
    account[which][key] = value
    with pytest.raises(farm.Accounting):
        farm.check(*account)


def test_makespans() -> None:
    assert least_makespan([1.0, 1.0, 4.0], 3) == 4.0
    assert least_makespan([1.0] * 6, 3) == 2.0
    assert first_fit_makespan([1.0, 1.0, 1.0, 4.0], 2) == 5.0


def test_two_runs_are_compared_figure_by_figure() -> None:
    before = {"parts": {"a": {"ms": {"n": 3, "min": 1.0, "median": 2.0, "p99": 3.0}, "target_ms": 5.0, "why": "x"}}}
    after = {"parts": {"a": {"ms": {"n": 3, "min": 1.0, "median": 1.0, "p99": 6.0}, "new": 1}}}
    assert compare.rows(before, after) == [("a.ms.median", 2.0, 1.0, 0.5), ("a.ms.p99", 3.0, 6.0, 2.0)]


def test_a_run_is_shown_as_a_table() -> None:
    run = json.loads((TOP / "benchmarks/results/debian12-2cpu.json").read_text())
    shown = {name: measured for name, measured, _ in table.rows(run["parts"] | {"bad": {"failed": "why"}})}
    assert shown["runner over a bare exec of a static program"] == f"{run['parts']['runner']['over_bare_ms']:.2f} ms"
    assert shown["bad"] == "failed: why"
    assert not any("targets" in name for name in shown)
