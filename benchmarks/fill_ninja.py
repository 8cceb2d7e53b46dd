"""*fill-ninja*: how full a real ninja keeps the executors, in the order of its file and with a log."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.durations import RE2
from benchmarks.farm import farm
from benchmarks.harness import SCRIPTS, Place
from benchmarks.simulated_runners import first_fit_makespan, least_makespan

_OUTPUT_BYTES = 20_000
#: Longer than RE2's own units, so that two cores start all runners beside the simulation and the server.
_FACTOR = 4.0
_CONNECTED_S = 120.0


def fill_ninja(place: Place) -> dict[str, Any]:
    """2,000 units of a C++ project on 400 simulated executors: the Python package's ninja without a log, and with it.

    ninja's commands are shells that start real runners. Each executor waits for its unit's time.
    """
    executors, count, factor = (20, 60, 0.2) if place.quick else (400, 2000, _FACTOR)
    draw = random.Random(executors)
    seconds = [taken * factor * draw.uniform(0.8, 1.2) for taken, _ in draw.choices(RE2, k=count)]
    bound_s = least_makespan(seconds, executors)
    figures: dict[str, Any] = {"executors": executors, "tasks": count, "bound_s": round(bound_s, 3)}
    with farm(place) as settings:
        environment = place.env
        place.env = environment | settings | {"PATH": f"{SCRIPTS}:{environment.get('PATH', os.defpath)}"}
        try:
            _write(place.workspace, seconds[:1])
            _run(place, executors)
            _wait_for_executors(place, executors)
            _write(place.workspace, seconds)
            (place.workspace / ".ninja_log").unlink(missing_ok=True)
            for name, order in (("without_log", seconds), ("with_log", sorted(seconds, reverse=True))):
                makespan_s = _run(place, executors)
                order_s = first_fit_makespan(order, executors)
                figures[name] = {
                    "makespan_s": round(makespan_s, 3),
                    "over_bound": round(makespan_s / bound_s, 4),
                    # without any overhead, in this order
                    "order_over_bound": round(order_s / bound_s, 4),
                    "over_order": round(makespan_s / order_s, 4),
                }
                for path in place.workspace.glob("*.o"):
                    path.unlink()
        finally:
            place.stop()
            place.env = environment
    return figures


def _write(directory: Path, seconds: list[float]) -> None:
    """A build.ninja whose edges take this long on an executor."""
    lines = [f"rule cc\n command = cc -c -DSIMULATED_S=$s -DSIMULATED_BYTES={_OUTPUT_BYTES} -o $out $in"]
    for number, taken in enumerate(seconds):
        (directory / f"u{number}.c").touch()
        lines.append(f"build u{number}.o: cc u{number}.c\n s = {taken:.4f}")
    (directory / "build.ninja").write_text("\n".join(lines) + "\n")


def _run(place: Place, executors: int) -> float:
    """One build. Seconds from the first start of a command to the last end, by ninja's log."""
    began = _log_lines(place.workspace)
    knobs: dict[str, Any] = {"executors": executors, "wait_for_cluster": 1, "local_slots": 4, "release_delay_s": 600}
    place.spraycc("ninja", "--quiet", **knobs)
    times = [tuple(map(int, line.split("\t")[:2])) for line in _log_lines(place.workspace) if line not in began]
    return (max(end for _, end in times) - min(start for start, _ in times)) / 1e3


def _log_lines(directory: Path) -> set[str]:
    try:
        text = (directory / ".ninja_log").read_text()
    except FileNotFoundError:
        return set()
    return {line for line in text.splitlines() if not line.startswith("#")}


def _wait_for_executors(place: Place, count: int) -> None:
    deadline = time.monotonic() + _CONNECTED_S
    while len(place.status()["executors"]) < count:
        assert time.monotonic() < deadline, "the executors don't connect"
        time.sleep(0.2)
