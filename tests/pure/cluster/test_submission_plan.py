"""The plan's next command and its time: a test feeds events and checks actions and the time of the next action."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from spraycc.cluster.batch_jobs import LINGER_S, UNLISTED_S, VANISHED_RETRY_S
from spraycc.cluster.driver import RETRY_S, BatchId, BatchJob, ClusterError, State, Submission, Trouble
from spraycc.cluster.plan_actions import (
    Cancel,
    Command,
    Explain,
    Limited,
    List,
    Report,
    ReportFailed,
    Say,
    Search,
    Submit,
)
from spraycc.cluster.registry import driver_for
from spraycc.cluster.submission_plan import (
    FIRST_LOOK_S,
    RETRY_AFTER_WITHDRAWAL_S,
    SLOW_ANSWER_S,
    WATCH_WANTED_S,
    SubmissionPlan,
)
from spraycc.settings import Settings

#: The settings' defaults.
STATUS_S, SUBMIT_S, RELEASE_S, PATIENCE_S = 15.0, 1.0, 60.0, 30.0


SILENT = ClusterError(Trouble.UNREACHABLE, "squeue did not end within 2 s")


class Play:
    """A plan, its clock, and the results of its commands."""

    def __init__(self, **settings: Any) -> None:
        made = Settings(**{"cluster": "slurm", **settings})
        self.plan = SubmissionPlan(made, driver_for(made, "user1"))
        self.now = 0.0
        self.wanted = True
        self._submissions = 0

    def next(self, at: float | None = None) -> list[Command | Report]:
        """The actions at this time."""
        self.now = self.now if at is None else at
        actions, self.due = self.plan.next(self.now, wanted=self.wanted)
        return actions

    def ask(self, count: int) -> list[Command | Report]:
        self.plan.ask(count)
        return self.next()

    def submission(self, action: Command | Report) -> Submission:
        assert isinstance(action, Submit)
        self._submissions += 1
        submission = Submission(f"tag{self._submissions:03}", action.count, "name", action.queue, (), "log")
        self.plan.submitting(submission.tag)
        return submission

    def take(self, action: Command | Report, number: str = "7") -> list[BatchId]:
        """The cluster manager accepts the submission."""
        submission = self.submission(action)
        ids = self.plan.driver.batch_ids(number, submission)
        self.plan.submitted(submission, ids, self.now)
        return list(ids)

    def refuse(self, action: Command | Report, kind: Trouble = Trouble.REFUSED, text: str = "no") -> None:
        self.plan.refused(self.submission(action), ClusterError(kind, text), self.now)

    def connect(self, *elements: int, tag: int = 1) -> None:
        for element in elements:
            self.plan.connected(f"tag{tag:03}-{element}")

    def list(self, ids: list[BatchId], state: State, reason: str = "") -> list[Command | Report]:
        """Feeds a listing with these batch jobs; returns the actions that follow."""
        self.plan.listed([BatchJob(batch, state, reason) for batch in ids], self.now, self.now)
        return self.next()


def submitted(count: int = 3, **settings: Any) -> tuple[Play, list[BatchId]]:
    """``count`` batch jobs, submitted at time 0."""
    play = Play(**settings)
    (action,) = play.ask(count)
    return play, play.take(action)


# -- submit


def test_nothing_is_due_before_something_is_asked_for() -> None:
    play = Play()
    assert play.next() == []
    assert play.due == math.inf


@pytest.mark.parametrize(
    ("settings", "asked", "action"),
    [
        ({}, 3, Submit(None, 3)),
        ({"queues": ("a", "b")}, 3, Submit("a", 3)),
        ({"queues": ("a", "b"), "queue_use": "share"}, 3, Submit("a", 2)),
        ({"array_limit": 2}, 3, Submit(None, 2)),
        ({"cpus_per_executor": 2}, 3, Submit(None, 2)),
        ({"keep_pending": 1}, 3, Submit(None, 1)),
    ],
)
def test_the_first_submission(settings: dict[str, Any], asked: int, action: Submit) -> None:
    assert Play(**settings).ask(asked) == [action]


def test_submissions_keep_their_distance() -> None:
    play, _ = submitted()
    assert play.ask(2) == []
    assert play.due == SUBMIT_S
    assert play.next(SUBMIT_S) == [Submit(None, 2)]
    assert play.plan.processes == 5


def test_no_more_wait_than_the_settings_allow() -> None:
    play, _ = submitted(3, keep_pending=2)
    assert play.next(SUBMIT_S) == []
    play.connect(1)
    assert play.next() == [Submit(None, 1)]


# -- refused


@pytest.mark.parametrize("kind", Trouble)
def test_a_refusal_is_reported_with_its_pause(kind: Trouble) -> None:
    play = Play()
    (action,) = play.ask(1)
    play.refuse(action, kind)
    (report,) = play.next()
    assert isinstance(report, ReportFailed)
    assert (report.count, report.retry_s) == (1, RETRY_S[kind])
    assert report.text.startswith("no (")
    assert play.plan.processes == 0
    # An unanswered submission is withdrawn when no build wants it.
    assert play.due == (WATCH_WANTED_S if kind in (Trouble.UNREACHABLE, Trouble.GARBLED) else math.inf)


def test_each_queue_is_tried_and_the_mildest_refusal_counts() -> None:
    play = Play(queues=("a", "b"))
    (first,) = play.ask(1)
    play.refuse(first, Trouble.REFUSED, "never")
    (second,) = play.next()
    assert second == Submit("b", 1)
    play.refuse(second, Trouble.BUSY, "later")
    (report,) = play.next()
    assert isinstance(report, ReportFailed)
    assert report.retry_s == RETRY_S[Trouble.BUSY]
    assert report.text.startswith("never; later (")


@pytest.mark.parametrize("kind", [Trouble.TOO_LARGE, Trouble.BUSY])
def test_an_array_that_is_too_large_is_halved(kind: Trouble) -> None:
    play = Play()
    (action,) = play.ask(5)
    play.refuse(action, kind)
    assert play.next() == []
    assert play.next(SUBMIT_S) == [Submit(None, 2)]


def test_what_was_taken_makes_the_next_array_larger_up_to_its_limit() -> None:
    play = Play(array_limit=5)
    play.refuse(play.ask(20)[0], Trouble.BUSY)
    sizes = []
    for _ in range(4):
        (action,) = play.next(play.now + SUBMIT_S)
        assert isinstance(action, Submit)
        sizes.append(action.count)
        play.take(action, str(len(sizes)))
    assert sizes == [2, 4, 5, 5]


def test_an_array_limit_of_the_cluster_manager_is_not_tried_again() -> None:
    play = Play()
    play.refuse(play.ask(20)[0], Trouble.TOO_LARGE)
    for number in (7, 8):
        (action,) = play.next(play.now + SUBMIT_S)
        assert action == Submit(None, 10)
        play.take(action, str(number))


def test_other_queues_are_asked_before_an_array_is_halved() -> None:
    play = Play(queues=("a", "b"))
    play.refuse(play.ask(4)[0], Trouble.BUSY)
    assert play.next() == [Submit("b", 4)]
    play.refuse(Submit("b", 4), Trouble.REFUSED)
    assert play.next(SUBMIT_S) == [Submit("a", 2)]


def test_a_limit_in_a_further_queue_is_used_up_too() -> None:
    play = overdue()
    play.refuse(Submit("b", 2), Trouble.BUSY)
    assert play.next(PATIENCE_S + SUBMIT_S) == [Submit("b", 1)]
    play.take(Submit("b", 1), "8")
    assert [type(action) for action in play.next(PATIENCE_S + 2 * SUBMIT_S)] == [Say, Submit]


# -- submissions without an answer


@pytest.mark.parametrize("kind", [Trouble.UNREACHABLE, Trouble.GARBLED])
def test_an_unanswered_submission_is_searched_and_adopted(kind: Trouble) -> None:
    play = Play()
    (action,) = play.ask(2)
    play.refuse(action, kind)
    play.next()
    play.now = 20.0
    assert play.ask(2) == [Search()]
    assert play.plan.found(["7"], play.now) == "7"
    assert play.next() == [List(("7",))]
    assert play.plan.batch_jobs.ids() == [BatchId("7", 1), BatchId("7", 2)]


@pytest.mark.parametrize("kind", [Trouble.UNREACHABLE, Trouble.GARBLED])
@pytest.mark.parametrize("use", ["first", "share"])
def test_an_unanswered_submission_is_searched_before_the_next_queue_gets_one(use: str, kind: Trouble) -> None:
    play = Play(queues=("a", "b"), queue_use=use)
    (action,) = play.ask(4)
    play.refuse(action, kind)
    (report,) = play.next()
    assert isinstance(report, ReportFailed)
    assert (report.count, report.retry_s) == (4, RETRY_S[kind])
    assert play.plan.attempt is None
    play.now = 150.0
    assert play.ask(4) == [Search()]


@pytest.mark.parametrize(
    ("found", "after"),
    [
        ([], [Submit(None, 2)]),
        (["7", "8"], [Cancel((BatchId("7"), BatchId("8")), "submitted without an answer")]),
    ],
)
def test_a_search_that_finds_none_or_several(found: list[str], after: list[Command]) -> None:
    play = Play()
    play.refuse(play.ask(2)[0], Trouble.UNREACHABLE)
    play.next()
    play.now = 20.0
    assert play.ask(2) == [Search()]
    play.plan.found(found, play.now)
    assert play.next() == after
    play.plan.cancelled([BatchId(number) for number in found])
    assert play.next() == [Submit(None, 2)]


def test_a_search_that_fails_is_repeated_before_the_next_submission() -> None:
    play = Play()
    play.refuse(play.ask(2)[0], Trouble.UNREACHABLE)
    play.next()
    play.now = 20.0
    assert play.ask(2) == [Search()]
    play.plan.search_failed()
    (action,) = play.next()
    play.take(action)
    play.now = 30.0
    assert play.ask(1) == [Search()]


def unanswered() -> Play:
    """The cluster manager may have taken two executors, and no build wants them."""
    play = Play()
    play.refuse(play.ask(2)[0], Trouble.UNREACHABLE)
    play.next()
    play.wanted = False
    assert play.next(20.0) == []
    assert play.next(20.0 + RELEASE_S - 1) == []
    assert play.next(20.0 + RELEASE_S) == [Search()]
    return play


def test_an_unanswered_submission_that_no_build_wants_is_searched_and_cancelled() -> None:
    play = unanswered()
    play.plan.found(["7"], play.now)
    assert play.next() == [Cancel((BatchId("7", 1), BatchId("7", 2)), "not wanted any more")]
    play.plan.cancelled([BatchId("7", 1), BatchId("7", 2)])
    assert play.next() == []
    assert play.due == math.inf


def test_an_unanswered_submission_that_is_not_found_is_forgotten() -> None:
    play = unanswered()
    assert not play.plan.is_idle
    play.plan.found([], play.now)
    assert play.next() == []
    assert play.plan.is_idle
    assert play.due == math.inf


def test_a_search_before_a_withdrawal_that_fails_is_repeated_after_a_pause() -> None:
    play = unanswered()
    for _ in range(3):
        play.plan.search_failed()
        assert play.next() == []
        assert play.next(play.now + RETRY_S[Trouble.UNREACHABLE] - 1) == []
        assert play.next(play.now + 1) == [Search()]
    play.plan.found(["7"], play.now)
    (cancel,) = play.next()
    assert isinstance(cancel, Cancel)


@pytest.mark.parametrize("answers", [True, False])
def test_a_withdrawal_in_mid_build_searches_first(answers: bool) -> None:
    play, ids = submitted(1)
    (action,) = play.ask(2) or play.next(SUBMIT_S)
    play.refuse(action, Trouble.UNREACHABLE)
    play.next()
    play.plan.withdraw()
    assert play.next() == [Search()]
    assert play.plan.is_cancelling(play.now)
    if answers:
        play.plan.found(["7", "8"], play.now)
        ids += [BatchId("8", 1), BatchId("8", 2)]
    else:
        play.plan.search_failed()
    report, cancel = play.next()
    assert isinstance(report, ReportFailed)
    assert cancel == Cancel(tuple(ids), "not wanted any more")
    play.plan.cancelled(ids)
    assert play.next() == []
    assert not play.plan.is_cancelling(play.now)


@pytest.mark.parametrize(("cluster", "listed_as"), [("slurm", "7"), ("pbs", "7[]")])
def test_a_submission_that_was_just_cancelled_is_not_the_unanswered_one(cluster: str, listed_as: str) -> None:
    """Slurm lists it as CG for some time, PBS as E."""
    play, ids = submitted(2, cluster=cluster)
    play.plan.withdraw()
    play.next()
    play.plan.cancelled(ids)
    play.now = SUBMIT_S
    play.refuse(play.ask(2)[0], Trouble.UNREACHABLE)
    play.next()
    play.now = 20.0
    assert play.ask(2) == [Search()]
    assert play.plan.found([listed_as], play.now) is None
    assert play.next() == [Submit(None, 2)]


def test_an_unknown_submission_of_pbs_is_cancelled_once() -> None:
    """A search finds an array with brackets, and cancel commands need them."""
    play = Play(cluster="pbs")
    play.refuse(play.ask(2)[0], Trouble.UNREACHABLE)
    play.next()
    play.plan.found(["8[]", "9[]"], play.now)
    ids = BatchId("8[]"), BatchId("9[]")
    assert play.next() == [Cancel(ids, "submitted without an answer")]
    play.plan.cancelled(ids)
    play.plan.unanswered.append(Submission("tag009", 2, "name", None, (), "log"))
    assert play.plan.found(["9[]"], play.now) is None
    assert play.plan.to_cancel == {}


def test_the_memory_of_cancelled_submissions_is_bounded() -> None:
    play = Play()
    for number in range(1000):
        play.plan.cancelled([BatchId(str(number), element) for element in (1, 2)])
    assert play.plan.cancelled_ids == [str(number) for number in range(900, 1000)]


# -- a further queue


def overdue() -> Play:
    """Two executors have waited in queue a for too long, so the plan asks queue b for them too."""
    play, _ = submitted(2, queues=("a", "b"), status_interval_s=600.0)
    assert play.next(FIRST_LOOK_S) == [List(("7",))]
    assert play.next(PATIENCE_S - 1) == []
    assert play.next(PATIENCE_S) == [Submit("b", 2)]
    return play


def test_a_further_queue_is_asked_once_and_the_user_told() -> None:
    play = overdue()
    play.take(Submit("b", 2), "8")
    assert play.next() == [Say("Slurm: nothing has started in a for 30 s, so b is asked too")]
    assert play.next(200.0) == []
    assert play.plan.to_submit == 0


def test_what_others_were_faster_than_is_cancelled() -> None:
    play = overdue()
    play.take(Submit("b", 2), "8")
    play.next()
    play.connect(1, tag=2)
    assert play.next() == [Cancel((BatchId("7", 2),), "not needed, other queues were faster")]


def test_a_further_queue_that_refuses_is_asked_again_after_its_pause() -> None:
    play = overdue()
    play.refuse(Submit("b", 2))
    (said,) = play.next()
    assert isinstance(said, Say)
    assert said.text.endswith("what was submitted before still waits")
    assert play.plan.asked == 2
    assert play.next(PATIENCE_S + RETRY_S[Trouble.REFUSED] - 1) == [List(("7",))]
    play.plan.list_failed(SILENT, play.now)
    assert play.next(PATIENCE_S + RETRY_S[Trouble.REFUSED]) == [Submit("b", 2)]


def test_the_loss_of_a_second_chance_is_no_failure() -> None:
    play = overdue()
    play.take(Submit("b", 2), "8")
    play.next()
    play.now = 100.0
    assert play.list([BatchId("7", 1), BatchId("7", 2)], State.PENDING, "Resources") == [
        Say("Slurm: 2 executors ended before connecting to the server"),
        Cancel((BatchId("8", 1), BatchId("8", 2)), "stuck, silent, never listed or left behind"),
    ]
    play.plan.cancelled([BatchId("8", 1), BatchId("8", 2)])
    assert play.next(99.0 + VANISHED_RETRY_S) == []
    assert play.next(100.0 + VANISHED_RETRY_S) == [Submit("b", 2)]


def test_later_ones_do_not_wait_again_in_a_queue_that_has_started_nothing() -> None:
    play = overdue()
    play.take(Submit("b", 2), "8")
    play.next()
    play.connect(1, 2, tag=2)
    (cancel,) = play.next(40.0)
    assert isinstance(cancel, Cancel)
    play.plan.cancelled(cancel.ids)
    (first,) = play.ask(4)
    assert first == Submit("a", 4)
    play.take(first, "9")
    assert play.next(40.0 + SUBMIT_S) == [Submit("b", 4)]


# -- listings


def test_a_question_without_an_answer_is_the_reason_for_pending() -> None:
    """At once after some seconds, and then by the error, until the cluster manager answers."""
    play, ids = submitted(1)

    def reasons(at: float) -> list[str]:
        return [group["reason"] for group in play.plan.pending(at)]

    assert play.next(FIRST_LOOK_S) == [List(("7",))]
    assert reasons(FIRST_LOOK_S + SLOW_ANSWER_S - 0.1) == [""]
    assert reasons(FIRST_LOOK_S + SLOW_ANSWER_S) == ["not known: squeue gives no answer"]
    play.plan.list_failed(SILENT, 10.0)
    assert reasons(10.0) == ["not known: squeue did not end within 2 s"]
    play.list(ids, State.PENDING, "Resources")
    assert reasons(20.0) == ["Resources"]
    play.plan.list_failed(SILENT, 40.0)
    assert reasons(40.0) == ["Resources"]


@pytest.mark.parametrize(("cluster", "later_s"), [("slurm", 0.0), ("openlava", 0.0), ("lsf", 60.0)])
def test_when_a_batch_job_that_was_never_listed_is_gone(cluster: str, later_s: float) -> None:
    play, ids = submitted(1, cluster=cluster)
    for play.now, known in ((later_s, ids), (later_s + 1.0, [])):
        play.list([], State.GONE)
        assert play.plan.batch_jobs.ids() == known


def test_an_explanation_without_an_answer_is_the_reason_for_pending() -> None:
    play, _ = submitted(1, cluster="lsf")
    (action,) = play.next(FIRST_LOOK_S)
    assert isinstance(action, Explain)
    assert play.plan.pending(9.0)[0]["reason"] == "not known: bjobs gives no answer"
    play.plan.explained("", 10.0, SILENT)
    assert play.plan.pending(10.0)[0]["reason"] == "not known: squeue did not end within 2 s"
    play.plan.explained("", 20.0)
    assert play.plan.pending(20.0)[0]["reason"] == ""


def test_a_limit_on_queued_batch_jobs_is_known_until_all_are_submitted() -> None:
    play = Play()
    play.refuse(play.ask(4)[0], Trouble.BUSY, "the limit is 2")
    assert play.plan.limited() is None  # nothing is in: a part may be taken
    (part,) = play.next(SUBMIT_S)
    play.take(part)
    words = "the limit is 2 (SprayCC tries again later)"
    assert play.plan.limited() == Limited(words, f"{words}; 2 of 4 executors are submitted", 0.0)
    (rest,) = play.next(2 * SUBMIT_S)
    play.take(rest, "8")
    assert play.plan.limited() is None


def test_a_listing_is_asked_for_at_the_interval_while_executors_are_awaited() -> None:
    play, ids = submitted(1)
    assert play.next(STATUS_S) == [List(("7",))]
    assert play.list(ids, State.RUNNING) == []
    assert play.next(2 * STATUS_S - 1) == []
    assert play.next(2 * STATUS_S) == [List(("7",))]
    play.plan.list_failed(SILENT, play.now)
    play.connect(1)
    assert play.next(1000.0) == []
    assert play.due == math.inf


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (
            State.GONE,
            "",
            [ReportFailed(2, VANISHED_RETRY_S, "Slurm: 2 executors ended before connecting to the server", True)],
        ),
        (State.PENDING, "Resources", []),
        (State.PENDING, "", [Explain(BatchId("7", 1))]),
        (State.RUNNING, "", []),
    ],
)
def test_what_follows_from_a_listing(state: State, reason: str, told: list[Command | Report]) -> None:
    play, ids = submitted(2)
    play.next(STATUS_S)
    assert play.list(ids, state, reason) == told


@pytest.mark.parametrize(
    ("cluster", "look"),
    [
        ("slurm", List(("7",))),
        ("pbs", Explain(BatchId("7", 1))),
        ("lsf", Explain(BatchId("7", 1))),
        ("gridengine", Explain(BatchId("7", 1))),
    ],
)
def test_one_query_after_a_submission_of_which_nothing_has_connected(cluster: str, look: Command) -> None:
    play, ids = submitted(2, cluster=cluster)
    assert play.next(FIRST_LOOK_S - 0.1) == []
    assert play.due == FIRST_LOOK_S
    assert play.next(FIRST_LOOK_S) == [look]
    if isinstance(look, List):
        play.list(ids, State.PENDING, "no room")
    else:
        play.plan.explained("no room", play.now)
        play.next()
    play.now += 1.0
    reply = {
        "system": play.plan.driver.system,
        "queue": "",
        "batch_jobs": 2,
        "executors": 2,
        "reason": "no room",
        "started": False,
        "age_s": 4.0,
    }
    assert play.plan.pending(play.now) == [reply]
    assert play.next(FIRST_LOOK_S + STATUS_S - 0.1) == []
    (again,) = play.next(FIRST_LOOK_S + STATUS_S)
    assert isinstance(again, List)
    more = play.list(ids, State.PENDING)
    assert play.plan.pending(play.now)[0]["reason"] == "no room"  # a listing without words takes no reason back
    assert more == [] or cluster == "slurm"  # the reason was asked for a moment ago


def test_nothing_is_asked_early_once_an_executor_has_connected() -> None:
    play, ids = submitted(2)
    play.connect(1)
    assert play.next(STATUS_S - 0.1) == []
    assert play.next(STATUS_S) == [List(("7",))]
    play.list(ids, State.PENDING, "no room")
    assert [(it["batch_jobs"], it["executors"]) for it in play.plan.pending(play.now)] == [(1, 1)]
    play.connect(2)
    assert play.plan.pending(play.now) == []


def test_pending_batch_jobs_by_queue_and_reason() -> None:
    play, ids = submitted(3, queues=("fast", "slow"), cpus_per_executor=2, array_limit=1)
    play.now = SUBMIT_S
    (action,) = play.next()
    more = play.take(action, "8")
    play.now = 10.0
    play.list([*ids, *more], State.PENDING, "Priority")
    (found,) = play.plan.pending(play.now)
    assert found == {
        "system": "Slurm", "queue": "fast", "batch_jobs": 2, "executors": 4, "reason": "Priority", "started": False, "age_s": 10.0,
    }  # fmt: skip
    play.plan.listed([BatchJob(ids[0], State.RUNNING), BatchJob(more[0], State.PENDING, "Resources")], 10.0, 10.0)
    assert [(it["reason"], it["started"], it["executors"]) for it in play.plan.pending(play.now)] == [
        ("", True, 2),
        ("Resources", False, 2),
    ]


def test_stuck_batch_jobs_are_reported_and_cancelled() -> None:
    play, ids = submitted(2)
    play.next(STATUS_S)
    report, cancel = play.list(ids, State.STUCK, "PartitionTimeLimit")
    assert isinstance(report, ReportFailed)
    assert (report.count, report.retry_s) == (2, RETRY_S[Trouble.REFUSED])
    assert isinstance(cancel, Cancel)
    assert cancel.ids == tuple(ids)
    assert play.plan.processes == 0


def test_an_explanation_is_told_or_ends_all_that_wait() -> None:
    play, ids = submitted(2)
    play.next(STATUS_S)
    play.list(ids, State.PENDING)
    play.plan.explained("Not enough free nodes", play.now)
    assert play.next() == []
    assert [it["reason"] for it in play.plan.pending(play.now)] == ["Not enough free nodes"]
    play.now = 2 * STATUS_S
    play.list(ids, State.PENDING)
    play.plan.explained("Can Never Run: ncpus", play.now)
    report, cancel = play.next()
    assert isinstance(report, ReportFailed)
    assert report.count == 2
    assert isinstance(cancel, Cancel)


# -- withdrawn, and cancelled


def test_a_withdrawal_reports_and_cancels() -> None:
    play, ids = submitted(3)
    play.connect(1)
    play.plan.withdraw()
    assert play.next() == [
        ReportFailed(2, RETRY_AFTER_WITHDRAWAL_S, ""), Cancel(tuple(ids[1:]), "not wanted any more")
    ]  # fmt: skip
    play.plan.batch_jobs.remove(ids[:1])
    assert not play.plan.is_idle
    play.plan.cancelled(ids[1:])
    assert play.plan.is_idle


def test_a_withdrawal_of_nothing_is_forgotten() -> None:
    play = Play()
    play.plan.withdraw()
    assert play.next() == []
    assert play.ask(1) == [Submit(None, 1)]


def test_what_no_build_wants_is_withdrawn_after_the_delay() -> None:
    play, _ = submitted(1, status_interval_s=600.0)
    play.wanted = False
    assert play.next(FIRST_LOOK_S) == [List(("7",))]
    assert play.next(5.0) == []
    assert play.due == 5.0 + WATCH_WANTED_S
    play.wanted = True
    assert play.next(50.0) == []
    play.wanted = False
    assert play.next(60.0) == []
    assert play.next(60.0 + RELEASE_S - 1) == []
    report, cancel = play.next(60.0 + RELEASE_S)
    assert isinstance(report, ReportFailed)
    assert isinstance(cancel, Cancel)


def test_a_cancel_that_failed_is_repeated_after_its_pause() -> None:
    play, ids = submitted(1)
    play.plan.withdraw()
    _, cancel = play.next()
    assert play.next() == [cancel]
    for _ in range(2):
        play.plan.cancel_failed(ClusterError(Trouble.UNREACHABLE, "down"), play.now)
    assert play.next() == [Say("batch jobs are not cancelled yet: down (SprayCC tries again)")]
    assert play.next() == []
    assert play.due == RETRY_S[Trouble.UNREACHABLE]
    assert play.plan.everything() == ids
    # Submissions go on meanwhile.
    play.now = SUBMIT_S
    assert play.ask(1) == [Submit(None, 1)]
    play.take(Submit(None, 1), "8")
    assert play.next(RETRY_S[Trouble.UNREACHABLE]) == [cancel]
    play.plan.cancelled(ids)
    assert play.plan.everything() == [BatchId("8", 1)]


def test_a_batch_job_that_lingers_is_cancelled_until_it_is_gone() -> None:
    play, ids = submitted(1)
    play.connect(1)
    play.plan.left("tag001-1", 20.0)
    for _ in range(2):
        play.now += 20.0 + LINGER_S
        (cancel,) = play.list(ids, State.RUNNING)
        assert isinstance(cancel, Cancel)
        play.plan.cancelled(ids)
    play.now += STATUS_S
    assert play.list([], State.GONE) == []
    assert play.plan.processes == 0


def test_without_listings_a_batch_job_is_given_up_long_after_its_executors_have_left() -> None:
    """Else an idle server would never end."""
    play, ids = submitted(3)
    play.connect(1, 2, 3)
    play.plan.left("tag001-1", 20.0)
    play.plan.left("tag001-2", 100.0)
    for at in (20.0 + UNLISTED_S - 1, 20.0 + UNLISTED_S + STATUS_S):
        assert play.plan.processes == 3
        assert play.next(at) == [List(("7",))]
        play.plan.list_failed(SILENT, at)
    assert play.plan.batch_jobs.ids() == ids[1:]
    assert play.next() == [Cancel((ids[0],), "left long ago")]
    play.plan.cancel_failed(SILENT, play.now)
    play.now = 100.0 + UNLISTED_S
    play.plan.list_failed(SILENT, play.now)
    assert play.plan.processes == 1  # the third executor is connected
    assert play.plan.everything() == [ids[2], ids[0], ids[1]]


# -- faults


@pytest.mark.parametrize("prepare", [lambda play: play.plan.withdraw(), lambda play: None])
def test_a_fault_reports_what_was_to_be_submitted_and_pauses_everything(prepare: Callable[[Play], None]) -> None:
    play, _ = submitted(1)
    play.ask(2)
    prepare(play)
    play.plan.failed(play.now)
    assert play.next() == [
        ReportFailed(2, RETRY_S[Trouble.GARBLED], "Slurm: a fault of SprayCC; `spraycc status` names the log")
    ]
    assert play.ask(1) == []
    assert play.next(RETRY_S[Trouble.GARBLED]) == [Submit(None, 1)]
