"""The lines for builds that wait for executors: their times and their words."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.model import BuildId
from spraycc.server.fleet.waiting import AGAIN_S, ANSWER_S, FIRST_S, WaitNotices, in_words, span
from spraycc.status_reply import Pending

BUILD, OTHER = BuildId("b1"), BuildId("b2")


def group(**values: Any) -> Pending:
    whole: Any = {"system": "Slurm", "queue": "", "batch_jobs": 2, "executors": 2, "reason": "Resources"}
    return whole | {"started": False, "age_s": 3.25} | values


def times(notices: WaitNotices, pending: list[Pending], until: int, first: int = 0) -> list[int]:
    """The seconds at which a build is told, when nothing changes."""
    return [now for now in range(first, until) if notices.due(float(now), [BUILD], pending, 2)]


def test_a_build_is_told_after_three_seconds_and_then_rarely() -> None:
    assert times(WaitNotices(), [group()], 500) == [3, 30, 60, 120, 240, 480]


def test_the_cluster_managers_answer_is_waited_for_shortly() -> None:
    assert times(WaitNotices(), [group(reason="")], 100) == [int(FIRST_S + ANSWER_S), 30, 60]
    # Processes and batch jobs that have started have no reason.
    assert times(WaitNotices(), [group(reason="", batch_jobs=0)], 10) == [3]
    assert times(WaitNotices(), [group(reason="", started=True)], 10) == [3]


def test_another_reason_is_told_at_once_and_each_once() -> None:
    notices = WaitNotices()
    assert times(notices, [group()], 10) == [3]
    (line,) = notices.due(10.0, [BUILD], [group(reason="Priority")], 2).values()
    assert line == "2 batch jobs, submitted to Slurm 3 s ago, wait: Priority"
    assert times(notices, [group()], 20, 11) == []


def test_each_build_has_its_own_time() -> None:
    notices = WaitNotices()
    pending = [group()]
    for now in (0.0, 1.0, 2.0):
        assert not notices.due(now, [BUILD], pending, 2)
    assert list(notices.due(3.0, [BUILD, OTHER], pending, 2)) == [BUILD]
    assert list(notices.due(6.0, [BUILD, OTHER], pending, 2)) == [OTHER]


def test_a_wait_ends_with_an_executor() -> None:
    notices = WaitNotices()
    assert times(notices, [group()], 20) == [3]
    notices.news([group()], 1)
    assert times(notices, [group()], 120, 50) == [53, 80, 110]


def test_a_pause_between_requests_is_told_elsewhere() -> None:
    assert not any(WaitNotices().due(float(now), [BUILD], [], 0) for now in range(100))


def test_a_notice_repeats_no_details() -> None:
    notices = WaitNotices()
    assert notices.details(0.0, BUILD, [], 2) == "2 executors are asked for, and nothing has been submitted so far"
    assert notices.details(1.0, BUILD, [group()], 2) == ""
    assert not notices.due(3.0, [BUILD], [], 2)
    notices = WaitNotices()
    assert times(notices, [group()], 4) == [3]
    assert notices.details(5.0, BUILD, [group()], 2) == ""
    assert times(notices, [group()], int(AGAIN_S) + 1, 5) == [30]


def test_with_executors_connected_each_further_reason_is_told_once() -> None:
    notices = WaitNotices()
    assert notices.news([group(batch_jobs=94, age_s=7.0)], 6) == ""
    line = "94 batch jobs, submitted to Slurm 9 s ago, wait: Resources; 6 executors are connected"
    assert notices.news([group(batch_jobs=94, age_s=9.0)], 6) == line
    assert notices.news([group(batch_jobs=94, age_s=19.0)], 6) == ""
    assert notices.news([group(age_s=19.0), group(batch_jobs=1, age_s=20.0, reason="Priority")], 1) == (
        "1 batch job, submitted to Slurm 20 s ago, waits: Priority; 1 executor is connected"
    )
    assert notices.news([group(reason="", age_s=100.0)], 1) == ""


@pytest.mark.parametrize(
    ("pending", "asked", "words"),
    [
        ([], 1, "1 executor is asked for, and nothing has been submitted so far"),
        ([], 100, "100 executors are asked for, and nothing has been submitted so far"),
        ([group()], 100, "2 batch jobs, submitted to Slurm 3 s ago, wait: Resources"),
        ([group(reason="")], 0, "2 batch jobs, submitted to Slurm 3 s ago, have not started yet"),
        ([group(batch_jobs=1, reason="")], 0, "1 batch job, submitted to Slurm 3 s ago, has not started yet"),
        (
            [group(batch_jobs=1, executors=8, queue="fast", age_s=130.0)],
            0,
            "1 batch job, submitted to Slurm's queue fast 2 min ago, waits: Resources",
        ),
        (
            [group(batch_jobs=1, reason="", started=True, age_s=7500.0)],
            0,
            "1 batch job, submitted to Slurm 2 h 5 min ago, has started and not connected",
        ),
        (
            [group(reason="", started=True), group(batch_jobs=1)],
            0,
            "2 batch jobs, submitted to Slurm 3 s ago, have started and not connected; "
            "1 batch job, submitted to Slurm 3 s ago, waits: Resources",
        ),
        ([group(batch_jobs=0, system="ssh", queue="node7", reason="")], 0, "2 executors were started on node7 3 s ago"),
        ([group(batch_jobs=0, executors=1, system="command", reason="")], 0, "1 executor was started 3 s ago"),
    ],
)
def test_in_words(pending: list[Pending], asked: int, words: str) -> None:
    assert in_words(pending, asked) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (3600.0, "1 h 0 min"), (7500.0, "2 h 5 min")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text
