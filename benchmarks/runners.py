"""*runner* and *probe*: the cost of the process in place of a compiler, and of a line that runs on the submit host."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import held
from benchmarks.harness import RUNNER, Place, spread, static_true, timed_spawn


def runner(place: Place) -> dict[str, Any]:
    """As a shim without a server: cost over a bare exec of a static program. Memory of many that wait. System calls."""
    program = static_true(place.root)
    shims = place.root / "shims"
    shims.mkdir()
    (shims / "true").symlink_to(RUNNER)
    env = {"PATH": f"{shims}:{place.root}", "HOME": "/"}
    bare, through = [], []
    for _ in range(50 if place.quick else 1000):
        bare.append(timed_spawn([program], env))
        through.append(timed_spawn([shims / "true"], env))
    count = 20 if place.quick else 1000
    waiting = place.script(held.__file__, "memory", str(count), str(RUNNER), executors=1, capture="overlay")
    return {
        "bare_ms": spread(bare),
        "shim_ms": spread(through),
        "over_bare_ms": round(statistics.median(through) - statistics.median(bare), 4),
        "system_calls_without_server": _system_calls(place, [str(shims / "true")], env),
        "system_calls_of_a_task": waiting["system_calls"],
        "held": count,
        "held_pss_kib": waiting["pss_kib"],
        "held_rss_kib_each": waiting["rss_kib_each"],
        "targets": {"over_bare_ms": 0.5, "held_pss_kib": 300 * 1024},
    }


def _system_calls(place: Place, words: list[str], env: dict[str, str]) -> int | str:
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    trace = place.root / "trace"
    subprocess.run([strace, "-o", trace, *words], env=env, check=True, stderr=subprocess.DEVNULL)
    return held.count_calls(trace)


def probe(place: Place) -> dict[str, Any]:
    """A query for a compiler's version, by its shim in a build and plainly. The compiler is a static program."""
    directory = place.root / "bin"
    directory.mkdir()
    compiler = static_true(place.root).rename(directory / "gcc")
    place.env["PATH"] = f"{directory}:{os.environ['PATH']}"
    count = 50 if place.quick else 1000
    through = place.inner(count, "gcc", "--version", executors=1)["ms"]
    plain = [timed_spawn([compiler, "--version"]) for _ in range(count)]
    over = statistics.median(through) - statistics.median(plain)
    return {"plain_ms": spread(plain), "probe_ms": spread(through), "over_plain_ms": round(over, 3), "target_ms": 1.5}


def round_trip(place: Place) -> dict[str, Any]:
    """A task that does nothing, from its runner's start to its end: alone, and with 400 others in flight."""
    program = static_true(place.workspace)
    count = 50 if place.quick else 500
    figures: dict[str, Any] = {}
    for capture in ("overlay", "in-place"):
        idle = place.inner(count, RUNNER, "--remote", "--", program, executors=1, capture=capture)
        figures[capture] = {"ms": spread(idle["ms"]), "runner_cpu_ms": round(idle["cpu_ms_each"], 3)}
        place.stop()
    figures["overlay, 400 in flight"] = spread(_with_others(place, 20 if place.quick else 400, count, program))
    return figures | {"targets": {"overlay, median": 3.5, "400 in flight, p99": 30.0}}


def _with_others(place: Place, others: int, count: int, program: Path) -> list[float]:
    from benchmarks import farm

    with farm.farm(place, real=1) as settings:
        place.env |= settings
        done = place.script(
            held.__file__, "round-trip", str(others), str(count), str(RUNNER), str(program), executors=others + 1,
            wait_for_cluster=1, local_slots=1, capture="overlay", release_delay_s=600,
        )  # fmt: skip
        place.stop()
    # A late task gets a second attempt on the real executor, and fails there; a longer run has more of them. Nobody
    # uses the figures of a quick run, so a busy machine may lose most of its tasks.
    least = 0.3 if place.quick else 0.9
    assert done["held_to_the_end"] >= least * others, done["held_to_the_end"]
    return done["ms"]  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit("a part of the suite: python -m benchmarks runner")
