"""The log has a line for each event, with its result."""

from __future__ import annotations

import json

import pytest

from spraycc.jobserver.events import (
    BuildStalled,
    Event,
    Limits,
    LimitsChanged,
    RunnerRegistered,
    TaskDone,
    ToolEnded,
    ToolStarted,
    WidthChanged,
)
from spraycc.jobserver.governor import Governor
from spraycc.jobserver.journal import begin_line, event_line
from spraycc.jobserver.tokens import TokenAccount
from spraycc.model import TaskId

LIMITS = Limits(2, 4, first_window=8, first_window_s=1.0)
A = TaskId(1)


def listed(line: str) -> list[object]:
    before, _, entry = line.partition("tokens of build b1: ")
    assert before == ""
    found: list[object] = json.loads(entry)
    return found


def test_the_first_line_has_what_the_governor_began_with() -> None:
    assert listed(begin_line("b1", LIMITS, 10, 5.0)) == ["begin", 5.0, [[2, 4, 0.1, 8, 1.0, None], 10]]


@pytest.mark.parametrize(
    ("event", "entry"),
    [
        (ToolStarted(), ["ToolStarted", 9.0, [], 0, 0, [], [2, 2, 1, 0]]),
        (RunnerRegistered(TaskId(2), "r2"), ["RunnerRegistered", 9.0, [2, "r2"], 1, 0, [], [2, 1, 2, 0]]),
        (RunnerRegistered(TaskId(2), "r1"), ["RunnerRegistered", 9.0, [2, "r1"], 0, 0, [], [2, 1, 1, 0]]),
        (TaskDone(A), ["TaskDone", 9.0, [1], 0, 1, [], [2, 1, 1, 1]]),
        (ToolEnded(), ["ToolEnded", 9.0, [], 0, 2, [], [2, 0, 1, 0]]),
        (LimitsChanged(Limits(3, 6)), ["LimitsChanged", 9.0, [[3, 6, 0.1, 0, 0.0, None]], 1, 0, [], [2, 1, 1, 0]]),
        (WidthChanged(1), ["WidthChanged", 9.0, [1], 0, 2, [], [2, 1, 1, 0]]),
        (BuildStalled(), ["BuildStalled", 9.0, [], 1, 0, [], [2, 1, 1, 0]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_events_line_has_its_fields_and_what_came_of_it(event: Event, entry: list[object]) -> None:
    tokens = TokenAccount()
    governor = Governor(Limits(2, 4), 10, tokens, 5.0)
    for before in (ToolStarted(), RunnerRegistered(A, "r1")):
        governor.handle(before, 5.0)
        tokens.written(tokens.due)
    decision = governor.handle(event, 9.0)
    assert listed(event_line("b1", event, 9.0, decision, governor, tokens)) == entry


def test_a_line_names_the_tasks_that_are_released() -> None:
    governor = Governor(Limits(4, 4), 2, tokens := TokenAccount(), 5.0)
    for event in (ToolStarted(), RunnerRegistered(A, "r1"), TaskDone(A)):
        decision = governor.handle(event, 5.0)
    assert listed(event_line("b1", event, 5.0, decision, governor, tokens))[5] == [A]
