"""The order of tasks, and the share of each build."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.model import Placement
from spraycc.scheduler.actions import Dispatch, RunLocally
from spraycc.scheduler.builds import split
from spraycc.scheduler.core import Scheduler
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildStarted,
    ExecutorJoined,
    Outcome,
    SchedulingPolicy,
    TaskArrived,
    TaskGone,
)


@pytest.mark.parametrize(
    ("capacity", "caps", "shares"),
    [
        (10, [], []),
        (10, [None], [10]),
        (10, [4], [4]),
        (10, [None, None], [5, 5]),
        (11, [None, None], [6, 5]),
        (11, [None, None, None], [4, 4, 3]),
        (10, [2, None, None], [2, 4, 4]),
        (11, [None, 2, None], [5, 2, 4]),
        # a small build's unused share goes to the others, even beyond the next smallest cap
        (12, [1, 5, None], [1, 5, 6]),
        (12, [5, 1, 5], [5, 1, 5]),
        (100, [5, 1, 5], [5, 1, 5]),
        # more builds than capacity: each build gets at least one
        (1, [None, None, None], [1, 1, 1]),
        (2, [1, 1, 1], [1, 1, 1]),
        (5, [None, 5], [3, 2]),
        (5, [5, 1000], [3, 2]),
    ],
)
def test_split(capacity, caps, shares):
    assert split(capacity, caps) == shares


@given(st.integers(1, 200), st.lists(st.none() | st.integers(1, 60), min_size=1, max_size=12))
def test_split_is_fair_and_wastes_nothing(capacity, caps):
    shares = split(capacity, caps)
    limits = [capacity if cap is None else cap for cap in caps]
    assert all(1 <= share <= limit for share, limit in zip(shares, limits, strict=True))
    assert sum(shares) == max(len(caps), min(capacity, sum(limits)))
    held_back = [share for share, limit in zip(shares, limits, strict=True) if share < limit]
    if held_back:
        # No build has more than a build below its cap, except for the remainder, which goes to the oldest builds.
        assert max(shares) <= min(held_back) + 1
        assert held_back == sorted(held_back, reverse=True)


def scheduler_with(executors, builds, tasks, *, local_slots=1, grace_s=1e9):
    """A scheduler with ``executors`` idle executors, and then ``tasks`` tasks of each build, in turn."""
    scheduler = Scheduler(SchedulingPolicy(max(1, executors), local_slots, 1, False, 3, grace_s, False, 60.0))
    actions = []
    for build in builds:
        scheduler.handle(BuildStarted(build, None), 0)
    for number in range(tasks):
        for index, build in enumerate(builds):
            actions += scheduler.handle(TaskArrived(number * len(builds) + index, build, Placement.REMOTE), 0)
    for executor in range(executors):
        actions += scheduler.handle(ExecutorJoined(f"e{executor}"), 0)
    return scheduler, [action for action in actions if isinstance(action, Dispatch | RunLocally)]


@given(st.integers(1, 7), st.integers(2, 4), st.lists(st.integers(0, 1000), max_size=30))
def test_builds_under_load_hold_the_same_number_of_executors(executors, builds, ends):
    names = "abcd"[:builds]
    scheduler, dispatched = scheduler_with(executors, names, 40)
    running = {dispatch.executor: dispatch.task for dispatch in dispatched}
    for end in ends:
        held = Counter(dict.fromkeys(names, 0))
        held.update(names[task % builds] for task in running.values())
        assert max(held.values()) - min(held.values()) <= 1
        executor = sorted(running)[end % len(running)]
        (dispatch,) = scheduler.handle(AttemptEnded(executor, running.pop(executor), Outcome.DONE), 1)
        assert dispatch.executor == executor
        running[executor] = dispatch.task


def test_a_single_executor_serves_builds_in_turn():
    scheduler, (dispatch,) = scheduler_with(1, "abc", 3)
    order = []
    for _ in range(8):
        order.append("abc"[dispatch.task % 3])
        (dispatch,) = scheduler.handle(AttemptEnded("e0", dispatch.task, Outcome.DONE), 1)
    assert "".join(order) == "abcabcab"


def test_a_single_slot_serves_builds_in_turn_while_no_executor_is_there():
    scheduler, (start,) = scheduler_with(0, "abc", 3, grace_s=0.0)
    order = []
    for _ in range(8):
        order.append("abc"[start.task % 3])
        (start,) = [a for a in scheduler.handle(TaskGone(start.task), 1) if isinstance(a, RunLocally)]
    assert "".join(order) == "abcabcab"


def test_a_late_build_catches_up_and_a_build_alone_has_everything():
    scheduler, dispatched = scheduler_with(4, "a", 10)
    assert len(dispatched) == 4
    running = {dispatch.executor: "a" for dispatch in dispatched}
    tasks = {dispatch.executor: dispatch.task for dispatch in dispatched}
    scheduler.handle(BuildStarted("b", None), 1)
    for number in range(100, 103):
        scheduler.handle(TaskArrived(number, "b", Placement.REMOTE), 1)
    seen = []
    for turn in range(8):
        executor = f"e{turn % 4}"
        for action in scheduler.handle(AttemptEnded(executor, tasks[executor], Outcome.DONE), 2):
            tasks[executor] = action.task
            running[executor] = "b" if action.task >= 100 else "a"
        seen.append("".join(running[f"e{index}"] for index in range(4)))
    # b gets the first two executors that are free, and its third task one of its own. Then a gets all executors again.
    assert seen == ["baaa", "bbaa", "bbaa", "bbaa", "bbaa", "baaa", "baaa", "baaa"]


def test_dependency_generation_goes_first_in_order_of_arrival():
    scheduler = Scheduler(SchedulingPolicy(1, 1, 1, False, 3, 1e9, False, 60.0))
    for task, priority in enumerate([1, 1, 0, 5, 0, -1]):
        scheduler.handle(TaskArrived(task, "b", Placement.REMOTE, priority, task == 1), 0)
    actions = scheduler.handle(ExecutorJoined("x"), 0)
    order = []
    while actions:
        (dispatch,) = actions
        assert isinstance(dispatch, Dispatch)
        order.append(dispatch.task)
        actions = scheduler.handle(AttemptEnded("x", dispatch.task, Outcome.DONE), 1)
        scheduler.validate()
    assert order == [5, 2, 4, 0, 1, 3]


def test_tasks_that_must_be_remote_and_others_keep_their_order():
    scheduler = Scheduler(SchedulingPolicy(1, 1, 1, False, 3, 1e9, False, 60.0))
    for task in range(6):
        scheduler.handle(TaskArrived(task, "b", Placement.REMOTE, 1, task in (1, 2, 4)), 0)
    actions = scheduler.handle(ExecutorJoined("x"), 0)
    for task in range(5):
        actions += scheduler.handle(AttemptEnded("x", task, Outcome.DONE), 1)
    order = [action.task for action in actions if isinstance(action, Dispatch)]
    assert len(actions) == len(order)
    assert order == list(range(6))
