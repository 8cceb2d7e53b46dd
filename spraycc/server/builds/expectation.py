"""Expects a build's number of tasks and its end, from the record of an earlier build that began in the same way.

make tells nobody how much it will do. An earlier build counts if it had the same command line and directory, succeeded,
and the first tasks of this build are among its first tasks. So a build of one changed file does not expect the tasks of
a whole build, and the reverse.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spraycc.model import BuildId
from spraycc.records.read import Record, Task, found_in, is_same_build, read, read_end, read_header

#: A build is compared when it has so many tasks, and by its first tasks, at most these.
LEAST_TARGETS = 10
MOST_TARGETS = 20
#: The share of a build's first tasks that an earlier build must have had among its first, too.
SAME_SHARE = 0.8
#: Tasks that are read of a record that may be of the same build; and of the record that is.
_BEGIN_TASKS = 300
MOST_TASKS = 20_000
#: More tasks, or a longer build (in s), are a fault of the record.
_MOST_EXPECTED = 10_000_000
_LONGEST_S = 1e7
#: The speed of the first seconds says little: each build counts as if its begin had taken so much longer.
_STEADY_S = 5.0


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier build. Times are seconds since its begin."""

    tasks: int
    #: when each task had its result, in order; of the first MOST_TASKS
    ends: Sequence[float]
    #: the time that its user waited
    wall_s: float


class Expectation:
    """The expectation of one build. Pure: the caller searches for the earlier build."""

    def __init__(self) -> None:
        #: the build's first targets
        self.first: list[str] = []
        self._earlier: Earlier | None = None
        self._was_searched = False

    def arrived(self, target: str) -> None:
        """A task has arrived."""
        if len(self.first) < MOST_TARGETS:
            self.first.append(target)

    @property
    def wants_search(self) -> bool:
        """The caller should search for an earlier build now, and call :meth:`set`."""
        return not self._was_searched and len(self.first) >= LEAST_TARGETS

    def set(self, earlier: Earlier | None) -> None:
        """Expect what the earlier build had; None: there is none."""
        self._was_searched = True
        self._earlier = earlier

    def of(self, tasks: int, done: int, elapsed_s: float) -> tuple[int | None, int | None]:
        """The number of tasks and the seconds until the end; None if not known.

        Args:
            tasks: tasks that have arrived.
            done: those of them that have their results.
            elapsed_s: seconds since the build's begin.
        """
        earlier = self._earlier
        if earlier is None or tasks > earlier.tasks:  # more tasks than then: it is another build after all
            return None, None
        if not done or done > len(earlier.ends):
            return earlier.tasks, None
        then_s = earlier.ends[done - 1]
        pace = (elapsed_s + _STEADY_S) / (then_s + _STEADY_S)
        rest_s = max(0.0, earlier.wall_s - then_s) * pace
        return earlier.tasks, round(rest_s) if 0 <= rest_s <= _LONGEST_S else None


def search(state_dir: Path, build: BuildId, first: Sequence[str]) -> Earlier | None:
    """The newest earlier build that began with the targets ``first``. Reads records, which takes up to a second."""
    records = found_in([state_dir], time.time())
    own = next((found for found in records if found.build == build), None)
    if own is None:
        return None
    header = read_header(own.path)
    for found in records:
        if found.number <= own.number or found.is_empty or not is_same_build(header, read_header(found.path)):
            continue
        try:
            end = read_end(found.path)
            if end.get("status") != 0 or not began_alike(first, read(found.path, most_tasks=_BEGIN_TASKS).tasks):
                continue
            record = read(found.path, most_tasks=MOST_TASKS)
        except OSError:  # another server of the same directory has removed it
            continue
        if record.has_times:
            return _earlier(record, end)
    return None


def _earlier(record: Record, end: Mapping[str, Any]) -> Earlier:
    ends = array("d", sorted(task.ended for task in record.tasks))
    figures, wall_s = end.get("figures"), end.get("wall_s")
    tasks = figures.get("tasks") if isinstance(figures, dict) else None
    if type(tasks) is not int or not len(ends) <= tasks <= _MOST_EXPECTED:
        tasks = len(ends)
    return Earlier(
        tasks,
        ends,
        float(wall_s) if isinstance(wall_s, int | float) and 0 <= wall_s <= _LONGEST_S else record.ended,
    )


def began_alike(first: Sequence[str], tasks: Sequence[Task]) -> bool:
    """Whether a build's first targets are among the first of an earlier build.

    The order of tasks that start at the same time is not the same in two builds, so twice as many are compared.
    """
    by_arrival = sorted(tasks, key=lambda task: task.at)
    then = {task.target for task in by_arrival[: 2 * len(first)]}
    return bool(first) and sum(target in then for target in first) >= SAME_SHARE * len(first)
