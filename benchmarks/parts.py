"""The parts of the suite. Each takes a :class:`~benchmarks.harness.Place` and returns its figures as a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cluster import on_grid_engine, on_slurm
from benchmarks.coherence import coherence
from benchmarks.configure import configure
from benchmarks.data import data
from benchmarks.dispatch import dispatch
from benchmarks.executor_start import executor_start
from benchmarks.fill import fill
from benchmarks.fill_ninja import fill_ninja
from benchmarks.harness import Place
from benchmarks.interception import interception
from benchmarks.noop import no_op
from benchmarks.peers_farm import peers_farm
from benchmarks.progress import progress
from benchmarks.record import record
from benchmarks.report import report
from benchmarks.runners import probe, round_trip, runner
from benchmarks.slow_link import slow_link
from benchmarks.submit_host import submit_host
from benchmarks.tokens import tokens
from benchmarks.wall import clean, wall

Part = Callable[[Place], dict[str, Any]]

PARTS: dict[str, Part] = {
    "runner": runner,
    "interception": interception,
    "probe": probe,
    "round-trip": round_trip,
    "dispatch": dispatch,
    "fill": fill,
    "fill-ninja": fill_ninja,
    "data": data,
    "slow-link": slow_link,
    "submit-host": submit_host,
    "peers-farm": peers_farm,
    "coherence": coherence,
    "no-op": no_op,
    "wall": wall,
    "clean": clean,
    "configure": configure,
    "executor-start": executor_start,
    "cluster-slurm": on_slurm,
    "cluster-gridengine": on_grid_engine,
    "tokens": tokens,
    "record": record,
    "report": report,
    "progress": progress,
}
