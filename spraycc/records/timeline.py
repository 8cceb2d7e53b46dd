"""Figures of one build's record: intervals, parallelism, the chain that its end waited for, totals, comparison. Pure.

Tasks are named by their index in ``Record.tasks``.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from spraycc.records.read import Record, Task

#: ``Interval.executor`` of a command on the submit host.
SUBMIT_HOST = ""
#: A word of a command line may hide a name: ``-Wl,@list``, ``--out=name``, ``-Lname``. The parts after these are tried.
_INSIDE = re.compile(r"[=,@]")
#: Two slashes at the begin are another root by POSIX.
_ABSOLUTE = re.compile(r"/(?!/)")


class Interval(NamedTuple):
    """A command on an executor or on the submit host. Times in seconds since the build's begin."""

    began: float
    ended: float
    task: int
    #: the executor's id; SUBMIT_HOST for the submit host
    executor: str
    #: the attempt's outcome ("done", "killed", ...); "here" on the submit host
    outcome: str
    #: another attempt of the task ran beside it
    second: bool


class Level(NamedTuple):
    """Commands that run at once, from ``t`` to the next level."""

    t: float
    remote: int
    here: int


class Link(NamedTuple):
    """A task of the chain."""

    task: int
    #: why the task before it in the chain is there: "input" if that task made a file that this command line names,
    #: "order" if it is the last that ended before this task came, "first" if there is none
    by: Literal["input", "order", "first"]
    #: seconds between the end of the task before it (or the build's begin) and this task's arrival: the build tool's
    idle_s: float


@dataclass(slots=True)
class Total:
    """Sums of a group of tasks."""

    name: str
    tasks: int = 0
    remote: int = 0
    here: int = 0
    cancelled: int = 0
    failed: int = 0
    #: attempts that did not count
    retried: int = 0
    #: seconds in which commands ran, on executors and on the submit host together; thrown away attempts included
    busy_s: float = 0.0
    #: seconds in which tasks waited for an executor or a slot
    queued_s: float = 0.0
    #: CPU seconds on executors
    cpu_s: float = 0.0
    bytes: int = 0


class Change(NamedTuple):
    """A task's run time in the build before and in this one, in seconds."""

    #: the path of the task's target
    target: str
    before_s: float
    now_s: float


class Comparison(NamedTuple):
    """A build beside an earlier one. Pairs are (before, now)."""

    wall_s: tuple[float, float]
    tasks: tuple[int, int]
    remote: tuple[int, int]
    failed: tuple[int, int]
    retried: tuple[int, int]
    cpu_s: tuple[float, float]
    #: most executors at once that ran a task
    executors: tuple[int, int]
    #: tasks of this build that the build before had not, and the reverse
    new: int
    gone: int
    #: tasks of both, the largest difference first
    changes: list[Change]


def intervals(record: Record) -> list[Interval]:
    """All runs of commands, sorted by begin."""
    found = []
    for index, task in enumerate(record.tasks):
        for run in task.runs:
            found.append(Interval(run.began, run.ended, index, run.executor, run.outcome, run.second))
        if task.here is not None:
            found.append(Interval(*task.here, index, SUBMIT_HOST, "here", False))
    found.sort()
    return found


def lanes(spans: Iterable[Interval]) -> list[int]:
    """A lane for each interval, so that no two intervals of a lane overlap. ``spans`` are sorted by begin.

    The lanes count from 0, and each interval gets the first that is free.
    """
    ends: list[float] = []
    given = []
    for span in spans:
        lane = next((lane for lane, end in enumerate(ends) if end <= span.began), len(ends))
        ends[lane : lane + 1] = [span.ended]
        given.append(lane)
    return given


def parallelism(spans: Iterable[Interval]) -> list[Level]:
    """The commands that run at once, as steps over time; the last level is zero."""
    steps: dict[float, list[int]] = {}
    for span in spans:
        if span.ended > span.began:
            where = 1 if span.executor == SUBMIT_HOST else 0
            steps.setdefault(span.began, [0, 0])[where] += 1
            steps.setdefault(span.ended, [0, 0])[where] -= 1
    remote = here = 0
    levels = []
    for t in sorted(steps):
        remote, here = remote + steps[t][0], here + steps[t][1]
        levels.append(Level(t, remote, here))
    return levels


