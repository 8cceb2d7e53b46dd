"""Synthetic records of builds, for the tests of all that reads records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spraycc.records.format import DIRECTORY, VERSION

#: Begin of the synthetic builds, seconds since 1970.
BEGAN = 1_700_000_000.0


def lines_of_a_build(
    tasks: int = 100,
    executors: int = 8,
    *,
    hosts: int = 0,
    build: str = "0123abcd",
    began: float = BEGAN,
    argv: str = "make -j100",
    status: int | None = 0,
    finished: bool = True,
) -> list[dict[str, Any]]:
    """The lines of a build: ``tasks - 1`` compiles on ``executors`` executors, then a link on the submit host.

    The executors are on ``hosts`` hosts (0: four executors on each). Every 10th task waits 0.1 s longer in the queue,
    every 50th has an attempt that was killed before the one that counts, and every 33rd runs on the submit host. With a
    ``status`` above 0 the middle task fails with status 1. Nothing is random: the same arguments give the same lines.
    """
    hosts = hosts or -(-executors // 4)
    names = [f"e{number}" for number in range(1, executors + 1)]
    lines: list[dict[str, Any]] = [
        {
            "record": VERSION, "build": build, "argv": argv, "cwd": "/w", "began": began, "host": "submit",
            "release": "1.0", "cluster": "slurm", "executors": executors, "cap": 100, "tool": "make",
            "server": [0, 0],
        }
    ]  # fmt: skip
    for number, name in enumerate(names):
        joined = -5.0 if number % 2 else 0.5
        host = f"node{number * hosts // executors + 1:03}"
        lines.append({"executor": name, "host": host, "batch_job": f"77_{number}", "joined": joined})
    free = [1.0] * executors  # when each executor is free
    here_free = 1.0
    found: list[dict[str, Any]] = []
    for number in range(max(0, tasks - 1)):
        slot = min(range(executors), key=lambda index: free[index])
        run_s = 0.5 + number * 7 % 20 / 10
        here = None
        runs: list[list[Any]] = []
        if number % 33 == 32:
            began_here = max(here_free, free[slot])
            here_free = began_here + run_s
            here, at, ended = [began_here, here_free], began_here - 0.01, here_free
        else:
            at = free[slot] - (0.1 if number % 10 == 0 else 0.002)
            start = free[slot]
            if number % 50 == 49:
                runs.append([names[slot], start, start + 0.2, "killed", False])
                start += 0.21
            ended = round(start + run_s, 4)
            runs.append([names[slot], round(start, 4), ended, "done", False])
            free[slot] = ended + 0.003
        failed = bool(status) and number == tasks // 2
        found.append(
            _task(
                f"d{number % 7}/f{number}.o", f"gcc -O2 -c d{number % 7}/f{number}.c -o d{number % 7}/f{number}.o",
                f"d{number % 7}/f{number}.c", at, ended, runs, here, 1 if failed else None if here else 0,
                run_s,
            )
        )  # fmt: skip
    end = max((task["at"] + task["s"] for task in found), default=1.0)
    if tasks:
        argv_of_link = "gcc -o prog " + " ".join(task["target"] for task in found[-200:])
        link = _task("prog", argv_of_link, "", end + 0.05, end + 1.05, [], [end + 0.06, end + 1.05], None, 1.0)
        found.append({**link, "kind": "link", "placement": "here-heavy", "reason": "link", "why": ""})
        end += 1.05
    found.sort(key=lambda task: float(task["at"]) + float(task["s"]))
    samples = [
        {
            "t": float(second), "running": min(executors, tasks), "here": second % 2, "waiting": max(0, 20 - second),
            "executors": executors, "asked": 0, "tokens": executors + 4,
        }
        for second in range(1, int(end) + 1)
    ]  # fmt: skip
    lines += sorted(
        [*found, *samples], key=lambda line: float(line["t"]) if "t" in line else float(line["at"]) + float(line["s"])
    )
    if finished:
        figures = {"tasks": tasks, "remote": sum(task["ran"] == "remote" for task in found)}
        wall_s = round(end + 0.1, 3)
        lines.append(
            {"ended": wall_s, "status": status, "wall_s": wall_s, "figures": figures, "dropped": 0},
        )
    return lines


def _task(
    target: str,
    argv: str,
    source: str,
    at: float,
    ended: float,
    runs: list[list[Any]],
    here: list[float] | None,
    status: int | None,
    run_s: float,
) -> dict[str, Any]:
    return {
        "target": target, "source": source, "argv": argv, "cwd": "/w", "kind": "compile", "placement": "remote",
        "reason": "compile", "ran": "here" if here else "remote", "why": "no-executor" if here else "",
        "refusals": ["killed by signal 9"] if len(runs) > 1 else [], "attempts": len(runs), "stale": 0,
        "executor": runs[-1][0] if runs else "", "status": status, "s": round(ended - at, 4), "at": round(at, 4),
        "runs": runs, "here": here, "user_s": 0.0 if here else round(run_s * 0.8, 3),
        "system_s": 0.0 if here else round(run_s * 0.1, 3), "rss": 0 if here else 100_000_000,
        "wall_s": 0.0 if here else run_s, "bytes": 0 if here else 40_000,
    }  # fmt: skip


def write_record(state_dir: Path, lines: list[dict[str, Any]]) -> Path:
    """Write the lines as a server would; returns the file."""
    directory = state_dir / DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    header = lines[0]
    end = "" if any("target" in line for line in lines) else "-empty"
    path = directory / f"{int(header['began'] * 1000):015d}-{header['build']}{end}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
