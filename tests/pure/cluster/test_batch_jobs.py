"""The conclusions from a listing about batch jobs whose executors have not connected."""

from __future__ import annotations

import math

import pytest

from spraycc.cluster.batch_jobs import (
    CONNECT_S,
    EXPLAIN_S,
    LINGER_S,
    MOST_VANISHED_RETRY_S,
    UNLISTED_S,
    VANISHED_RETRY_S,
    BatchJobs,
    Place,
    counted,
    ended_early,
    stay_silent,
)
from spraycc.cluster.driver import BatchId, BatchJob, State

#: wanted executors, as many as can be
MANY = 100
ARRAY = tuple(BatchId("7", index) for index in (1, 2, 3))


def three(copies: int = 1) -> BatchJobs:
    """Three batch jobs, submitted at time 100."""
    made = BatchJobs()
    made.add("abc123", ARRAY, copies, 100.0)
    return made


def reasons(it: BatchJobs) -> list[tuple[str, int]]:
    """The reasons for which batch jobs wait, and their numbers."""
    return [(group.reason, group.batch_jobs) for group in it.waiting()]


def listing(*states: State, reason: str = "") -> list[BatchJob]:
    return [BatchJob(batch, state, reason) for batch, state in zip(ARRAY, states, strict=False)]


def test_those_that_vanish_are_failed_once() -> None:
    it = three()
    it.connected("abc123-1")
    result = it.apply_listing(listing(State.RUNNING), 120.0, 121.0)
    assert [(it.count, it.is_logged) for it in result.failed] == [(2, True)]
    assert it.awaited == 0
    assert not it.apply_listing(listing(State.RUNNING), 130.0, 131.0).failed


def test_the_pause_grows_while_all_batch_jobs_end_before_their_executors_connect() -> None:
    it = BatchJobs()

    def pause_s(at: float) -> float:
        it.add("abc123", ARRAY, 1, at)
        (failure,) = it.apply_listing([], at + 1.0, at + 2.0).failed
        return failure.retry_s

    pauses = [pause_s(1000.0 * number) for number in range(8)]
    assert pauses == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, MOST_VANISHED_RETRY_S, MOST_VANISHED_RETRY_S]
    it.connected("of another submission")
    assert pause_s(10_000.0) == VANISHED_RETRY_S


def test_what_no_listing_has_ever_contained_is_cancelled_too() -> None:
    """The cluster manager may hide batch jobs from listings. Each would be left behind."""
    it = three()
    assert it.apply_listing(listing(State.PENDING, State.GONE), 120.0, 121.0).cancel == [ARRAY[2]]
    assert it.apply_listing([], 130.0, 131.0).cancel == []
    assert it.ids() == []


def test_a_listing_from_before_the_submission_says_nothing() -> None:
    it = three()
    result = it.apply_listing([], 99.0, 101.0)
    assert not result.failed
    assert it.awaited == 3


def test_an_old_listing_lacks_what_was_submitted_a_short_time_ago() -> None:
    """LSF's bjobs may be answered by a process that knows nothing of the latest submissions."""
    it = BatchJobs(listing_age_s=60.0)
    it.add("abc123", ARRAY, 1, 100.0)
    assert not it.apply_listing(listing(State.PENDING), 160.0, 161.0).failed
    result = it.apply_listing(listing(State.PENDING), 161.0, 162.0)
    assert [failure.count for failure in result.failed] == [2]
    assert it.ids() == [ARRAY[0]]


@pytest.mark.parametrize("ended", [[BatchJob(ARRAY[0], State.GONE)], []])
def test_the_end_of_a_batch_job_is_noticed_at_once_although_listings_may_be_old(ended: list[BatchJob]) -> None:
    it = BatchJobs(listing_age_s=60.0)
    it.add("abc123", ARRAY[:1], 1, 100.0)
    if not ended:
        it.apply_listing(listing(State.PENDING), 105.0, 106.0)
    assert [failure.count for failure in it.apply_listing(ended, 110.0, 111.0).failed] == [1]


def test_a_connected_executor_is_there_whatever_a_listing_says() -> None:
    it = three()
    it.connected("abc123-2")
    it.apply_listing([], 120.0, 121.0)
    assert it.ids() == [ARRAY[1]]


