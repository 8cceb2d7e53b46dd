"""The log of a build's tokens can be done again, and says so where it does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.jobserver.governor import Governor, Limits
from spraycc.jobserver.journal import begin_line, event_line, replay


def written(events: list[tuple[str, tuple[Any, ...]]]) -> tuple[list[str], Governor]:
    limits = Limits(2, 4, first_window=8, first_window_s=1.0)
    governor = Governor(limits, 10, 5.0)
    lines = ["something else", begin_line("b1", limits, 10, 5.0), begin_line("b2", limits, 3, 5.0)]
    for number, (event, arguments) in enumerate(events):
        now = 5.0 + number / 10
        then = getattr(governor, event)(*arguments, now)
        lines.append("2026-01-01 INFO x: " + event_line("b1", event, arguments, now, governor, then))
    return lines, governor


EVENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("client_joined", ()),
    ("runner_registered", (1, "r1")),
    ("runner_registered", (2, "r2")),
    ("set_limits", (Limits(3, 6, first_window=8, first_window_s=1.0),)),
    ("set_total", (20,)),
    ("task_done", (1,)),
    ("token_withdrawn", (1,)),
    ("runner_waits", ()),
    ("stalled", ()),
    ("tokens_lost", (1,)),
    ("tokens_found", (1,)),
    ("runner_gone", (2,)),
    ("tick", ()),
]


def test_the_same_account_comes_of_the_same_lines() -> None:
    lines, governor = written(EVENTS)
    again = replay(lines, "b1")
    assert (again.issued, again.clients, again.recipes, again.held, again.unseen) == (
        governor.issued, governor.clients, governor.recipes, governor.held, governor.unseen,
    )  # fmt: skip


def test_a_line_that_does_not_follow_is_named() -> None:
    lines, _ = written(EVENTS)
    del lines[4]
    with pytest.raises(ValueError, match="when it is done again"):
        replay(lines, "b1")


@pytest.mark.parametrize("build", ["b3", "b"])
def test_a_build_that_is_not_there(build: str) -> None:
    with pytest.raises(ValueError, match="not in these lines"):
        replay(written([])[0], build)


def test_a_log_that_begins_later() -> None:
    lines, _ = written(EVENTS)
    with pytest.raises(ValueError, match="does not begin"):
        replay(lines[3:], "b1")
