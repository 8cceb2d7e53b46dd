"""*peers-farm*: the same 2,000 units on 50, 200 and 400 slots by SprayCC, distcc, icecream and nocc.

``python -m benchmarks.peers_farm [--tool NAME] [--slots N] [--rounds N] --json FILE`` measures some of it, and replaces
only those figures in FILE. ``python -m benchmarks.peers_chart FILE SVG`` draws the picture.

The compiler waits (:mod:`benchmarks.waiting_farm`), so the hosts of the farm cost this machine little. Sources,
preprocessor, clients, daemons, links and objects are real. Footprints are those of the submit host: the processes
below the build tool and the tool's own daemons there, without daemons and executors of the farm.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import spraycc
from benchmarks import simulated_executors
from benchmarks.footprint import as_figures, machine_cpu_s, measure
from benchmarks.harness import RUNNER, SPRAYCC, Place, machine, place
from benchmarks.peers import Hosts, Missing, distcc, icecream, nocc
from benchmarks.recorded_units import Unit, drawn
from benchmarks.simulated_runners import first_fit_makespan, least_makespan
from benchmarks.waiting_farm import WaitingFarm, waiting_farm

NAME = "peers-farm"
UNITS = 2000
SLOTS = (50, 200, 400)
#: The recorded times are multiplied by this. A run on 200 slots takes some 20 s.
SCALE = 0.6
#: This machine's memory holds this many real executors; more are simulated.
REAL_EXECUTORS = 200
_READY_S = 300.0
_LIMIT_S = 240.0


@dataclass(frozen=True)
class Ready:
    """A tool that is ready for a build."""

    env: dict[str, str]
    #: the makefile's variable CXX
    compiler: str
    #: daemons of the submit host
    daemons: Sequence[int]
    #: words before make
    prefix: Sequence[str] = ()
    #: further figures of the run
    notes: dict[str, Any] = field(default_factory=dict)


Tool = Callable[[Place, WaitingFarm, int], contextlib.AbstractContextManager[Ready]]


@contextlib.contextmanager
def _spraycc(place: Place, farm: WaitingFarm, slots: int, *, real: int = REAL_EXECUTORS) -> Iterator[Ready]:
    """A server with all executors connected; more than ``real`` executors are simulated."""
    simulated = slots > real
    settings = {
        "SPRAYCC_CLUSTER": "local", "SPRAYCC_CAPTURE": "overlay", "SPRAYCC_EXECUTORS": str(slots),
        "SPRAYCC_WAIT_FOR_CLUSTER": "1", "SPRAYCC_RELEASE_DELAY_S": "600",
    }  # fmt: skip
    env = place.env | settings | {"PATH": f"{farm.path_front}:{place.env['PATH']}"}
    with contextlib.ExitStack() as stack:
        if simulated:
            directory = place.root / f"farm-{slots}"
            directory.mkdir(exist_ok=True)
            stack.enter_context(simulated_executors.simulation(directory))
            env |= simulated_executors.settings(directory)
        stack.callback(_stop, env, farm)
        pid = _connect(env, farm, slots)
        yield Ready(env, "g++", [pid], [str(SPRAYCC)], {"executors": "simulated" if simulated else "real"})


def _stop(env: dict[str, str], farm: WaitingFarm) -> None:
    subprocess.run([str(SPRAYCC), "server", "stop", "--now"], cwd=farm.directory, env=env, check=False,
                   capture_output=True)  # fmt: skip


#: Holds COUNT tasks until its standard input ends, so that the server asks for as many executors.
_HOLD = """i=0
while [ $i -lt "$1" ]; do "$0" --remote -- sleep 600 & pids="$pids $!"; i=$((i+1)); done
cat
kill $pids
wait"""


def _connect(env: dict[str, str], farm: WaitingFarm, slots: int) -> int:
    """Start the server, wait until all executors are connected, and return the server's process id."""
    words = [str(SPRAYCC), "build", "--", "sh", "-c", _HOLD, str(RUNNER), str(slots)]
    with subprocess.Popen(
        words, cwd=farm.directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as build:
        try:
            deadline = time.monotonic() + _READY_S
            while (found := sum(_executors(status := _status(env, farm)).values())) < slots:
                if time.monotonic() > deadline:
                    raise Missing(f"{found} of {slots} executors connected in {_READY_S:g} s")
                time.sleep(1.0)
        finally:
            build.communicate()
    while _executors(status)["busy"]:  # the held tasks are being cancelled
        time.sleep(0.2)
        status = _status(env, farm)
    return int(status["server"]["pid"])


def _status(env: dict[str, str], farm: WaitingFarm) -> dict[str, Any]:
    words = [str(SPRAYCC), "status", "--json"]
    out = subprocess.run(words, cwd=farm.directory, env=env, check=False, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out) if out else {}
    return found


def _executors(status: dict[str, Any]) -> dict[str, int]:
    """The connected executors that are idle, and that are busy."""
    counts = status["scheduler"]["executors"] if "scheduler" in status else {}
    return {state: counts.get(state, 0) for state in ("idle", "busy")}


@contextlib.contextmanager
def _by_peer(
    peer: contextlib.AbstractContextManager[dict[str, str]], hosts: Hosts, compiler: str = "g++"
) -> Iterator[Ready]:
    with peer as env:
        yield Ready(env, f"{env['WRAPPER']} {compiler}", hosts.near)


def _hosts(farm: WaitingFarm, slots: int) -> Hosts:
    return Hosts(slots, str(farm.path_front), farm.toolchain)


def _distcc(place: Place, farm: WaitingFarm, slots: int) -> contextlib.AbstractContextManager[Ready]:
    return _by_peer(distcc(place, "", hosts := _hosts(farm, slots)), hosts)


def _distcc_lzo(place: Place, farm: WaitingFarm, slots: int) -> contextlib.AbstractContextManager[Ready]:
    return _by_peer(distcc(place, ",lzo", hosts := _hosts(farm, slots)), hosts)


def _icecream(place: Place, farm: WaitingFarm, slots: int) -> contextlib.AbstractContextManager[Ready]:
    return _by_peer(icecream(place, hosts := _hosts(farm, slots)), hosts)


def _nocc(place: Place, farm: WaitingFarm, slots: int) -> contextlib.AbstractContextManager[Ready]:
    return _by_peer(nocc(place, hosts := _hosts(farm, slots)), hosts)


TOOLS: dict[str, Tool] = {
    "SprayCC": _spraycc,
    "distcc": _distcc,
    "distcc lzo": _distcc_lzo,
    "icecream": _icecream,
    "nocc": _nocc,
}


def peers_farm(place: Place) -> dict[str, Any]:
    """All tools on all widths, once; ``--quick``: 24 units on four slots by SprayCC and distcc."""
    if place.quick:
        return run(tools=["SprayCC", "distcc"], widths=[4], units=drawn(24, 0.1), rounds=1)
    return run(tools=list(TOOLS), widths=SLOTS, units=drawn(UNITS, SCALE), rounds=1)


def run(tools: Sequence[str], widths: Sequence[int], units: Sequence[Unit], rounds: int) -> dict[str, Any]:
    """The figures of these tools on these numbers of slots: medians of some rounds, the tools in turn."""
    seconds = [unit.seconds for unit in units]
    figures: dict[str, Any] = {
        "units": len(units),
        "compile_s": round(statistics.mean(seconds), 3),
        "object_bytes": round(statistics.mean(unit.size_bytes for unit in units)),
        "rounds": rounds,
    }
    with waiting_farm(units) as farm:
        for slots in widths:
            bound_s = first_fit_makespan(seconds, slots)
            runs: dict[str, list[dict[str, Any]]] = {}
            why_not: dict[str, str] = {}
            for _ in range(rounds):
                for name in tools:
                    try:
                        found = _one(TOOLS[name], farm, slots, bound_s)
                        runs.setdefault(name, []).append(found)
                    except (Missing, OSError, Wrong, subprocess.SubprocessError) as exc:
                        if name == "SprayCC":
                            raise
                        why_not[name] = _reason(exc)
                    print(
                        f"{slots} slots, {name}: {runs[name][-1] if name in runs else why_not[name]}", file=sys.stderr
                    )
            figures[str(slots)] = {
                "bound_s": round(bound_s, 2),
                "bound_of_any_order_s": round(least_makespan(seconds, slots), 2),
                **{name: _medians(runs[name]) if name in runs else why_not[name] for name in tools},
            }
    return figures


class Wrong(Exception):
    """An object is missing or has another size than its compiler wrote."""


def _reason(exc: Exception) -> str:
    if isinstance(exc, subprocess.CalledProcessError):
        return f"failed: {(exc.stderr or '').strip()[-300:]}"
    return str(exc)


def _one(tool: Tool, farm: WaitingFarm, slots: int, bound_s: float) -> dict[str, Any]:
    """One build in a home of its own, so that SprayCC has no history of the units."""
    with place(quick=False) as here, tool(here, farm, slots) as ready:
        log = here.root / "build.log"
        out = tempfile.mkdtemp(prefix="out", dir=farm.directory)
        try:
            # Not in the figures: icecream sends its archive, which two units at once break; nocc sends the headers.
            warm_up = [*ready.prefix, *farm.make(ready.compiler, f"{out}/warm", 1, 2)]
            measure(warm_up, [], env=ready.env, cwd=farm.directory, log=log, limit_s=60.0)
            words = [*ready.prefix, *farm.make(ready.compiler, f"{out}/all", slots)]
            before = machine_cpu_s()
            footprint = measure(
                words, ready.daemons, env=ready.env, cwd=farm.directory, log=log, limit_s=_LIMIT_S + 10 * bound_s
            )
            machine_s = machine_cpu_s() - before
            if wrong := farm.wrong(f"{out}/all"):
                raise Wrong(f"{len(wrong)} objects, the first is {wrong[0]}; {log.read_text(errors='replace')[-300:]}")
        finally:
            shutil.rmtree(out)
    return as_figures(footprint, len(farm.units), bound_s, machine_s) | ready.notes


def _medians(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure; a word is the same in all runs."""
    return {
        name: value if isinstance(value, str) else round(statistics.median(run[name] for run in runs), 3)
        for name, value in runs[0].items()
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A part's figures with those of a run over some tools and widths in place of the old figures."""
    return old | {
        name: (old.get(name, {}) | value if isinstance(value, dict) else value) for name, value in new.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers_farm", description="SprayCC and its peers.")
    parser.add_argument("--tool", action="append", choices=list(TOOLS), help="only this; may be repeated")
    parser.add_argument("--slots", action="append", type=int, help="only this width; may be repeated")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each tool, in turn; the figures are medians")
    parser.add_argument("--real", type=int, default=REAL_EXECUTORS, metavar="N", help="more executors are simulated")
    parser.add_argument("--json", type=Path, required=True, help="a result file; only the measured figures change")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    TOOLS["SprayCC"] = functools.partial(_spraycc, real=options.real)
    part = run(options.tool or list(TOOLS), options.slots or SLOTS, drawn(UNITS, SCALE), options.rounds)
    result: dict[str, Any] = {"release": spraycc.__version__, "machine": machine(), "quick": False, "parts": {}}
    if options.json.exists():
        result |= json.loads(options.json.read_text())
    result["at"] = time.strftime("%Y-%m-%d")
    result["parts"][NAME] = merged(result["parts"].get(NAME, {}), part)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
