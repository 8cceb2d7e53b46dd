"""The footprint of a build on the submit host: processes and memory, sampled while it runs, and its CPU time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.simulated_runners import cpu_s

#: Seconds between two counts of the processes, and between two sums of their memory (a sum costs 0.1 ms a process).
COUNT_EVERY_S, SUM_EVERY_S = 0.5, 2.0


@dataclass(frozen=True)
class Footprint:
    """A build's use of the submit host."""

    elapsed_s: float
    #: user and system seconds: the build tool with all its processes, and the daemons
    cpu_s: float
    #: the largest number of processes at once, daemons included
    processes: int
    #: the largest sum of their proportional set sizes
    pss_kib: int


def measure(
    words: Sequence[str], daemons: Iterable[int], *, env: Mapping[str, str], cwd: Path, log: Path, limit_s: float
) -> Footprint:
    """Run a build, which must succeed.

    Args:
        words: the build tool; its processes and all processes below them belong to the submit host.
        daemons: further processes of the submit host, without the processes below them.
        log: gets the build's output.
        limit_s: seconds after which the build is ended.

    Raises:
        subprocess.CalledProcessError: the build failed; its output ends with the log's last lines.
        subprocess.TimeoutExpired: the build took too long.
    """
    daemons = list(daemons)
    before = sum(map(cpu_s, daemons))
    start = time.perf_counter()
    with log.open("wb") as output, subprocess.Popen(
        words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    ) as process:  # fmt: skip
        sampler = _Sampler(process.pid, daemons)
        timer = threading.Timer(limit_s, os.killpg, (process.pid, 15))
        timer.start()
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        elapsed_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        sampler.stop()
    if elapsed_s > limit_s:
        raise subprocess.TimeoutExpired(words, limit_s)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words, stderr=log.read_text(errors="replace")[-2000:])
    used = usage.ru_utime + usage.ru_stime + sum(map(cpu_s, daemons)) - before
    return Footprint(elapsed_s, used, sampler.processes, sampler.pss_kib)


class _Sampler(threading.Thread):
    """Counts the processes below a process."""

    def __init__(self, root: int, daemons: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.processes = 0
        self.pss_kib = 0
        self._root = root
        self._daemons = daemons
        self._end = threading.Event()

    def run(self) -> None:
        summed = 0.0
        while not self._end.wait(COUNT_EVERY_S):
            found = [*self._daemons, *below(self._root)]
            self.processes = max(self.processes, len(found))
            if time.monotonic() - summed > SUM_EVERY_S:
                self.pss_kib = max(self.pss_kib, sum(map(pss_kib, found)))
                summed = time.monotonic()

    def stop(self) -> None:
        self._end.set()
        self.join()


def below(pid: int) -> list[int]:
    """A process and all processes below it; a process may end meanwhile."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{found[-1]}/task"):
                with open(f"/proc/{found[-1]}/task/{thread}/children", "rb") as file:
                    waiting += map(int, file.read().split())
    return found


def pss_kib(pid: int) -> int:
    """The proportional set size of a process; 0 if the process has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1])
    return 0


def machine_cpu_s() -> float:
    """User and system seconds of the whole machine since its start."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def as_figures(footprint: Footprint, units: int, bound_s: float, machine_s: float) -> dict[str, Any]:
    """A run's figures. ``machine_s`` are the CPU seconds of the whole machine in the run."""
    return {
        "elapsed_s": round(footprint.elapsed_s, 2),
        "over_bound": round(footprint.elapsed_s / bound_s, 3),
        "cpu_ms": round(footprint.cpu_s * 1e3 / units, 2),
        "machine_cpu_ms": round(machine_s * 1e3 / units, 2),
        "pss_mib": round(footprint.pss_kib / 1024, 1),
        "processes": footprint.processes,
    }
