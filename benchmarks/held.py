"""Runs inside a build in which many tasks are held at once. Prints JSON.

``memory COUNT RUNNER`` starts COUNT runners, waits until the server has all their tasks, and adds up their memory.
``round-trip OTHERS COUNT RUNNER PROGRAM`` keeps OTHERS simulated tasks in flight and times COUNT real tasks.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.inner import spawn
from benchmarks.simulated_runners import Control, Runners

_WAIT_S = 120.0


def count_calls(trace: Path) -> int:
    """The number of system calls in strace's output."""
    return sum(not line.startswith(("+++", "---")) for line in trace.read_text(errors="replace").splitlines())


def _until(control: Control, what: str, count: int) -> None:
    deadline = time.monotonic() + _WAIT_S
    while (found := sum(int(build[what]) for build in control.status()["builds"])) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: {found} of {count}")
        time.sleep(0.1)


def memory(count: int, runner: str) -> dict[str, Any]:
    """The memory of runners that wait, and the system calls of a runner with a result."""
    control = Control()
    calls: int | str = "strace is not installed"
    if strace := shutil.which("strace"):
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory) / "trace"
            subprocess.run([strace, "-o", trace, runner, "--remote", "--", "true"], check=True)
            calls = count_calls(trace)
    before = sum(int(build["tasks"]) for build in control.status()["builds"])
    words = [runner, "--remote", "--", "sleep", "600"]
    children = [os.posix_spawn(runner, words, os.environ) for _ in range(count)]
    _until(control, "tasks", before + count)
    sizes = {"Pss": 0, "Rss": 0}
    for pid in children:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name = line.partition(":")[0]
            if name in sizes:
                sizes[name] += int(line.split()[1])
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"pss_kib": sizes["Pss"], "rss_kib_each": round(sizes["Rss"] / count, 1), "system_calls": calls}


def round_trip(others: int, count: int, runner: str, program: str) -> dict[str, Any]:
    """Milliseconds of real tasks while others are in flight; one executor of the farm is real."""
    control = Control()
    with tempfile.TemporaryDirectory() as directory:
        # One task for each executor. A task on the real executor fails at once, because its source does not exist, and
        # leaves the executor free. It may get several before all others are connected.
        plan = {"directory": directory, "tasks": [], "in_flight": 0, "probe_s": 0, "empty": True}
        runners = Runners(plan)
        runners.send_tasks(others + 1, 3600.0)
        control.wait_for_executors(others + 1)
        deadline = time.monotonic() + _WAIT_S
        while missing := others - runners.still_open():
            if time.monotonic() > deadline:
                raise SystemExit(f"tasks held: {others - missing} of {others}")
            if missing > 0:
                runners.send_tasks(missing + 1, 3600.0)
            time.sleep(0.3)
        words, env = [runner, "--remote", "--", program], dict(os.environ)
        for _ in range(20):
            spawn(words, env)
        times = [spawn(words, env) for _ in range(count)]
        return {"ms": times, "held_to_the_end": runners.still_open()}


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "memory":
        print(json.dumps(memory(int(words[0]), words[1])))
    else:
        print(json.dumps(round_trip(int(words[0]), int(words[1]), words[2], words[3])))


if __name__ == "__main__":
    main()