def test_batch_jobs_wait_for_the_reason_in_the_latest_listing() -> None:
    it = three()
    assert reasons(it) == [("", 3)]
    it.apply_listing(listing(*[State.PENDING] * 3, reason="Resources"), 101.0, 102.0)
    assert reasons(it) == [("Resources", 3)]
    assert it.apply_listing(listing(*[State.PENDING] * 3, reason="Resources"), 119.0, 120.0).explain is None
    it.apply_listing(listing(*[State.PENDING] * 3, reason="Priority"), 129.0, 130.0)
    assert reasons(it) == [("Priority", 3)]
    it.connected("abc123-2")
    assert reasons(it) == [("Priority", 2)]
    it.apply_listing(listing(*[State.RUNNING] * 3), 139.0, 140.0)
    assert [(it.reason, it.started, it.batch_jobs) for it in it.waiting()] == [("", True, 2)]


def test_where_the_listing_has_no_reason_one_is_asked_for() -> None:
    it = three()
    assert it.apply_listing(listing(*[State.PENDING] * 3), 119.0, 120.0).explain == ARRAY[0]
    it.apply_explanation("Job slot limit reached")
    assert reasons(it) == [("Job slot limit reached", 3)]
    never = it.apply_explanation("Can Never Run: Insufficient amount of resource: ncpus")
    assert never.cancel == list(ARRAY)
    assert never.failed[0].count == 3
    assert it.awaited == 0


def test_what_can_never_run_is_cancelled() -> None:
    it = three()
    result = it.apply_listing(listing(*[State.STUCK] * 3, reason="PartitionTimeLimit"), 119.0, 120.0)
    assert result.cancel == list(ARRAY)
    assert result.failed[0].count == 3
    assert "PartitionTimeLimit" in result.failed[0].text


def test_a_reason_is_asked_for_again_after_a_minute() -> None:
    it = three(2)
    waiting = listing(*[State.PENDING] * 3)
    assert it.apply_listing(waiting, 119.0, 120.0).explain == ARRAY[0]
    it.apply_explanation("busy")
    assert it.apply_listing(waiting, 129.0, 130.0).explain is None
    assert reasons(it) == [("busy", 3)]
    assert it.apply_listing(waiting, 119.0 + EXPLAIN_S, 120.0 + EXPLAIN_S).explain == ARRAY[0]


def test_those_that_are_stuck_without_a_reason_are_explained_and_cancelled_alone() -> None:
    """Grid Engine's listing has no reasons. A host whose prolog fails makes one batch job stuck, not those that wait."""
    it = three()
    result = it.apply_listing(listing(State.PENDING, State.STUCK, State.STUCK), 119.0, 120.0)
    assert result.explain == ARRAY[1]
    assert not result.cancel
    it.remove([ARRAY[2]])  # withdrawn meanwhile
    result = it.apply_explanation("error reason: failed in prolog")
    assert result.cancel == [ARRAY[1]]
    assert result.failed[0].count == 1
    assert "failed in prolog" in result.failed[0].text
    assert it.ids() == [ARRAY[0]]
    assert it.apply_explanation("error reason: failed in prolog").cancel == []


def test_one_that_runs_and_does_not_connect_is_cancelled() -> None:
    it = three()
    running = listing(*[State.RUNNING] * 3)
    assert not it.apply_listing(running, 119.0, 120.0).failed
    result = it.apply_listing(running, 119.0 + CONNECT_S, 120.0 + CONNECT_S)
    assert result.cancel == list(ARRAY)
    assert result.failed[0].count == 3


def test_a_batch_job_that_outlives_its_executor_is_cancelled() -> None:
    it = three()
    for number in (1, 2, 3):
        it.connected(f"abc123-{number}")
    it.left("abc123-1", 150.0)
    running = listing(*[State.RUNNING] * 3)
    assert not it.apply_listing(running, 160.0, 161.0).cancel
    assert it.apply_listing(running, 150.0 + LINGER_S, 151.0 + LINGER_S).cancel == [ARRAY[0]]


@pytest.mark.parametrize("state", [State.PENDING, State.SUSPENDED, State.STUCK])
def test_a_batch_job_that_waits_again_is_cancelled(state: State) -> None:
    """The batch job was requeued or preempted: its executor is gone, and the server has asked for another executor."""
    it = three()
    for number in (1, 2, 3):
        it.connected(f"abc123-{number}")
    it.left("abc123-1", 150.0)
    waiting = listing(state, State.RUNNING, State.RUNNING)
    assert not it.apply_listing(waiting, 160.0, 161.0).cancel
    assert it.apply_listing(waiting, 150.0 + LINGER_S, 151.0 + LINGER_S).cancel == [ARRAY[0]]
    it.connected("abc123-1")  # the executor connects before the cancellation
    assert not it.apply_listing(waiting, 250.0, 251.0).cancel


