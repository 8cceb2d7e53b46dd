"""Runs inside a build, between spraycc and its shims, and times commands. Prints JSON.

``inner.py COUNT [--width N] WORD...`` runs the command COUNT times: one after the other, each timed; with a width, N
at a time, and all of them timed together. ``inner.py --commands FILE`` runs the command lines of a JSON file, two at a
time, after one run of the first, in the working directory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time


def spawn(words: list[str], env: dict[str, str]) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    _check(words, os.waitpid(os.posix_spawnp(words[0], words, env), 0)[1])
    return (time.perf_counter() - start) * 1e3


def spawn_many(lines: list[list[str]], width: int, env: dict[str, str]) -> float:
    """Seconds of all lines, ``width`` at a time."""
    start = time.perf_counter()
    running: dict[int, list[str]] = {}
    waiting = list(reversed(lines))
    while running or waiting:
        while waiting and len(running) < width:
            words = waiting.pop()
            running[os.posix_spawnp(words[0], words, env)] = words
        pid, status = os.wait()
        if pid in running:  # else a child that an ended process has left
            _check(running.pop(pid), status)
    return time.perf_counter() - start


def _check(words: list[str], status: int) -> None:
    if status:
        raise SystemExit(f"{words}: wait status {status:#x}")


def children_cpu_s() -> float:
    """User and system seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_commands(lines: list[list[str]], width: int, env: dict[str, str]) -> dict[str, float]:
    """Seconds of all lines together, and the mean CPU time of a line on this host."""
    before = children_cpu_s()
    elapsed_s = spawn_many(lines, width, env)
    return {"elapsed_s": elapsed_s, "cpu_ms_each": (children_cpu_s() - before) * 1e3 / len(lines)}


def main() -> None:
    env = dict(os.environ)
    if sys.argv[1] == "--commands":
        with open(sys.argv[2]) as file:
            lines = json.load(file)
        spawn_many(lines[:1], 1, env)
        print(json.dumps(run_commands(lines, 2, env)))
        return
    count, words = int(sys.argv[1]), sys.argv[2:]
    if words[0] == "--width":
        width, words = int(words[1]), words[2:]
        spawn_many([words] * max(3, count // 20), width, env)
        print(json.dumps(run_commands([words] * count, width, env)))
        return
    warm_up = [spawn(words, env) for _ in range(max(3, count // 20))]
    before = children_cpu_s()
    times = [spawn(words, env) for _ in range(count)]
    cpu_s = children_cpu_s() - before
    print(json.dumps({"ms": times, "warm_up_ms": warm_up, "cpu_ms_each": cpu_s * 1e3 / count}))


if __name__ == "__main__":
    main()
