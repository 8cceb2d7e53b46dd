"""*tokens*: how soon make is as wide as the cluster, and how soon make notices one more executor."""

from __future__ import annotations

import json
import time
from typing import Any

from benchmarks import simulated_executors
from benchmarks.farm import farm
from benchmarks.harness import Place, spread

#: executors that are connected from the beginning, before the others connect one after the other
_PROMPT = 4
_APART_S = 0.15


def tokens(place: Place) -> dict[str, Any]:
    """With real makes and runners, and with executors that only wait for the task's time."""
    ramps, wide_ramps, latencies = [], [], []
    for _ in range(1 if place.quick else 7):
        ramps.append(_ramp(place, 20 if place.quick else 200))
    for _ in range(1 if place.quick else 3):
        wide_ramps.append(_ramp(place, 30 if place.quick else 400))
    for _ in range(1 if place.quick else 2):
        latencies += _latencies(place, 12 if place.quick else 54)
    return {
        "ramp_to_200_s": spread(ramps),
        "ramp_to_400_s": spread(wide_ramps),
        "connect_to_next_recipe_ms": spread(latencies),
        "targets": {"ramp_to_200_s": 0.5, "connect_to_next_recipe_ms": 20},
    }


def _ramp(place: Place, executors: int) -> float:
    """Seconds from the first to the last start of tasks that run at once, on connected executors."""
    with farm(place) as settings:
        _make(place, settings, executors, [0.0])
        deadline = time.monotonic() + 60
        while len(place.status()["executors"]) < executors:
            assert time.monotonic() < deadline, "the executors don't connect"
            time.sleep(0.2)
        _make(place, settings, executors, [1.0] * executors)
        place.stop()
    reached = _counters(place)["reached"]
    assert len(reached) == executors, f"only {len(reached)} of {executors} at once"
    # The task for which the executors connected was the first one at once.
    return float(reached[-1] - reached[1])


def _latencies(place: Place, executors: int) -> list[float]:
    """Milliseconds from an executor's connection until make's next task has reached an executor."""
    with farm(place, "--late", str(_PROMPT), str(_APART_S)) as settings:
        last_s = (executors - _PROMPT) * _APART_S
        _make(place, settings, executors, [last_s + 3] * executors)
        place.stop()
    counters = _counters(place)
    pairs = zip(counters["joined"], counters["reached"], strict=True)
    return [(began - joined) * 1e3 for joined, began in list(pairs)[_PROMPT:]]


def _make(place: Place, settings: dict[str, str], executors: int, seconds: list[float]) -> None:
    """A makefile of compile lines that take this long."""
    names = [f"t{i}" for i in range(len(seconds))]
    rules = [f"all: {' '.join(names)}", f".PHONY: all {' '.join(names)}"]
    rules += [f"{name}:\n\t@cc -c -DSIMULATED_S={s} -o $@.o $@.c" for name, s in zip(names, seconds, strict=True)]
    (place.workspace / "Makefile").write_text("\n".join(rules) + "\n")
    knobs: dict[str, Any] = {"executors": executors, "wait_for_cluster": 1, "local_slots": 4, "release_delay_s": 600}
    environment = place.env
    place.env = environment | settings
    try:
        place.spraycc("make", **knobs)
    finally:
        place.env = environment


def _counters(place: Place) -> dict[str, Any]:
    directory = place.root / "farm"
    found: dict[str, Any] = json.loads((directory / simulated_executors.COUNTERS).read_text())
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    return found
