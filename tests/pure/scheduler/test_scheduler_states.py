"""The tables of state transitions, and the grace period."""

from __future__ import annotations

import pytest

from spraycc.model import BuildId, ExecutorId, Placement, TaskId
from spraycc.scheduler.builds import ScheduledBuilds
from spraycc.scheduler.executor_pool import EXECUTOR_MOVES, Executor, ExecutorState
from spraycc.scheduler.grace import Grace
from spraycc.scheduler.memory import HostMemory
from spraycc.scheduler.tasks import REMOTE_STATES, TASK_MOVES, ScheduledTask, TaskState


@pytest.mark.parametrize("before", TaskState)
@pytest.mark.parametrize("after", TaskState)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_task_moves_as_the_table_says(before: TaskState, after: TaskState, is_open: bool) -> None:
    builds = ScheduledBuilds()
    if is_open:
        builds.start(BuildId("b"), 5)
    build = builds.get(BuildId("b"))
    task = ScheduledTask(TaskId(1), build, Placement.REMOTE, 1, False, 1, state=before)
    build.remote = builds.wanted_executors = int(before in REMOTE_STATES)
    if after not in TASK_MOVES[before]:
        with pytest.raises(AssertionError, match=f"task 1 can't go from {before} to {after}"):
            builds.move(task, after)
        assert task.state is before
        return
    builds.move(task, after)
    assert task.state is after
    assert build.remote == (after in REMOTE_STATES)
    assert is_open or builds.wanted_executors == build.remote


@pytest.mark.parametrize("before", ExecutorState)
@pytest.mark.parametrize("after", ExecutorState)
def test_an_executor_moves_as_the_table_says(before: ExecutorState, after: ExecutorState) -> None:
    executor = Executor(ExecutorId("e"), 0.0, HostMemory(0), "host", state=before)
    if after in EXECUTOR_MOVES[before]:
        executor.move(after)
        assert executor.state is after
    else:
        with pytest.raises(AssertionError, match=f"executor e can't go from {before} to {after}"):
            executor.move(after)


def test_every_state_is_reachable_and_leads_to_the_end() -> None:
    for table, first, last in (
        (TASK_MOVES, TaskState.ARRIVED, TaskState.GONE),
        (EXECUTOR_MOVES, ExecutorState.IDLE, ExecutorState.LOST),
    ):
        assert set(table) == {first, *(state for after in table.values() for state in after)}
        assert [state for state, after in table.items() if not after] == [last]


#: (time, a task waits, the cluster refuses, the grace is over, its deadline); the grace is 5 s
@pytest.mark.parametrize(
    "steps",
    [
        [(0.0, False, False, False, None)],
        [(0.0, True, False, False, 5.0), (4.0, True, False, False, 5.0), (5.0, True, False, True, None)],
        [(0.0, True, False, False, 5.0), (1.0, False, False, False, None), (5.0, True, False, False, 10.0)],
        [(0.0, True, True, True, None)],
        [(0.0, False, True, False, None)],
        [(0.0, True, True, True, None), (1.0, False, False, True, None), (2.0, True, False, True, None)],
    ],
)
def test_grace(steps: list[tuple[float, bool, bool, bool, float | None]]) -> None:
    grace = Grace()
    for now, waiting, refused, is_over, deadline in steps:
        grace.update(now, 5.0, waiting=waiting, refused=refused)
        assert (grace.is_over, grace.deadline(5.0)) == (is_over, deadline)


def test_an_executor_ends_the_grace_and_the_next_begins_afresh() -> None:
    grace = Grace()
    grace.update(0.0, 5.0, waiting=True, refused=False)
    grace.end()
    assert grace.deadline(5.0) is None
    grace.update(7.0, 5.0, waiting=True, refused=False)
    assert grace.deadline(5.0) == 12.0