def mean_parallelism(record: Record) -> float:
    """Commands that ran at once, on average from the build's begin to its end. The summary line has the same figure."""
    # The server's sum, if there is one: a full record lacks tasks.
    run_s = record.end.get("figures", {}).get("run_s")
    if run_s is None:
        run_s = sum(span.ended - span.began for span in intervals(record))
    seconds = wall_s(record)
    return float(run_s) / seconds if seconds > 0 else 0.0


def chain(record: Record) -> list[Link]:
    """The tasks that the build's end waited for, from first to last.

    make tells nobody its graph, so the chain is a guess from names and times. It begins at the last task that ended.
    Before each task comes the task that made a file which its command line names (the last of them to end), else the
    last task that ended before it came.
    """
    tasks = record.tasks
    if not record.has_times or not tasks:
        return []
    by_end = sorted(range(len(tasks)), key=lambda index: tasks[index].ended)
    ends = [tasks[index].ended for index in by_end]
    makers: dict[str, list[int]] = {}
    for index in by_end:
        makers.setdefault(_path(tasks[index], tasks[index].target), []).append(index)
    names = {path.rpartition("/")[2] for path in makers}
    links: list[Link] = []
    at: int | None = by_end[-1]
    while at is not None:
        task = tasks[at]
        maker = _maker(task, tasks, makers, names)
        rank = bisect_right(ends, task.at)
        before = maker if maker is not None else by_end[rank - 1] if rank else None
        if before is not None and tasks[before].ended >= task.ended:
            before = None  # a task without duration: there is no order among such
        by: Literal["input", "order", "first"] = (
            "first" if before is None else "input" if maker is not None else "order"
        )
        links.append(Link(at, by, max(0.0, task.at - (tasks[before].ended if before is not None else 0.0))))
        at = before
    links.reverse()
    return links


def _maker(task: Task, tasks: list[Task], makers: dict[str, list[int]], names: set[str]) -> int | None:
    """The last task to end that made a file which the task's command line names, and that ended before it came.

    ``names``: those of all files that a task made, without directories. Few words of a command line end with one.
    """
    latest: int | None = None
    for word in task.argv.split():
        for name in (word, *_INSIDE.split(word)[1:]):
            if name.rpartition("/")[2] not in names:
                continue
            for index in reversed(makers.get(_path(task, name), ())):
                if tasks[index].ended <= task.at:
                    if latest is None or tasks[index].ended > tasks[latest].ended:
                        latest = index
                    break
    return latest


def by_directory(record: Record, root: str = "") -> list[Total]:
    """Totals of each directory of sources (of targets, if a task has no source), the busiest first.

    Directories in ``root`` are named relative to it.
    """

    def directory_of(task: Task) -> str:
        path = os.path.dirname(_path(task, task.source or task.target))
        if path == root:
            return "."
        return path[len(root) + 1 :] if root and path.startswith(f"{root}/") else path

    totals: dict[str, Total] = {}
    for task in record.tasks:
        name = directory_of(task)
        total = totals.setdefault(name, Total(name))
        _count(total, task)
        total.busy_s += sum(run.ended - run.began for run in task.runs)
        total.busy_s += task.here.ended - task.here.began if task.here else 0.0
        total.retried += sum(run.outcome not in ("done", "cancelled") for run in task.runs)
    return _busiest_first(totals)


def by_host(record: Record) -> list[Total]:
    """Totals of each host, the busiest first. ``name`` is SUBMIT_HOST for the submit host.

    A task counts for the host that gave its result, an attempt for the host on which it ran. Tasks without a host (they
    were cancelled before they ran) are left out.
    """
    totals: dict[str, Total] = {}
    for task in record.tasks:
        for run in task.runs:
            host = record.host_of(run.executor)
            total = totals.setdefault(host, Total(host))
            total.busy_s += run.ended - run.began
            total.retried += run.outcome not in ("done", "cancelled")
        if task.here is not None:
            total = totals.setdefault(SUBMIT_HOST, Total(SUBMIT_HOST))
            total.busy_s += task.here.ended - task.here.began
        if task.ran == "here" or (task.ran == "remote" and task.executor):
            name = SUBMIT_HOST if task.ran == "here" else record.host_of(task.executor)
            _count(totals.setdefault(name, Total(name)), task)
    return _busiest_first(totals)


