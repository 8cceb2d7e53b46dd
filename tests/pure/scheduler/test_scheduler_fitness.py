"""Executors whose hosts have another compiler: their tasks go to a fit executor, or run on the submit host if none is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spraycc.model import Placement
from spraycc.scheduler.actions import Dispatch, RunLocally
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    Outcome,
    TaskArrived,
    TaskGone,
)

DONE, UNFIT = Outcome.DONE, Outcome.UNFIT
Play = Any
Start = Callable[..., Play]


def needing(needs: str, task: int, *, must: bool = False) -> TaskArrived:
    return TaskArrived(task, "b", Placement.REMOTE, needs=needs, must_be_remote=must)


def with_executors(start: Start, *names: str, **settings: int) -> Play:
    play = start(**settings)
    play.do(BuildStarted("b", None), 0)
    for name in names:
        play.do(ExecutorJoined(name), 0)
    return play


def placed(play: Play, now: float, event: object) -> list[object]:
    """The placements among the actions that follow from the event."""
    return [action for action in play.do(event, now) if isinstance(action, Dispatch | RunLocally)]


def test_it_goes_to_another_executor_and_never_back(start: Start) -> None:
    play = with_executors(start, "odd")
    assert placed(play, 1, needing("gcc", 2)) == [Dispatch(2, "odd", 1)]
    assert placed(play, 1, ExecutorJoined("good")) == []
    assert placed(play, 2, AttemptEnded("odd", 2, UNFIT)) == [Dispatch(2, "good", 2)]
    assert placed(play, 3, needing("gcc", 3)) == []  # though "odd" is idle
    assert placed(play, 3, needing("clang", 4)) == [Dispatch(4, "odd", 1)]  # and overtakes the waiting task
    assert placed(play, 4, AttemptEnded("good", 2, DONE)) == [Dispatch(3, "good", 1)]


def test_where_none_is_fit_it_runs_here_one_after_the_other(start: Start) -> None:
    play = with_executors(start, "odd")
    assert placed(play, 1, needing("gcc", 1)) == [Dispatch(1, "odd", 1)]
    assert placed(play, 1, needing("gcc", 2)) == []
    assert placed(play, 1, needing("gcc", 3, must=True)) == []
    (first,) = placed(play, 2, AttemptEnded("odd", 1, UNFIT))
    assert first == RunLocally(1, "unfit")
    (second,) = placed(play, 3, TaskGone(1))
    assert isinstance(second, RunLocally)
    # An executor that joins later is fit: it gets the tasks that have not begun on the submit host.
    (third,) = placed(play, 4, ExecutorJoined("good"))
    assert isinstance(third, Dispatch)
    assert {second.task, third.task} == {2, 3}


def test_a_misfit_is_no_attempt(start: Start) -> None:
    """Misfits do not count as attempts, however many hosts differ."""
    odd = [f"odd{number}" for number in range(4)]
    play = with_executors(start, *odd, "good", max_executors=5, max_attempts=1)
    assert placed(play, 1, TaskArrived(1, "b", Placement.REMOTE)) == [Dispatch(1, "good", 1)]
    assert placed(play, 1, needing("gcc", 2)) == [Dispatch(2, "odd3", 1)]
    for attempt in (2, 3, 4):
        ended = AttemptEnded(f"odd{5 - attempt}", 2, UNFIT)
        assert placed(play, 1, ended) == [Dispatch(2, f"odd{4 - attempt}", attempt)]
    assert placed(play, 2, AttemptEnded("odd0", 2, UNFIT)) == []
    assert placed(play, 3, AttemptEnded("good", 1, DONE)) == [Dispatch(2, "good", 5)]


def test_the_last_fit_executor_is_lost(start: Start) -> None:
    play = with_executors(start, "odd", "good")
    assert placed(play, 1, needing("gcc", 1)) == [Dispatch(1, "good", 1)]
    assert placed(play, 1, needing("gcc", 2)) == [Dispatch(2, "odd", 1)]
    assert placed(play, 1, AttemptEnded("odd", 2, UNFIT)) == []
    (here,) = placed(play, 2, ExecutorLost("good"))
    assert isinstance(here, RunLocally)
