"""*dispatch*: how many tasks a second one server hands out and writes back, and their cost."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.farm import run_plan
from benchmarks.harness import Place, spread

_OUTPUT_BYTES = 100_000


def dispatch(place: Place) -> dict[str, Any]:
    """Simulated executors: 100 to 2,000 of them, outputs of 100 kB, more work than the server can hand out."""
    figures: dict[str, Any] = {}
    for executors in (50,) if place.quick else (100, 400, 1000, 2000):
        figures[str(executors)] = _measure(place, executors, 300 if place.quick else 5000)
    return figures | {"target": "1000 executors: 700 tasks/s, 1.2 ms of server CPU, 300 MB"}


def _measure(place: Place, executors: int, count: int) -> dict[str, Any]:
    draw = random.Random(executors)
    # Short enough that all executors together want more than 2,000 tasks a second.
    mean_s = min(0.4, executors / 2000)
    tasks = [(draw.uniform(0.5, 1.5) * mean_s, _OUTPUT_BYTES) for _ in range(count)]
    run = run_plan(place, executors, tasks, executors, probe_s=0.05)
    return {
        "tasks": run["measured_tasks"],
        "tasks_per_s": round(run["measured_tasks"] / run["elapsed_s"], 1),
        "server_cpu_ms": round(run["server_cpu_s"] * 1e3 / run["measured_tasks"], 3),
        "server_busy": round(run["server_cpu_s"] / run["elapsed_s"], 3),
        "server_rss_mib": round(run["server_peak_rss_kib"] / 1024, 1),
        "server_idle_rss_mib": round(run["server_idle_rss_kib"] / 1024, 1),
        "simulation_cpu_ms": round((run["runners_cpu_s"] + run["executors_cpu_s"]) * 1e3 / run["measured_tasks"], 3),
        "loop_lag": run["loop_lag"],
        "probe_ms": spread(run["probe_ms"]),
    }
