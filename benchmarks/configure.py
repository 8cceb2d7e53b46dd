"""The cost of a configure run under spraycc: hundreds of compiles and links of one line each, one after the other.

They run on the submit host at once, so SprayCC adds only a runner and a request to the server for each. Plain runs and
runs under spraycc alternate, each in a new tree at the same path.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import SPRAYCC, Place, spread, upstream

_LINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "curl (autotools)": ("curl", ("./configure", "--without-ssl", "--without-libpsl", "--disable-manual")),
    "leveldb (cmake)": ("leveldb", ("cmake", "-DLEVELDB_BUILD_TESTS=OFF", "-DLEVELDB_BUILD_BENCHMARKS=OFF", ".")),
}


def configure(place: Place) -> dict[str, Any]:
    """Seconds of each, plain and under spraycc, and the quotient of the medians."""
    figures: dict[str, Any] = {"target_quotient": 1.2}
    lines = list(_LINES.items())
    for name, (package, line) in lines[-1:] if place.quick else lines:
        source = upstream(package, place.root)
        runs: dict[str, list[float]] = {"plain": [], "spraycc": []}
        for _ in range(1 if place.quick else 3):
            for kind, lead in (("plain", ()), ("spraycc", (str(SPRAYCC), "build", "--"))):
                runs[kind].append(_timed(place, source, (*lead, *line)))
        medians = {kind: statistics.median(seconds) for kind, seconds in runs.items()}
        figures[name] = {
            "plain_s": spread(runs["plain"]),
            "spraycc_s": spread(runs["spraycc"]),
            "quotient": round(medians["spraycc"] / medians["plain"], 3),
        }
    return figures


def _timed(place: Place, source: Path, line: Sequence[str]) -> float:
    tree = place.workspace / "tree"
    shutil.copytree(source, tree, symlinks=True)
    os.sync()
    start = time.perf_counter()
    subprocess.run(line, cwd=tree, env=place.env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    elapsed = time.perf_counter() - start
    shutil.rmtree(tree)
    return elapsed
