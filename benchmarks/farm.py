"""Simulated executors and runners around a real server: what the parts *dispatch*, *fill* and *data* share."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import simulated_executors, simulated_runners
from benchmarks.harness import Place

#: A task, as the plan has it: seconds, bytes of output.
Task = tuple[float, int]


class Accounting(Exception):
    """The results are not the tasks that were sent."""


@contextlib.contextmanager
def farm(
    place: Place, *words: str, real: int = 0, listen: str = "127.0.0.1", enter: Sequence[str] = ()
) -> Iterator[dict[str, str]]:
    """Run a process that simulates executors, with these options; the first ``real`` executors are real. Yields the
    settings by which a server finds the process.

    ``listen`` is the server's address. The words ``enter`` come before the process's command line, so that the process
    can be on another host.
    """
    directory = place.root / "farm"
    directory.mkdir()
    with simulated_executors.simulation(directory, words=words, enter=enter):
        yield simulated_executors.settings(directory, real, listen)


def run_plan(
    place: Place,
    executors: int,
    tasks: Sequence[Task],
    in_flight: int,
    *,
    probe_s: float = 0.0,
    empty: bool = True,
    words: Sequence[str] = (),
    listen: str = "127.0.0.1",
    enter: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the tasks on simulated executors with a fresh server. ``words``, ``listen`` and ``enter``: see :func:`farm`.

    Raises:
        Accounting: a result is missing, of another size, or counted otherwise by the server or the executors.
    """
    place.stop()
    # A new directory each time: replacing an output frees an inode, which slows down the next run.
    outputs = Path(tempfile.mkdtemp(prefix="out", dir=place.workspace))
    plan = {
        "executors": executors, "in_flight": in_flight, "directory": str(outputs), "tasks": list(tasks),
        "probe_s": probe_s, "empty": empty,
    }  # fmt: skip
    (place.root / "plan.json").write_text(json.dumps(plan))
    summary = place.root / "summary.json"
    with farm(place, *words, listen=listen, enter=enter) as settings:
        # One recipe of a make: the server looks for runners below such a process.
        makefile = place.workspace / "Makefile"
        makefile.write_text(f"run:\n\t@{sys.executable} {simulated_runners.__file__} {place.root}/plan.json\n")
        knobs: dict[str, Any] = {"executors": executors, "wait_for_cluster": 1, "local_slots": 1, "summary": summary}
        environment = place.env
        place.env = environment | settings
        try:
            out = place.spraycc("make", "run", **knobs).stdout
        finally:
            place.stop()
            place.env = environment
    seen = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    served = json.loads((place.root / "farm" / simulated_executors.COUNTERS).read_text())
    _remove_farm(place.root / "farm")
    check(seen, served, json.loads(summary.read_text()))
    seen["executors_cpu_s"] = served["cpu_s"]
    seen |= {name: served[name] for name in ("packed_bytes", "packed_from_bytes")}
    return seen  # type: ignore[no-any-return]


def _remove_farm(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def check(seen: dict[str, Any], served: dict[str, Any], summary: dict[str, Any]) -> None:
    """Check: tasks sent = results on disk = tasks of the executors = tasks that the server counts; and their bytes."""
    if seen["wrong"]:
        raise Accounting("; ".join(seen["wrong"][:10]))
    # The losing one of two attempts gives no result, and may or may not be done.
    second = summary["second"]
    done = served["tasks"] - served["cancelled"]
    tasks = {"sent": seen["tasks_sent"], "on disk": seen["results_seen"], "by the server's count": summary["remote"]}
    size = {"on disk": seen["bytes_seen"], "by the server's count": summary["bytes_returned"]}
    if len(set(tasks.values())) != 1 or not summary["remote"] <= done <= summary["remote"] + second:
        raise Accounting(f"tasks: {tasks}, done by executors: {done}, second attempts: {second}")
    sent = served["bytes_sent"]
    if len(set(size.values())) != 1 or sent < seen["bytes_seen"] or (sent > seen["bytes_seen"] and not second):
        raise Accounting(f"bytes: {size}, sent by executors: {sent}, second attempts: {second}")
