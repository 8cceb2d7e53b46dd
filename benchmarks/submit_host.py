"""*submit-host*: user and system seconds of the submit host for a unit, against distcc and icecream."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import inner
from benchmarks.harness import Place
from benchmarks.peers import Missing, distcc, distcc_pump, icecream
from benchmarks.projects import Project, lua, re2


def submit_host(place: Place) -> dict[str, Any]:
    """The units of lua (C) and of RE2 (C++ -O3 -g), two at a time, all daemons and executors on this machine."""
    figures: dict[str, Any] = {}
    for make_project in (lua, re2):
        project = make_project(place)
        project.make_directories()
        lines = project.compile_lines()
        figures[project.name] = _measure(place, project, lines[-2:] if place.quick else lines)
    return figures | {"target": "SprayCC 2.2 ms (C), 3.5 ms (C++), and on C++ a twentieth of distcc's"}


def _measure(place: Place, project: Project, lines: list[list[str]]) -> dict[str, Any]:
    commands = place.root / "commands.json"
    figures: dict[str, Any] = {"units": len(lines)}
    project.make_directories()
    commands.write_text(json.dumps(lines))
    plain = _run(place.env, project.directory, commands)
    figures["plain_cpu_ms"] = round(plain["cpu_ms_each"], 1)
    figures["spraycc"] = _spraycc(place, project, lines, 1 if place.quick else 5)
    peers: dict[str, Callable[[], dict[str, Any]]] = {
        "distcc": lambda: _distcc(place, project, lines, ""),
        "distcc lzo": lambda: _distcc(place, project, lines, ",lzo"),
        "distcc pump": lambda: _pump(place, project, lines),
        "icecream": lambda: _icecream(place, project, lines),
    }
    if place.quick:
        peers = {"distcc": peers["distcc"]}  # icecream takes half a minute to start
    for name, measure in peers.items():
        figures[name] = _or_why_not(measure)
    for name in ("distcc", "icecream"):
        if isinstance(figures.get(name), dict):
            ratio = figures[name]["cpu_ms"] / figures["spraycc"]["cpu_ms"]
            figures[f"{name}_over_spraycc"] = round(ratio, 1)
    place.stop()
    return figures


def _or_why_not(measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    try:
        return measure()
    except (Missing, OSError) as exc:
        return str(exc)
    except subprocess.CalledProcessError as exc:
        return f"failed: {(exc.stderr or '').strip()[-200:]}"


def _spraycc(place: Place, project: Project, lines: list[list[str]], runs: int) -> dict[str, Any]:
    """The units in a build of their own, several times. Each figure includes opening and closing."""
    commands = place.root / "commands.json"
    commands.write_text(json.dumps(lines[:4]))
    place.inner("--commands", commands, directory=project.directory, executors=2)  # warm
    commands.write_text(json.dumps(lines))
    question_s = statistics.median([-_cpu_s(place) + _cpu_s(place) for _ in range(5)])

    def build_s(run: Callable[[], object]) -> float:
        before = _cpu_s(place)
        run()
        return _cpu_s(place) - before - question_s

    empty_s = [build_s(lambda: place.spraycc("build", "--", "true", executors=2)) for _ in range(5)]
    done: list[dict[str, float]] = []
    # Its first line runs twice.
    server_ms = [
        build_s(lambda: done.append(place.inner("--commands", commands, directory=project.directory, executors=2)))
        / (len(lines) + 1)
        * 1e3
        for _ in range(runs)
    ]
    totals = [run["cpu_ms_each"] + server for run, server in zip(done, server_ms, strict=True)]
    return {
        "runs": runs,
        "cpu_ms": round(statistics.median(totals), 2),
        "runner_ms": round(statistics.median(run["cpu_ms_each"] for run in done), 2),
        "server_ms": round(statistics.median(server_ms), 2),
        "empty_build_ms": round(statistics.median(empty_s) * 1e3, 2),
        "elapsed_s": round(statistics.median(run["elapsed_s"] for run in done), 2),
    }


def _cpu_s(place: Place) -> float:
    return float(place.status()["server"]["cpu_s"])


def _run(env: Mapping[str, str], directory: Path, commands: Path) -> dict[str, float]:
    words = [sys.executable, inner.__file__, "--commands", str(commands)]
    out = subprocess.run(words, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]


def _wrapped(place: Place, env: Mapping[str, str], project: Project, lines: list[list[str]]) -> dict[str, float]:
    commands = place.root / "commands.json"
    commands.write_text(json.dumps([[env["WRAPPER"], *words] for words in lines]))
    return _run(env, project.directory, commands)


def _figures(run: Mapping[str, float], daemon_s: float, units: int) -> dict[str, Any]:
    return {
        "cpu_ms": round(run["cpu_ms_each"] + daemon_s * 1e3 / units, 2),
        "elapsed_s": round(run["elapsed_s"], 2),
    }


def _distcc(place: Place, project: Project, lines: list[list[str]], options: str) -> dict[str, Any]:
    with distcc(place, options) as env:
        return _figures(_wrapped(place, env, project, lines), 0.0, len(lines))


def _pump(place: Place, project: Project, lines: list[list[str]]) -> dict[str, Any]:
    with distcc_pump(place, project.directory) as (env, used):
        run = _wrapped(place, env, project, lines)
    return _figures(run, used[0], len(lines) + 1)


def _icecream(place: Place, project: Project, lines: list[list[str]]) -> dict[str, Any]:
    with icecream(place) as env:
        _wrapped(place, env, project, lines[:1])  # the compiler's tarball is made and sent
        return _figures(_wrapped(place, env, project, lines), 0.0, len(lines))