def test_one_that_ends_for_ever_is_forgotten() -> None:
    """Grid Engine keeps what was cancelled on a host that is down, until the host is back."""
    it = three()
    for number in (1, 2, 3):
        it.connected(f"abc123-{number}")
        it.left(f"abc123-{number}", 200.0)
    ending = listing(*[State.ENDING] * 3)
    it.apply_listing(ending, 200.0 + UNLISTED_S - 2, 200.0 + UNLISTED_S - 1)
    assert it.submission_ids()
    result = it.apply_listing(ending, 200.0 + UNLISTED_S, 200.0 + UNLISTED_S)
    assert not it.submission_ids()
    assert not it.need_listing()
    assert (result.cancel, result.failed) == ([], [])


def test_no_listing_is_needed_while_another_executor_of_the_batch_job_is_connected() -> None:
    it = BatchJobs()
    it.add("abc123", ARRAY[:1], 2, 100.0)
    it.connected("abc123-1.1")
    it.connected("abc123-1.2")
    it.left("abc123-1.1", 200.0)
    assert not it.need_listing()
    it.left("abc123-1.2", 201.0)
    assert it.need_listing()


def test_which_batch_jobs_have_probably_ended_without_a_listing() -> None:
    """One executor of the first has left, and the other never came. An executor of the second is connected."""
    it = three(2)
    for executor in ("1.1", "2.1", "2.2"):
        it.connected(f"abc123-{executor}")
    it.left("abc123-1.1", 150.0)
    it.left("abc123-2.1", 150.0)
    assert it.left_long_ago(149.0 + UNLISTED_S) == []
    assert it.left_long_ago(150.0 + UNLISTED_S) == [ARRAY[0]]


@pytest.mark.parametrize("copies", [1, 2])
def test_executors_of_one_batch_job(copies: int) -> None:
    it = three(copies)
    assert it.awaited == 3 * copies
    first = "abc123-1" if copies == 1 else "abc123-1.1"
    it.connected(first)
    assert it.awaited == 3 * copies - 1
    assert it.ids(awaited_only=True) == list(ARRAY[1:])
    assert it.remove(ARRAY) == 3 * copies - 1
    assert it.executors == it.awaited == 0


def test_an_executor_may_be_faster_than_the_answer_to_its_submission() -> None:
    it = BatchJobs()
    it.submitting("abc123")
    it.connected("abc123-1")
    it.connected("abc123-2")
    it.left("abc123-2", 99.0)
    it.connected("other-3")
    it.add("abc123", ARRAY, 1, 100.0)
    assert it.awaited == 1
    assert it.ids(awaited_only=True) == [ARRAY[2]]
    running = listing(*[State.RUNNING] * 3)
    # The first executor is connected and may stay. The second has left: cancel it. The third still has time to connect.
    assert it.apply_listing(running, 101.0 + LINGER_S, 102.0 + LINGER_S).cancel == [ARRAY[1]]
    assert it.apply_listing(running, 101.0 + 2 * CONNECT_S, 102.0 + 2 * CONNECT_S).cancel == [ARRAY[1], ARRAY[2]]


def test_strangers_are_ignored() -> None:
    it = three()
    it.connected("other-1")
    it.left("other-1", 1.0)
    assert it.awaited == 3


MORE = tuple(BatchId("8", index) for index in (1, 2, 3))


def test_what_waits_for_long_in_one_queue_is_asked_for_in_the_next() -> None:
    it = three()
    assert it.overdue_at(0, MANY, 30.0, 2) == 130.0
    it.connected("abc123-1")
    assert it.overdue(0, MANY, 30.0, 2, 130.0) == (2, Place(1, 1))
    it.add("def456", MORE[:2], 1, 131.0, Place(1, 1))
    # Two executors are awaited in both queues together, and there is no third queue.
    assert it.awaited == 2
    assert [it.overdue_at(level, MANY, 30.0, 2) for level in (0, 1)] == [math.inf, math.inf]
    assert [it.overdue_at(level, MANY, 30.0, 3) for level in (0, 1)] == [math.inf, 161.0]
    assert it.overdue(1, MANY, 30.0, 3, 161.0) == (2, Place(2, 2))


