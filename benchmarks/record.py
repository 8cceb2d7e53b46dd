"""*record*: how long the event loop takes for one task's line in the build's record, and how large the line is."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Place, spread
from spraycc.commands.describe import describe
from spraycc.model import BuildId, Command, ExecutorId, TaskId, Usage
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.log import Record
from spraycc.server.tasks.task import Phase, Task

#: Words of a usual compile: 20 include directories and 10 macros, 1,000 characters.
_OPTIONS = (
    b"-O2", b"-g", b"-Wall", b"-fPIC", *(b"-I../project/some/module%d/include" % n for n in range(20)),
    *(b"-DFEATURE_NUMBER_%d=1" % n for n in range(10)),
)  # fmt: skip


def record(place: Place) -> dict[str, Any]:
    """Task after task of a remote compile, with the writes and with the times that the server takes for the record."""
    count = 1000 if place.quick else 20_000
    began = time.monotonic()
    file = Record(place.root, {"record": 2, "build": "bench", "began": time.time()}, began)
    here, there = socket.socketpair()
    times = []
    cpu_s = 0.0
    with here, there:
        peer = Peer(here)
        for number in range(count):
            task = _task(number, peer)
            before, cpu_before = time.perf_counter(), time.thread_time()
            task.begin_attempt(ExecutorId("77_12-node0123-4567"))
            task.end_attempt(ExecutorId("77_12-node0123-4567"), "done")
            file.note(task)
            cpu_s += time.thread_time() - cpu_before
            times.append((time.perf_counter() - before) * 1e6)
    file.end(0, 1.0, {})
    (path,) = Path(place.root, "builds").glob("*bench.jsonl")
    size = path.stat().st_size
    path.unlink()
    return {
        "task_us": spread(times),
        # With the writes: they fall on one task in a hundred.
        "mean_us": round(sum(times) / count, 2),
        # Without the times in which another process had the CPU.
        "mean_cpu_us": round(cpu_s * 1e6 / count, 2),
        "bytes_a_task": round(size / count),
        "target_us": 30,
    }


def _task(number: int, peer: Peer) -> Task:
    name = b"module%d/source%d" % (number % 50, number)
    argv = (b"g++", *_OPTIONS, b"-c", name + b".cpp", b"-o", name + b".o")
    command = Command(argv, b"/usr/bin/g++", b"/home/user/project/build", (), 0o022)
    task = Task(
        TaskId(number), BuildId("bench"), command, describe(argv, b"/usr/bin/g++", command.cwd, {}, lambda _: None),
        peer, None, False, usage=Usage(1.25, 0.125, 123_456_789, 1.5), returned_bytes=123_456, status=0,
    )  # fmt: skip
    task.enter(Phase.ANSWERED)
    return task
