"""*data*: large outputs from many executors at once: bytes a second to the file system, and the server's memory."""

from __future__ import annotations

from typing import Any

from benchmarks.farm import run_plan
from benchmarks.harness import Place

_EXECUTORS = 50


def data(place: Place) -> dict[str, Any]:
    """Outputs of 1, 10 and 100 MB from 50 simulated executors at once, over TLS.

    A task has costs without contents, too: the figures ``task`` are for tasks with an output of 1 kB. Subtracted from
    those of 1 MB, they leave the cost of a megabyte. ``loop`` is the CPU time of the server's main thread, the event
    loop: it holds the interpreter lock for less than that.
    """
    figures: dict[str, Any] = {}
    for megabytes, count in ((1, 60),) if place.quick else ((1, 1500), (10, 250), (100, 50)):
        run = run_plan(place, _EXECUTORS, [(0.0, megabytes * 1_000_000)] * count, _EXECUTORS)
        size_mb = run["measured_bytes"] / 1e6
        figures[f"{megabytes} MB"] = {
            "outputs": count,
            "mb_per_s": round(size_mb / run["elapsed_s"], 1),
            "server_cpu_ms_per_mb": round(run["server_cpu_s"] * 1e3 / size_mb, 3),
            "loop_cpu_ms_per_mb": round(run["loop_cpu_s"] * 1e3 / size_mb, 3),
            "server_rss_mib": round(run["server_peak_rss_kib"] / 1024, 1),
            "simulation_cpu_ms_per_mb": round((run["executors_cpu_s"] + run["runners_cpu_s"]) * 1e3 / size_mb, 3),
        }
    run = run_plan(place, _EXECUTORS, [(0.0, 1000)] * (60 if place.quick else 3000), _EXECUTORS)
    figures["task"] = {
        "server_cpu_ms": round(run["server_cpu_s"] * 1e3 / run["measured_tasks"], 3),
        "loop_cpu_ms": round(run["loop_cpu_s"] * 1e3 / run["measured_tasks"], 3),
    }
    return figures | {"target_mb_per_s": 350, "target_cpu_ms_per_mb": 1.0, "target_loop_ms_per_mb": 0.3}
