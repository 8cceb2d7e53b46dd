"""The headline: 200 compiles of 0.2 s as 200 batch jobs, as one array, and through SprayCC, on the same slots.

Starts a Slurm and (as root) a Grid Engine on this machine, as the tests do. Both are set to schedule as often as they
can: Slurm at every submission and end, Grid Engine each second (its default is 15). Times are from the first submit
command to the last finished object. SprayCC begins with no server and no executor.

A cluster has more CPUs than this machine. So a compile sleeps for most of its 0.2 s, as if another host's CPU worked
for it, and gcc itself takes the rest on this machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Place, spread

COMPILES = 200
COMPILE_S = 0.2
#: Two CPUs can still run the part of gcc itself at this many slots.
SLOTS = 8
_GIVE_UP_S = 300.0

#: The script in place of gcc.
_GCC = """#!/bin/sh
case " $* " in *" -c "*) sleep {wait_s} ;; esac
exec /usr/bin/gcc "$@"
"""
_MAKEFILE = """objects := $(patsubst %.c,%.o,$(wildcard u*.c))
all: $(objects)
%.o: %.c
\t@gcc -O2 -c -o $@ $<
"""


def on_slurm(place: Place) -> dict[str, Any]:
    """On a real Slurm on this machine."""
    return _cluster(place, "Slurm")


def on_grid_engine(place: Place) -> dict[str, Any]:
    """On a real Grid Engine on this machine; its daemons need root."""
    return _cluster(place, "GridEngine")


def _cluster(place: Place, name: str) -> dict[str, Any]:
    from tests.system.cluster import managers

    manager = getattr(managers, name)
    if absent := [name for name in manager.PROGRAMS if shutil.which(name, path=managers.PATH) is None]:
        return {"left out": f"not installed: {' '.join(absent)}"}
    if name == "GridEngine" and os.geteuid() != 0:
        return {"left out": "needs to be root"}
    compiles = 20 if place.quick else COMPILES
    figures = {"compiles": compiles, "compile_s": COMPILE_S, "slots": SLOTS, "ideal_s": compiles * COMPILE_S / SLOTS}
    return figures | _measured(manager, compiles, 1 if place.quick else 3)


def _measured(manager_class: Any, compiles: int, runs: int) -> dict[str, Any]:
    from tests.system.harness.sandbox import Account, Sandbox

    manager = manager_class(Account.unprivileged(), slots=SLOTS)
    try:
        manager.start()
        sandbox = Sandbox(manager.account)
        try:
            sandbox.settings |= manager.settings()
            gcc_s = _write_project(sandbox, compiles)
            ways = {
                "batch_jobs_s": lambda: _as_batch_jobs(manager, sandbox, compiles),
                "array_s": lambda: _as_array(manager, sandbox, compiles),
                "spraycc_s": lambda: _through_spraycc(sandbox, compiles),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(runs):
                for name, way in ways.items():
                    times[name].append(_timed(sandbox, manager, way))
        finally:
            sandbox.stop()
            sandbox.close()
    finally:
        manager.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {name: spread(values) for name, values in times.items()} | {
        "gcc_s": round(gcc_s, 4),
        "batch_jobs_over_spraycc": round(medians["batch_jobs_s"] / medians["spraycc_s"], 1),
        "array_over_spraycc": round(medians["array_s"] / medians["spraycc_s"], 1),
    }


def _timed(sandbox: Any, manager: Any, way: Callable[[], float]) -> float:
    for path in sandbox.workspace.glob("u*.o*"):
        path.unlink()
    sandbox.stop()
    end = time.monotonic() + 60
    while manager.listed() and time.monotonic() < end:
        time.sleep(0.1)
    elapsed = way()
    made = list(sandbox.workspace.glob("u*.o"))
    assert len({path.stat().st_size for path in made}) == 1, "an object is not whole"
    return elapsed


def _as_batch_jobs(manager: Any, sandbox: Any, compiles: int) -> float:
    with _until_all_are_there(sandbox, compiles) as elapsed:
        for number in range(1, compiles + 1):
            _submit(manager, sandbox, [], str(number))
    return elapsed[0]


def _as_array(manager: Any, sandbox: Any, compiles: int) -> float:
    slurm = "SPRAYCC_CLUSTER" in manager.settings() and manager.settings()["SPRAYCC_CLUSTER"] == "slurm"
    words = [f"--array=1-{compiles}"] if slurm else ["-t", f"1-{compiles}"]
    with _until_all_are_there(sandbox, compiles) as elapsed:
        _submit(manager, sandbox, words, "$SLURM_ARRAY_TASK_ID" if slurm else "$SGE_TASK_ID")
    return elapsed[0]


def _submit(manager: Any, sandbox: Any, words: list[str], number: str) -> None:
    """One submission of one compile, or of an array of compiles, as a user would write it in a line of shell."""
    compiler = sandbox.aside / "bin" / "gcc"
    script = (
        f"#!/bin/sh\ncd {sandbox.workspace} && {compiler} -O2 -c -o u{number}.o.part u{number}.c && "
        f"mv u{number}.o.part u{number}.o\n"
    )
    slurm = manager.settings()["SPRAYCC_CLUSTER"] == "slurm"
    quiet = ["--quiet", "--output=/dev/null"] if slurm else ["-terse", "-o", "/dev/null", "-j", "y", "-S", "/bin/sh"]
    argv = manager.account.command(["sbatch" if slurm else "qsub", *quiet, *words])
    done = subprocess.run(
        argv, input=script, env=manager.environment(), cwd="/", text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr}")


def _through_spraycc(sandbox: Any, compiles: int) -> float:
    with _until_all_are_there(sandbox, compiles) as elapsed:
        done = sandbox.build("make", f"-j{compiles}", options=["--wait-for-cluster"], executors=SLOTS).ok()
    assert done.figures["remote"] == compiles, done.words()
    return elapsed[0]


@contextlib.contextmanager
def _until_all_are_there(sandbox: Any, compiles: int) -> Iterator[list[float]]:
    elapsed = [0.0]
    began = time.perf_counter()
    yield elapsed
    while len([name for name in os.listdir(sandbox.workspace) if name.endswith(".o")]) < compiles:
        if time.perf_counter() - began > _GIVE_UP_S:
            raise RuntimeError(f"after {_GIVE_UP_S} s objects are still missing")
        time.sleep(0.02)
    elapsed[0] = time.perf_counter() - began


def _write_project(sandbox: Any, compiles: int) -> float:
    """Write the project and its compiler; the seconds that the real gcc takes for each unit."""
    files = {f"u{number}.c": _source() for number in range(1, compiles + 1)}
    sandbox.write({**files, "Makefile": _MAKEFILE})
    gcc_s = _compile_s(sandbox.workspace / "u1.c")
    script = _GCC.format(wait_s=round(max(0.0, COMPILE_S - gcc_s), 3))
    directory = sandbox.aside / "bin"
    sandbox.write({"gcc": script}, directory, mode=0o755)
    sandbox.path_front.append(directory)
    return gcc_s


def _source() -> str:
    body = "  for (i = 0; i < n; i++) { s += a[i] * (%d + i) %% 7; if (s & 4) s ^= a[n - i - 1] << 3; }\n"
    one = "int f%d(int n, const int *a) {\n  int i, s = 0;\n" + body + "  return s;\n}\n"
    return "".join(one % (number, number) for number in range(4))


def _compile_s(source: Path) -> float:
    """Seconds that gcc takes for the source; the best of five runs."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(["/usr/bin/gcc", "-O2", "-c", "-o", "/dev/null", source], check=True)
        times.append(time.perf_counter() - began)
    return min(times)
