"""``python -m benchmarks [PART ...] [--quick] [--runs N] [--json FILE]``: run parts of the suite and print figures."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spraycc
from benchmarks.harness import machine, place
from benchmarks.parts import PARTS


def median_of(runs: Sequence[Any]) -> Any:
    """One part's figures of several runs as one: the median of each number, and all else as in the first run."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: median_of([run[key] for run in runs if isinstance(run, dict) and key in run]) for key in first}
    if all(isinstance(run, (int, float)) and not isinstance(run, bool) for run in runs):
        return statistics.median(runs)
    return first


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What SprayCC costs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="few runs, to see that every part works; quote none of it")
    parser.add_argument("--runs", type=int, default=1, help="take the medians of this many runs of each part")
    parser.add_argument("--dir", type=Path, default="/var/tmp", help="where all files of the runs are")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    # SIGTERM takes down the started servers and daemons, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: at least 1")
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    result = {
        "release": spraycc.__version__,
        "machine": machine(),
        "quick": arguments.quick,
        "directory": str(arguments.dir),
        "at": time.strftime("%Y-%m-%d"),
        "parts": {},
    }
    failed = 0
    for name in arguments.parts or PARTS:
        began = time.monotonic()
        try:
            runs = []
            for _ in range(arguments.runs):
                with place(arguments.quick, arguments.dir) as here:
                    runs.append(PARTS[name](here))
            figures = median_of(runs) | ({"runs_of_the_part": len(runs)} if len(runs) > 1 else {})
        except Exception as exc:  # the figures of the other parts are valid
            traceback.print_exc()
            figures = {"failed": f"{type(exc).__name__}: {exc}"[:500]}
            failed += 1
        result["parts"][name] = figures | {"took_s": round(time.monotonic() - began, 1)}
        print(f"{name}: {json.dumps(result['parts'][name])}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
