"""*interception*: what the library that intercepts executions costs a program that is not wrapped."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from benchmarks.harness import RUNNER, Place, spread
from spraycc.commands.interception import LIBRARY_NAME, configuration, variables

#: Executes the program again and again, and prints the milliseconds of each.
_LOOP = """
import json, sys
from benchmarks.harness import timed_spawn
print(json.dumps([timed_spawn([sys.argv[1]]) for _ in range(int(sys.argv[2]))]))
"""
_PROGRAM = "/bin/true"


def interception(place: Place) -> dict[str, Any]:
    """An execution of a dynamic program by a process with the library, and by one without, in turn."""
    library = Path(sysconfig.get_path("data"), "lib", "spraycc", LIBRARY_NAME)
    file = place.root / "intercept"
    file.write_bytes(configuration(runner=bytes(RUNNER), library=bytes(library), workspace=bytes(place.workspace)))
    plain = {**place.env, "SPRAYCC_SOCKET": "/nowhere", "SPRAYCC_BUILD": "b"}
    ours = variables({}, bytes(library), bytes(file))
    intercepted = plain | {os.fsdecode(name): os.fsdecode(value) for name, value in ours.items()}
    without: list[float] = []
    through: list[float] = []
    for _ in range(2 if place.quick else 10):
        without += _executions(plain, 20 if place.quick else 200)
        through += _executions(intercepted, 20 if place.quick else 200)
    medians = statistics.median(without), statistics.median(through)
    return {
        "without_ms": spread(without),
        "with_ms": spread(through),
        "over_plain_ms": round(medians[1] - medians[0], 4),
        "ratio": round(medians[1] / medians[0], 3),
        "target_ms": 0.1,
    }


def _executions(env: dict[str, str], count: int) -> list[float]:
    command = [sys.executable, "-c", _LOOP, _PROGRAM, str(count)]
    done = subprocess.run(command, env=env, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    times: list[float] = json.loads(done.stdout)
    return times
