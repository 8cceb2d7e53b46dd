"""*no-op*: how many tasks a second that do nothing, against HyperQueue and a bare posix_spawn."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import RUNNER, Place, static_true

# HyperQueue's client checks once a second for a job's end, so a last task that waits for all others takes the time.
_SCRIPT = """
import sys, threading, time
from pathlib import Path
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

count, program, directory = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
with LocalCluster(str(directory), WorkerConfig(cores=2)) as cluster:
    client = cluster.client()
    def run(count):
        job, end, ended = Job(directory), directory / f"end-{count}", []
        tasks = [job.program([program], stdout=None, stderr=None) for _ in range(count)]
        job.program(["/usr/bin/touch", str(end)], stdout=None, stderr=None, deps=tasks)
        def watch():
            while not end.exists():
                time.sleep(0.002)
            ended.append(time.perf_counter())
        watcher = threading.Thread(target=watch)
        start = time.perf_counter()
        watcher.start()
        client.wait_for_jobs([client.submit(job)], raise_on_error=True)
        watcher.join()
        return ended[0] - start
    run(50)
    print("seconds", run(count))
"""


def no_op(place: Place) -> dict[str, Any]:
    """2,000 tasks that do nothing on two local executors; the same program under HyperQueue on as many cores."""
    count = 100 if place.quick else 2000
    program = static_true(place.workspace)
    figures: dict[str, Any] = {}
    for capture in ("overlay", "in-place"):
        done = place.inner(
            count, "--width", 8, RUNNER, "--remote", "--", program, executors=2, capture=capture, local_slots=2
        )
        figures[f"spraycc_{capture}_per_s"] = round(count / done["elapsed_s"], 1)
        place.stop()
    figures["hyperqueue_per_s"] = _hyperqueue(place, count, program)
    figures["posix_spawn_per_s"] = round(count / _spawn(count, program), 1)
    return figures | {"tasks": count, "target": "ahead of hyperqueue"}


def _hyperqueue(place: Place, count: int, program: Path) -> float | str:
    if importlib.util.find_spec("hyperqueue") is None:
        return "not installed (pip install hyperqueue)"
    directory = place.root / "hq"
    directory.mkdir()
    words = [sys.executable, "-c", _SCRIPT, str(count), str(program), str(directory)]
    out = subprocess.run(words, env=place.env, capture_output=True, text=True, check=True, cwd=directory).stdout
    return round(count / float(out.rpartition("seconds ")[2]), 1)


def _spawn(count: int, program: Path) -> float:
    start = time.perf_counter()
    for _ in range(count):
        _, status = os.waitpid(os.posix_spawn(program, [str(program)], {}), 0)
        assert status == 0
    return time.perf_counter() - start
