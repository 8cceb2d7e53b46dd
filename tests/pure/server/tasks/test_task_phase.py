"""The phases of a task, and their order."""

from __future__ import annotations

import itertools

import pytest

from spraycc.model import BuildId, Command, Description, Kind, Placement, TaskId
from spraycc.server.tasks.task import NEXT_PHASES, Phase, Task


def task_in(phase: Phase) -> Task:
    command = Command((b"gcc",), b"/usr/bin/gcc", b"/w", (), 0o022)
    description = Description(Kind.COMPILE, Placement.REMOTE, "compile")
    return Task(TaskId(1), BuildId("b"), command, description, None, None, live=False, phase=phase)  # type: ignore[arg-type]


def test_every_phase_has_its_successors_and_is_reached() -> None:
    assert set(NEXT_PHASES) == set(Phase)
    assert {Phase.WAITING, *itertools.chain(*NEXT_PHASES.values())} == set(Phase)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Phase, Phase)))
def test_only_phases_of_the_table_follow(before: Phase, after: Phase) -> None:
    task = task_in(before)
    if after in NEXT_PHASES[before]:
        task.enter(after)
        assert task.phase is after
    else:
        with pytest.raises(AssertionError, match=f"task 1: {after.value} after {before.value}"):
            task.enter(after)


@pytest.mark.parametrize("phase", list(Phase))
def test_a_task_that_runs_here(phase: Phase) -> None:
    assert task_in(phase).runs_here is phase.value.startswith("here")