def reasons_here(record: Record) -> Counter[str]:
    """Why tasks ran on the submit host: reason -> tasks."""
    return Counter(reason_of(task) for task in record.tasks if task.ran == "here")


def reason_of(task: Task) -> str:
    """Why a task ran where it ran."""
    return f"{task.reason}; {task.why}" if task.why else task.reason


def retries(record: Record) -> Counter[tuple[str, str]]:
    """Attempts that did not count: (outcome, host) -> attempts. A cancelled attempt beside one that counted is none."""
    found: Counter[tuple[str, str]] = Counter()
    for task in record.tasks:
        for run in task.runs:
            if run.outcome not in ("done", "cancelled"):
                found[run.outcome, record.host_of(run.executor)] += 1
    return found


def retry_causes(record: Record) -> Counter[str]:
    """Why attempts did not count, in the server's words: cause -> attempts."""
    return Counter(cause for task in record.tasks for cause in task.refusals)


def longest(record: Record, count: int) -> list[int]:
    """The tasks with the longest run, the longest first."""
    order = sorted(range(len(record.tasks)), key=lambda index: -ran_s(record.tasks[index]))
    return order[:count]


def ran_s(task: Task) -> float:
    """Seconds of the run that gave the task's result; in a record of version 1, from its arrival to its result."""
    if task.here is not None:
        return task.here.ended - task.here.began
    if run := task.run:
        return run.ended - run.began
    return task.s if not task.runs else 0.0


def compare(record: Record, earlier: Record) -> Comparison:
    """The build beside an earlier one. Tasks are the same if target and directory are."""
    now = {_path(task, task.target): task for task in record.tasks}
    then = {_path(task, task.target): task for task in earlier.tasks}
    changes = [Change(path, ran_s(then[path]), ran_s(now[path])) for path in now if path in then]
    changes.sort(key=lambda change: -abs(change.now_s - change.before_s))

    def pair(function: Callable[[Record], float]) -> tuple[float, float]:
        return function(earlier), function(record)

    def count(fits: Callable[[Task], bool]) -> tuple[int, int]:
        return sum(map(fits, earlier.tasks)), sum(map(fits, record.tasks))

    return Comparison(
        wall_s=pair(wall_s),
        tasks=(len(earlier.tasks), len(record.tasks)),
        remote=count(lambda task: task.ran == "remote"),
        failed=count(lambda task: task.has_failed),
        retried=(sum(retries(earlier).values()), sum(retries(record).values())),
        cpu_s=pair(lambda each: sum(task.user_s + task.system_s for task in each.tasks)),
        executors=(executors_peak(earlier), executors_peak(record)),
        new=len(now.keys() - then.keys()),
        gone=len(then.keys() - now.keys()),
        changes=changes,
    )


def wall_s(record: Record) -> float:
    """Seconds that the user waited, as far as the record tells."""
    waited = record.end.get("wall_s")
    return float(waited) if isinstance(waited, int | float) else record.ended


def executors_peak(record: Record) -> int:
    """Most attempts at once."""
    return max((level.remote for level in parallelism(intervals(record))), default=0)


def _count(total: Total, task: Task) -> None:
    total.tasks += 1
    total.remote += task.ran == "remote"
    total.here += task.ran == "here"
    total.cancelled += task.ran == "cancelled"
    total.failed += task.has_failed
    total.queued_s += task.queued_s
    total.cpu_s += task.user_s + task.system_s
    total.bytes += task.bytes


def _busiest_first(totals: dict[str, Total]) -> list[Total]:
    return sorted(totals.values(), key=lambda total: (-total.busy_s, total.name))


def _path(task: Task, name: str) -> str:
    if not _ABSOLUTE.match(task.cwd) or name[:1] in "./" or "/." in name or "//" in name or name[-1] == "/":
        return os.path.normpath(os.path.join(task.cwd, name))
    # The usual name needs no more, and a build of 100,000 tasks has millions of names.
    return f"{_directory(task.cwd)}/{name}"


@lru_cache(maxsize=1024)
def _directory(cwd: str) -> str:
    """The directory, to which "/" and a name may be appended."""
    return os.path.normpath(cwd).rstrip("/")
