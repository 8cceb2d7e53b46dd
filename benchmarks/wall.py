"""*wall*, *clean*: the user's time for whole builds: plain make, SprayCC warm and cold, distcc, icecream."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.harness import SPRAYCC, Place, spread
from benchmarks.peers import Missing, distcc, icecream
from benchmarks.projects import Project, lua, re2


def wall(place: Place) -> dict[str, Any]:
    """lua and RE2: make -j2, SprayCC -j2 and the peers, in turn.

    SprayCC as a newcomer has it (this host runs the commands), warm and cold, and on two executors of this machine.
    """
    c_project = lua(place)
    if place.quick:
        c_project = replace(c_project, targets=("lapi.o", "lcode.o", "ldo.o"))
    return {
        "lua": _measure(place, c_project, 1 if place.quick else 5, peers=not place.quick),
        **({} if place.quick else {"re2": _measure(place, re2(place), 5, peers=True)}),
        "targets": {"warm_over_plain": 1.03, "cold_minus_plain_s": 0.35, "executors_over_plain": 1.05},
    }


def _measure(place: Place, project: Project, runs: int, *, peers: bool) -> dict[str, Any]:
    spraycc = [str(SPRAYCC), *project.make("-j2")]
    on_executors = place.env | {"SPRAYCC_EXECUTORS": "2"}
    ours = _newcomer(place)
    plain, warm, cold, executors = [], [], [], []
    others: dict[str, list[float]] = {}
    why_not: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        running: dict[str, Mapping[str, str]] = {}
        for name, peer in (("distcc", distcc), ("icecream", icecream)) if peers else ():
            try:
                running[name] = stack.enter_context(peer(place))
            except Missing as exc:
                why_not[name] = str(exc)
        for env in running.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                _timed(project, _by_wrapper(project, env), env)  # icecream makes and sends the compiler's tarball
        for _ in range(runs):
            place.stop()
            cold.append(_timed(project, spraycc, ours))
            plain.append(_timed(project, project.make("-j2"), place.env))
            warm.append(_timed(project, spraycc, ours))
            _timed(project, spraycc, on_executors)  # starts the executors
            executors.append(_timed(project, spraycc, on_executors))
            for name, env in running.items():
                try:
                    others.setdefault(name, []).append(_timed(project, _by_wrapper(project, env), env))
                except subprocess.CalledProcessError as exc:
                    why_not[name] = f"make: status {exc.returncode}"
    place.stop()
    figures: dict[str, Any] = {
        "plain_s": spread(plain),
        "warm_s": spread(warm),
        "cold_s": spread(cold),
        "executors_s": spread(executors),
        "warm_over_plain": round(statistics.median(w / p for w, p in zip(warm, plain, strict=True)), 3),
        "executors_over_plain": round(statistics.median(e / p for e, p in zip(executors, plain, strict=True)), 3),
        "cold_minus_plain_s": round(statistics.median(c - p for c, p in zip(cold, plain, strict=True)), 3),
    }
    for name, times in others.items():
        ratio = statistics.median(t / p for t, p in zip(times, plain, strict=False))
        figures[name] = {"s": spread(times), "over_plain": round(ratio, 3)}
    return figures | why_not


def _newcomer(place: Place) -> dict[str, str]:
    """The environment without any setting: reading settings takes a command line 40 ms more."""
    return {name: value for name, value in place.env.items() if name != "SPRAYCC_CAPTURE"}


def _by_wrapper(project: Project, env: Mapping[str, str]) -> list[str]:
    variable, compiler = project.compiler
    return project.make("-j2", f"{variable}={env['WRAPPER']} {compiler}")


def _timed(project: Project, words: list[str], env: Mapping[str, str]) -> float:
    project.clean(env)
    start = time.perf_counter()
    subprocess.run(
        words, cwd=project.directory, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def clean(place: Place) -> dict[str, Any]:
    """``make clean`` with no server running, through spraycc as a newcomer has it, and plainly."""
    place.env = _newcomer(place)
    (place.workspace / "Makefile").write_text("clean:\n\trm -f x.o\n")
    plain, through = [], []
    for _ in range(2 if place.quick else 10):
        place.stop()
        start = time.perf_counter()
        place.spraycc("make", "clean")
        through.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        subprocess.run(["make", "clean"], cwd=place.workspace, check=True, stdout=subprocess.DEVNULL)
        plain.append((time.perf_counter() - start) * 1e3)
    return {"spraycc_ms": spread(through), "plain_ms": spread(plain), "target_ms": 400}
