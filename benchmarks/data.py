"""*data*: large outputs from many executors at once: bytes a second to the file system, and the server's memory."""

from __future__ import annotations

from typing import Any

from benchmarks.farm import run_plan
from benchmarks.harness import Place

_EXECUTORS = 50


def data(place: Place) -> dict[str, Any]:
    """Outputs of 1, 10 and 100 MB from 50 simulated executors at once, over TLS."""
    figures: dict[str, Any] = {}
    for megabytes, count in ((1, 60),) if place.quick else ((1, 1500), (10, 250), (100, 50)):
        run = run_plan(place, _EXECUTORS, [(0.0, megabytes * 1_000_000)] * count, _EXECUTORS)
        size_mb = run["measured_bytes"] / 1e6
        figures[f"{megabytes} MB"] = {
            "outputs": count,
            "mb_per_s": round(size_mb / run["elapsed_s"], 1),
            "server_cpu_ms_per_mb": round(run["server_cpu_s"] * 1e3 / size_mb, 3),
            "server_rss_mib": round(run["server_peak_rss_kib"] / 1024, 1),
            "simulation_cpu_ms_per_mb": round((run["executors_cpu_s"] + run["runners_cpu_s"]) * 1e3 / size_mb, 3),
        }
    return figures | {"target_mb_per_s": 300}
