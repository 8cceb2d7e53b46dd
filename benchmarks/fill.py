"""*fill*: how full the executors are kept: the time of many tasks over the bound of any schedule."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.durations import RE2
from benchmarks.farm import Task, run_plan
from benchmarks.harness import Place
from benchmarks.scheduling import learned, simulate


def fill(place: Place) -> dict[str, Any]:
    """20,000 tasks as long as a C++ project's units are, in no order, on 400 and 1,000 simulated executors."""
    figures: dict[str, Any] = {}
    # With RE2's own times a thousand executors would make 700 MB a second, more than one machine simulates beside the
    # server. This part measures how full they are kept, so with a thousand each unit takes three times as long.
    for executors, factor in ((50, 0.25),) if place.quick else ((400, 1.0), (1000, 3.0)):
        tasks = draw_tasks(400 if place.quick else 20_000, executors)
        tasks = [(seconds * factor, size) for seconds, size in tasks]
        figures[str(executors)] = {"times_factor": factor} | measure(place, executors, tasks) | orders(executors, tasks)
    return figures | {"targets": {"400": 1.05, "1000": 1.08}}


def orders(executors: int, tasks: list[Task]) -> dict[str, Any]:
    """The possible gain of the history: the real scheduler on a virtual clock with all these tasks queued at once, in
    order of arrival and longest first. In a build, tokens let it choose among few tasks, so the gain is smaller."""
    seconds = [taken for taken, _ in tasks]
    in_order = simulate(seconds, executors, may_run_twice=False)
    longest_first = simulate(seconds, executors, learned(seconds), may_run_twice=False)
    return {
        "simulated_fifo_over_bound": round(in_order.over_bound, 4),
        "simulated_longest_first_over_bound": round(longest_first.over_bound, 4),
    }


def draw_tasks(count: int, seed: int) -> list[Task]:
    """Tasks like the units of a real project: seconds of CPU and size of the object, drawn together."""
    draw = random.Random(seed)
    return [(seconds * draw.uniform(0.8, 1.2), size) for seconds, size in draw.choices(RE2, k=count)]


def measure(place: Place, executors: int, tasks: list[Task]) -> dict[str, Any]:
    # As with make: one recipe for each executor, and the recipes of the local slots.
    run = run_plan(place, executors, tasks, executors + 2)
    return {
        "tasks": run["measured_tasks"],
        "bytes": run["measured_bytes"],
        "makespan_s": round(run["elapsed_s"], 3),
        "bound_s": round(run["bound_s"], 3),
        "over_bound": round(run["elapsed_s"] / run["bound_s"], 4),
        # without any overhead, in order of arrival
        "order_over_bound": round(run["order_bound_s"] / run["bound_s"], 4),
        "tasks_per_s": round(run["measured_tasks"] / run["elapsed_s"], 1),
        "server_cpu_ms": round(run["server_cpu_s"] * 1e3 / run["measured_tasks"], 3),
        "server_busy": round(run["server_cpu_s"] / run["elapsed_s"], 3),
    }
