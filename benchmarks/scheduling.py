"""The real scheduler on a virtual clock: how full it keeps hundreds of executors, and the gain of each of its rules.

Pure arithmetic, nothing runs: ``python -m benchmarks.scheduling`` prints the table in
docs/explanation/scheduling.md. A build tool adds one number, the *window*: the number of tasks that are queued or run
at once. When a task ends, the next task arrives, in the order of the makefile. A free executor gets a task at once.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spraycc.history.estimates import History
from spraycc.model import UNKNOWN, BuildId, ExecutorId, Expectation, Placement, TaskId
from spraycc.scheduler.actions import Abort, Dispatch
from spraycc.scheduler.core import Scheduler
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildStarted,
    Event,
    ExecutorJoined,
    Outcome,
    SchedulingPolicy,
    TaskArrived,
    TaskGone,
    Tick,
)

#: Durations of a large C++ project's units: a log-normal distribution with this median and this sigma.
MEDIAN_S = 2.5
SIGMA = 0.8
#: A unit's durations in two builds differ by a factor of this sigma.
NOISE = 0.15


@dataclass(frozen=True)
class Result:
    """The result of a simulated build."""

    makespan_s: float
    #: no schedule is shorter than this
    bound_s: float
    second: int
    second_won: int
    #: CPU time on this machine, for each event
    microseconds: float

    @property
    def over_bound(self) -> float:
        return self.makespan_s / self.bound_s


@dataclass(frozen=True)
class Stragglers:
    """Attempts that take much longer than their task should."""

    share: float
    factor: float


def durations(count: int, seed: int = 1) -> list[float]:
    """The durations of ``count`` units, in the order of the makefile."""
    generator = random.Random(seed)
    return [MEDIAN_S * generator.lognormvariate(0.0, SIGMA) for _ in range(count)]


def learned(seconds: Sequence[float], *, noise: float = NOISE, builds: int = 3, seed: int = 2) -> list[Expectation]:
    """The history's estimates for these tasks after some builds, each a little different."""
    generator = random.Random(seed)
    history = History()
    for build in range(builds):
        for number, value in enumerate(seconds):
            history.note(_key(number), value * generator.lognormvariate(0.0, noise), 0, build)
    return [history.expect(_key(number)) for number in range(len(seconds))]


def _key(number: int) -> tuple[str, bytes]:
    return "compile", b"%d/%d.o" % (number // 50, number)


def simulate(
    seconds: Sequence[float],
    executors: int,
    expected: Sequence[Expectation] | None = None,
    *,
    window: int | None = None,
    stragglers: Stragglers | None = None,
    may_run_twice: bool = True,
    seed: int = 3,
    slowness: Callable[[int, float], float] | None = None,
    noise: float = 0.0,
    per_host: int = 16,
) -> Result:
    """A build of tasks with these durations, on connected executors.

    Args:
        seconds: by task, in order of arrival.
        executors: how many.
        expected: of each task; None: nothing is known, so they go in their order.
        window: tasks that are there at once; None: all.
        stragglers: some attempts take longer than ``seconds`` says.
        may_run_twice: late tasks get second attempts.
        seed: of the stragglers and the noise.
        slowness: factor on the durations of an attempt that begins on a host (its number) at a time; None: 1.
        noise: sigma of a factor on each attempt's duration, a log-normal distribution.
        per_host: executors on each host.
    """
    scheduler = Scheduler(SchedulingPolicy(executors, 1, 1, False, 3, 1e9, True, 1e9))
    now, handled, running_number, second, second_won = 0.0, 0, 0, 0, 0
    build = BuildId("b")
    #: (time, order, executor, task, attempt)
    ends: list[tuple[float, int, ExecutorId, int, int]] = []
    #: attempts that run, by executor
    attempts: dict[ExecutorId, tuple[int, bool]] = {}
    arrivals = iter(range(len(seconds)))
    pending: deque[Event] = deque([BuildStarted(build, None)])

    def arrive(count: int | None) -> None:
        for index, number in enumerate(arrivals):
            known = UNKNOWN if expected is None else expected[number]
            task = TaskArrived(TaskId(number), build, Placement.REMOTE, expected=known, may_run_twice=may_run_twice)
            pending.append(task)
            if count is not None and index + 1 == count:
                return

    # The first tasks arrive before the first executor, as in a build that waits for executors.
    arrive(window)
    for n in range(executors):
        pending.append(ExecutorJoined(ExecutorId(f"e{n}"), host=f"h{n // per_host}", holds_all=True))
    began = time.perf_counter()
    while True:
        while pending:
            event = pending.popleft()
            handled += 1
            for action in scheduler.handle(event, now):
                if isinstance(action, Dispatch):
                    running_number += 1
                    taken = seconds[action.task]
                    # Each attempt has its own luck, whatever other attempts there are.
                    generator = random.Random(f"{seed} {action.task} {action.attempt}")
                    if stragglers is not None and generator.random() < stragglers.share:
                        taken *= stragglers.factor
                    if slowness is not None:
                        taken *= slowness(int(action.executor[1:]) // per_host, now)
                    if noise:
                        taken *= generator.lognormvariate(0.0, noise)
                    attempts[action.executor] = (running_number, action.second)
                    second += action.second
                    heapq.heappush(ends, (now + taken, running_number, action.executor, action.task, running_number))
                elif isinstance(action, Abort):
                    del attempts[action.executor]
                    pending.append(AttemptEnded(action.executor, action.task, Outcome.CANCELLED))
        while ends and attempts.get(ends[0][2], (0,))[0] != ends[0][4]:
            heapq.heappop(ends)  # aborted
        due = scheduler.next_deadline()
        if due is not None and (not ends or due <= ends[0][0]) and ends:
            now = due
            pending.append(Tick())
            continue
        if not ends:
            break
        now, _, executor, number, _ = heapq.heappop(ends)
        second_won += attempts.pop(executor)[1]
        pending += [AttemptEnded(executor, TaskId(number), Outcome.DONE), TaskGone(TaskId(number))]
        arrive(1)
    cost = (time.perf_counter() - began) / handled * 1e6
    assert scheduler.snapshot()["total"]["queued"] == 0
    return Result(now, max(max(seconds), sum(seconds) / executors), second, second_won, cost)


def table(tasks: int) -> list[dict[str, object]]:
    """The figures of docs/explanation/scheduling.md."""
    rows = []
    seconds = durations(tasks)
    known = learned(seconds)
    slow = Stragglers(0.001, 10.0)
    for executors in (400, 1000):
        for window in (executors, executors * 5 // 4, executors * 2, None):
            for name, expected in (("in their order", None), ("longest first", known)):
                result = simulate(seconds, executors, expected, window=window)
                rows.append(_row(executors, window, name, result))
        for name, twice in (("1 of 1000 takes 10 times as long", False), ("the same, with second attempts", True)):
            result = simulate(seconds, executors, known, stragglers=slow, may_run_twice=twice)
            rows.append(_row(executors, None, name, result))
    return rows


def _row(executors: int, window: int | None, name: str, result: Result) -> dict[str, object]:
    return {
        "executors": executors,
        "window": window,
        "order": name,
        "makespan_s": round(result.makespan_s, 1),
        "bound_s": round(result.bound_s, 1),
        "over_bound": round(result.over_bound, 3),
        "second": result.second,
        "second_won": result.second_won,
        "us_per_event": round(result.microseconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated builds on the real scheduler.")
    parser.add_argument("--tasks", type=int, default=20_000)
    for row in table(parser.parse_args().tasks):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