def test_it_is_not_due_before_more_wait_than_wait_in_the_next_queue() -> None:
    """Three wait in both queues. Two more wait in the first queue, each with its own due time."""
    it = three()
    it.add("def456", MORE, 1, 131.0, Place(1, 1))
    it.add("123abc", [BatchId("9", 1)], 1, 140.0)
    it.add("456def", [BatchId("10", 1)], 1, 150.0)
    assert it.overdue_at(0, MANY, 30.0, 2) == 170.0
    assert it.overdue(0, MANY, 30.0, 2, 170.0) == (1, Place(1, 1))
    assert it.overdue(0, MANY, 30.0, 2, 180.0) == (2, Place(1, 1))


def test_no_more_is_asked_for_in_the_next_queue_than_is_needed() -> None:
    """Three batch jobs with two executors each were submitted for five executors, and two are connected."""
    it = three(2)
    it.connected("abc123-1.1")
    it.connected("abc123-1.2")
    assert it.overdue(0, 3, 30.0, 2, 130.0) == (3, Place(1, 1))
    it.add("def456", MORE[:2], 2, 131.0, Place(1, 1))
    assert it.overdue_at(0, 3, 30.0, 2) == math.inf
    assert three(2).overdue_at(0, 0, 30.0, 2) == math.inf


def test_a_queue_in_which_nothing_has_started_is_waited_for_only_once() -> None:
    it = three()
    assert it.overdue(0, MANY, 30.0, 2, 130.0) == (3, Place(1, 1))
    it.add("def456", MORE, 1, 131.0, Place(1, 1))
    it.add("123abc", [BatchId("9", 1)], 1, 140.0)
    assert it.overdue_at(0, MANY, 30.0, 2) == 140.0
    assert it.overdue(0, MANY, 30.0, 2, 140.0) == (1, Place(1, 1))
    it.connected("def456-1")
    assert it.overdue_at(0, MANY, 30.0, 2) == 100.0
    it.connected("abc123-1")  # the first queue has begun to start some
    it.add("456def", [BatchId("10", 1)], 1, 150.0)
    assert it.overdue_at(0, MANY, 30.0, 2) == 170.0


def test_what_runs_is_not_asked_for_elsewhere() -> None:
    it = three()
    it.apply_listing(listing(State.RUNNING, State.PENDING, State.PENDING), 119.0, 120.0)
    assert it.overdue(0, MANY, 30.0, 2, 130.0) == (2, Place(1, 1))


@pytest.mark.parametrize("copies", [1, 2])
def test_whoever_is_faster_makes_the_others_superfluous(copies: int) -> None:
    it = three(copies)
    it.add("def456", MORE, copies, 131.0, Place(1, 1))
    wanted = 3 * copies
    assert it.surplus(wanted) == []
    for copy in range(1, copies + 1):
        it.connected("def456-2" if copies == 1 else f"def456-2.{copy}")
    # The first queue has one batch job too many: the last one submitted. In the second queue the number is right.
    assert it.surplus(wanted - copies) == [ARRAY[2]]
    it.remove([ARRAY[2]])
    assert it.surplus(wanted - copies) == []
    assert sorted(it.surplus(0)) == [*ARRAY[:2], MORE[0], MORE[2]]


def test_a_batch_job_with_one_connected_executor_is_never_superfluous() -> None:
    it = three(2)
    it.connected("abc123-3.1")
    assert it.surplus(2) == [ARRAY[1]]


def test_losing_the_second_chance_is_no_loss() -> None:
    it = three()
    it.add("def456", MORE, 1, 131.0, Place(1, 1))
    assert it.remove(MORE) == 3
    assert it.awaited == 3
    assert it.overdue(0, MANY, 30.0, 2, 140.0) == (3, Place(1, 1))


def test_a_number_that_the_cluster_manager_uses_again_is_another_batch_job() -> None:
    it = three()
    it.add("def456", ARRAY[:1], 1, 200.0)
    assert (it.executors, it.awaited) == (3, 3)
    it.connected("abc123-1")
    assert it.awaited == 3
    it.connected("def456-1")
    assert it.awaited == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (stay_silent(1), "1 batch job started, and no executor connected within 120 s; "),
        (stay_silent(2), "2 batch jobs started, and no executor connected within 120 s; "),
        (ended_early(1), "1 executor ended before connecting to the server"),
        (ended_early(2), "2 executors ended before connecting to the server"),
        (counted(0), "0 batch jobs"),
    ],
)
def test_messages_for_one_and_for_many(text: str, expected: str) -> None:
    assert text.startswith(expected)
