"""Tasks when events come in an unusual order. Each test is named after the race that it covers."""

import dataclasses
from typing import Any

import pytest

from spraycc.model import Placement
from spraycc.scheduler.actions import Abort, AskExecutors, Dispatch, GiveUp, Release, RunLocally, SetWidth, Withdraw
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildEnded,
    BuildLeft,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    Outcome,
    PolicyChanged,
    SubmissionFailed,
    TaskArrived,
    TaskGone,
    Tick,
)

REMOTE, NOW, LIGHT, HEAVY = Placement.REMOTE, Placement.HERE_NOW, Placement.HERE_LIGHT, Placement.HERE_HEAVY
DONE, KILLED, REFUSED, CANCELLED = Outcome.DONE, Outcome.KILLED, Outcome.REFUSED, Outcome.CANCELLED


def remote(task, build="b", **more):
    return TaskArrived(task, build, REMOTE, **more)


@pytest.fixture
def one(start):
    """Task 1 runs on x, the only executor of a build."""
    play = start(max_executors=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    return play


@pytest.fixture
def two(start):
    """Task 1 runs on y, x is idle, and the build can have no more executors."""
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, ExecutorJoined("y"), Dispatch(1, "y", 1))
    play.at(1, ExecutorJoined("x"), SetWidth("b", 2))
    return play


def ended(play):
    """Checks that no task is left and that no executor has a task."""
    snapshot = play.scheduler.snapshot()
    return not any(snapshot["total"].values()) and snapshot["executors"]["busy"] == 0


# ---- one task, one executor


def test_a_task_through_its_life(one):
    one.at(2, AttemptEnded("x", 1, DONE))
    assert one.scheduler.snapshot()["total"]["answered"] == 1
    one.at(3, TaskGone(1))
    assert ended(one)


def test_runner_dies_between_dispatch_and_result(one):
    one.at(2, TaskGone(1), Abort("x", 1))
    one.at(2, remote(2))  # the executor is not free yet
    one.at(3, AttemptEnded("x", 1, CANCELLED), Dispatch(2, "x", 1))


def test_result_crosses_the_abort_on_its_way(one):
    one.at(2, TaskGone(1), Abort("x", 1))
    one.at(3, AttemptEnded("x", 1, DONE))
    assert ended(one)


@pytest.mark.parametrize("outcome", [KILLED, REFUSED, CANCELLED])
def test_an_aborted_attempt_is_never_tried_again(one, outcome):
    one.at(2, TaskGone(1), Abort("x", 1))
    one.at(3, AttemptEnded("x", 1, outcome))
    assert ended(one)


def test_executor_dies_of_the_abort(one):
    one.at(2, TaskGone(1), Abort("x", 1))
    one.at(3, ExecutorLost("x"), AskExecutors(1))
    assert ended(one)


def test_runner_dies_before_dispatch(start):
    play = start()
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, TaskGone(1))
    play.at(2, ExecutorJoined("x"))
    assert ended(play)


def test_executor_lost_after_its_result(one):
    one.at(2, AttemptEnded("x", 1, DONE))
    one.at(2, ExecutorLost("x"), AskExecutors(1))
    one.at(3, TaskGone(1))
    assert ended(one)


def test_an_end_that_is_told_twice_does_not_end_the_next_task(one):
    one.at(2, remote(2))
    one.at(2, AttemptEnded("x", 1, DONE), Dispatch(2, "x", 1))
    one.at(2, AttemptEnded("x", 1, DONE))
    assert one.scheduler.snapshot()["executors"]["busy"] == 1
    one.at(3, AttemptEnded("x", 2, DONE))


def test_an_end_from_an_executor_that_was_given_up(two):
    two.at(2, ExecutorLost("y"), AskExecutors(1), Dispatch(1, "x", 2), SetWidth("b", 1))
    two.at(3, AttemptEnded("y", 1, DONE))
    two.at(4, AttemptEnded("x", 1, DONE))


def test_an_end_from_an_executor_that_has_come_back(two):
    two.at(2, ExecutorLost("y"), AskExecutors(1), Dispatch(1, "x", 2), SetWidth("b", 1))
    two.at(3, ExecutorJoined("y"), SetWidth("b", 2))
    two.at(3, AttemptEnded("y", 1, KILLED))
    two.at(4, AttemptEnded("x", 1, DONE))


# ---- attempts


def test_executor_lost_gives_its_task_to_another(two):
    two.at(2, ExecutorLost("y"), AskExecutors(1), Dispatch(1, "x", 2), SetWidth("b", 1))


def test_killed_goes_to_another_executor_than_before(two):
    two.at(2, AttemptEnded("y", 1, KILLED), Dispatch(1, "x", 2))


def test_killed_everywhere_runs_here(two):
    two.at(2, AttemptEnded("y", 1, KILLED), Dispatch(1, "x", 2))
    # Both have had an attempt, so either may have the next one.
    two.at(3, AttemptEnded("x", 1, KILLED), Dispatch(1, "x", 3))
    two.at(4, AttemptEnded("x", 1, KILLED), RunLocally(1, "attempts"))
    two.at(5, TaskGone(1))
    assert ended(two)


def test_killed_on_the_only_executor_is_tried_there_again(one):
    one.at(2, AttemptEnded("x", 1, KILLED), Dispatch(1, "x", 2))


def test_killed_lets_the_next_task_pass_rather_than_return_to_the_same_executor(one):
    one.at(2, remote(2))
    one.at(2, AttemptEnded("x", 1, KILLED), Dispatch(2, "x", 1))
    one.at(3, AttemptEnded("x", 2, DONE), Dispatch(1, "x", 2))


def test_killed_task_keeps_its_place_before_later_ones(two):
    two.at(2, remote(2), Dispatch(2, "x", 1))
    two.at(2, remote(3))
    two.at(2, remote(4))
    two.at(3, AttemptEnded("y", 1, KILLED), Dispatch(3, "y", 1))
    two.at(4, AttemptEnded("x", 2, DONE), Dispatch(1, "x", 2))


def test_lost_task_goes_before_earlier_ones(start):
    play = start(max_executors=3)
    for task, executor in enumerate("xyz", start=1):
        play.at(0, remote(task), AskExecutors(1))
        play.at(0, ExecutorJoined(executor), Dispatch(task, executor, 1))
    for task in (4, 5):
        play.at(1, remote(task))
    play.at(2, AttemptEnded("x", 1, KILLED), Dispatch(4, "x", 1))
    play.at(3, ExecutorLost("y"), AskExecutors(1))
    play.at(4, AttemptEnded("z", 3, DONE), Dispatch(2, "z", 2))
    play.at(5, AttemptEnded("z", 2, DONE), Dispatch(1, "z", 2))
    play.at(6, AttemptEnded("z", 1, DONE), Dispatch(5, "z", 1))


def test_lost_too_often_runs_here(start):
    play = start(max_executors=5, max_attempts=2)
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(2, ExecutorLost("x"), AskExecutors(1))
    play.at(3, ExecutorJoined("y"), Dispatch(1, "y", 2))
    play.at(4, ExecutorLost("y"), RunLocally(1, "attempts"))


def test_refused_runs_here_at_once(one):
    one.at(2, AttemptEnded("x", 1, REFUSED), RunLocally(1, "refused"))
    one.at(3, TaskGone(1))
    assert ended(one)


def test_too_many_refused_and_the_queued_ones_are_not_tried(start):
    play = start(max_executors=1, local_slots=9, fall_back_limit=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 9))
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    for task in (2, 3):
        play.at(2, remote(task))
    play.at(2, remote(4, must_be_remote=True))
    play.at(2, remote(5, "other"))
    play.at(3, AttemptEnded("x", 1, REFUSED), RunLocally(1, "refused"), Dispatch(5, "x", 1))
    play.at(4, AttemptEnded("x", 5, DONE), Dispatch(2, "x", 1))
    actions = play.do(AttemptEnded("x", 2, REFUSED), 5)
    assert actions == [GiveUp("b", 2, 2), RunLocally(2, "refused"), RunLocally(3, "gave-up"), Dispatch(4, "x", 1)]
    play.at(6, remote(6), RunLocally(6, "gave-up"))
    play.at(6, remote(7, "other"))
    play.at(7, AttemptEnded("x", 4, REFUSED), RunLocally(4, "refused"), Dispatch(7, "x", 1))


def test_given_up_while_another_of_the_build_runs_remotely(start):
    play = start(max_executors=2, local_slots=9, fall_back_limit=0)
    play.at(0, BuildStarted("b", None), SetWidth("b", 9))
    play.at(0, remote(1), AskExecutors(2))
    play.at(0, remote(2))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), Dispatch(2, "y", 1))
    play.at(2, AttemptEnded("x", 1, REFUSED), GiveUp("b", 1, 1), RunLocally(1, "refused"))
    play.at(3, AttemptEnded("y", 2, KILLED), RunLocally(2, "gave-up"))


def test_refused_waits_for_a_heavy_slot(one):
    one.at(2, TaskArrived(2, "b", HEAVY), RunLocally(2, "placement"))
    one.at(2, AttemptEnded("x", 1, REFUSED))
    one.at(3, TaskGone(2), RunLocally(1, "refused"))


def test_runner_dies_while_its_refused_task_waits(one):
    one.at(2, TaskArrived(2, "b", HEAVY), RunLocally(2, "placement"))
    one.at(2, AttemptEnded("x", 1, REFUSED))
    one.at(3, TaskGone(1))
    one.at(3, TaskGone(2))
    assert ended(one)


def test_cancelled_by_itself_goes_elsewhere(two):
    two.at(2, AttemptEnded("y", 1, CANCELLED), Dispatch(1, "x", 2))


def test_fewer_attempts_allowed_while_a_task_waits_for_its_next(one):
    one.at(2, remote(2))
    one.at(2, AttemptEnded("x", 1, KILLED), Dispatch(2, "x", 1))
    one.at(3, PolicyChanged(dataclasses.replace(one.policy, max_attempts=1)), RunLocally(1, "attempts"))


def test_a_host_that_kills_everything_spoils_one_attempt_of_each_task(start):
    play = start(max_executors=2)
    for task in range(1, 21):
        play.do(remote(task), 0)
    play.at(1, ExecutorJoined("bad"), Dispatch(1, "bad", 1))
    play.at(1, ExecutorJoined("good"), Dispatch(2, "good", 1))
    for task in [1, *range(3, 20)]:
        play.at(2, AttemptEnded("bad", task, KILLED), Dispatch(max(3, task + 1), "bad", 1))
    play.at(3, AttemptEnded("good", 2, DONE), Dispatch(1, "good", 2))


# ---- on the submit host


def test_a_probe_takes_no_slot(start):
    play = start()
    for task in range(5):
        play.at(0, TaskArrived(task, "b", NOW), RunLocally(task, "placement"))
    play.at(0, TaskArrived(9, "b", HEAVY), RunLocally(9, "placement"))


def test_two_quotas_two_lines(start):
    play = start(local_slots=1, light_slots=2)
    play.at(0, TaskArrived(1, "b", HEAVY), RunLocally(1, "placement"))
    play.at(0, TaskArrived(2, "b", HEAVY))
    play.at(0, TaskArrived(3, "b", LIGHT), RunLocally(3, "placement"))
    play.at(0, TaskArrived(4, "b", LIGHT), RunLocally(4, "placement"))
    play.at(0, TaskArrived(5, "b", LIGHT))
    play.at(0, TaskArrived(6, "b", HEAVY))
    play.at(1, TaskGone(4), RunLocally(5, "placement"))
    play.at(1, TaskGone(1), RunLocally(2, "placement"))
    play.at(1, TaskGone(6))
    play.at(1, TaskGone(2))


def test_more_slots_let_waiting_tasks_go_and_fewer_stop_none(start):
    play = start(local_slots=1)
    play.at(0, TaskArrived(1, "b", HEAVY), RunLocally(1, "placement"))
    play.at(0, TaskArrived(2, "b", HEAVY))
    play.at(0, TaskArrived(3, "b", HEAVY))
    play.at(
        1,
        PolicyChanged(dataclasses.replace(play.policy, local_slots=3)),
        RunLocally(2, "placement"),
        RunLocally(3, "placement"),
    )
    play.at(2, PolicyChanged(play.policy))
    play.at(2, TaskArrived(4, "b", HEAVY))
    play.at(2, TaskGone(1))
    play.at(2, TaskGone(2))
    play.at(2, TaskGone(3), RunLocally(4, "placement"))


@pytest.fixture
def shared(start):
    """Two executors share the CPUs with the submit host's own tasks; each runs a task."""
    play = start(max_executors=2, local_slots=2, light_slots=4, executors_are_here=True)
    play.at(0, BuildStarted("b", None), SetWidth("b", 2))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"))
    play.at(1, remote(2), Dispatch(2, "y", 1))
    return play


def test_a_link_takes_the_next_free_place_ahead_of_a_compile(shared):
    shared.at(2, remote(3))
    shared.at(2, TaskArrived(4, "b", HEAVY))
    shared.at(3, AttemptEnded("x", 1, DONE), RunLocally(4, "placement"))
    shared.at(4, TaskGone(4), Dispatch(3, "x", 1))


def test_an_aborted_attempt_keeps_its_place_until_it_has_ended(shared):
    shared.at(2, TaskArrived(3, "b", LIGHT))
    shared.at(2, TaskGone(1), Abort("x", 1))
    shared.at(3, AttemptEnded("x", 1, CANCELLED), RunLocally(3, "placement"))


def test_links_and_archives_take_free_places_in_the_order_of_their_coming(shared):
    for task, placement in enumerate([LIGHT, HEAVY, HEAVY, LIGHT], start=3):
        shared.at(2, TaskArrived(task, "b", placement))
    shared.at(3, AttemptEnded("x", 1, DONE), RunLocally(3, "placement"))
    shared.at(3, TaskGone(3), RunLocally(4, "placement"))
    shared.at(3, TaskGone(4), RunLocally(5, "placement"))
    shared.at(3, TaskGone(5), RunLocally(6, "placement"))


def test_a_probe_runs_however_full_the_host_is(shared):
    shared.at(2, TaskArrived(3, "b", NOW), RunLocally(3, "placement"))


def test_links_without_end_do_not_starve_compiles(shared):
    for task in (3, 4):
        shared.at(2, remote(task))
    links = list(range(10, 40))
    for task in links:
        shared.at(2, TaskArrived(task, "b", HEAVY))
    started = []
    running: dict[Any, Any] = {1: "x", 2: "y"}
    for now in range(3, 15):
        task, executor = next(iter(running.items()))
        del running[task]
        actions = shared.do(AttemptEnded(executor, task, DONE) if executor else TaskGone(task), now)
        assert len(actions) == 1
        running[actions[0].task] = getattr(actions[0], "executor", None)
        started.append(actions[0].task)
    assert started == [10, 11, 12, 13, 3, 14, 15, 16, 17, 4, 18, 19]


def test_compiles_without_end_do_not_starve_an_archive(shared):
    for task in range(10, 30):
        shared.at(2, remote(task))
    shared.at(2, TaskArrived(3, "b", LIGHT))
    shared.at(3, AttemptEnded("y", 2, DONE), RunLocally(3, "placement"))


# ---- ends


def test_build_closes_before_its_last_runner_has_ended(one):
    one.at(2, BuildEnded("b"))
    one.at(3, AttemptEnded("x", 1, DONE))
    assert "b" in one.scheduler.snapshot()["builds"]
    one.at(3, TaskGone(1))
    assert one.scheduler.snapshot()["builds"] == {}


def test_tasks_that_outlive_their_build_are_served(one):
    one.at(2, remote(2))
    one.at(2, BuildEnded("b"))
    one.at(5, AttemptEnded("x", 1, DONE), Dispatch(2, "x", 1))


def test_tasks_that_outlive_their_build_do_not_wait_for_another_executor(one):
    one.at(2, remote(2))
    one.at(2, BuildEnded("b"))
    one.at(3, ExecutorLost("x"), RunLocally(1, "left"))
    one.at(3, remote(3, must_be_remote=True, build_is_over=True))
    one.at(4, TaskGone(1), RunLocally(2, "left"))
    one.at(5, TaskGone(2), RunLocally(3, "left"))
    assert not one.scheduler.wants_executors


@pytest.mark.parametrize("end", [BuildEnded, BuildLeft])
def test_tasks_whose_command_line_is_gone_do_not_wait_for_the_cluster(start, end):
    play = start(wait_for_cluster=True, local_slots=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(0, remote(2, must_be_remote=True))
    assert play.scheduler.wants_executors
    play.at(1, end("b"), RunLocally(1, "left"))
    assert not play.scheduler.wants_executors
    play.at(2, TaskGone(1), RunLocally(2, "left"))
    play.at(3, SubmissionFailed(4, 1.0))
    play.at(5, remote(3, build_is_over=end is BuildEnded))
    assert play.scheduler.next_deadline() is None  # no other executor is asked for
    play.at(6, TaskGone(2), RunLocally(3, "left"))


def test_a_task_outside_all_builds_waits_for_the_cluster(start):
    play = start(wait_for_cluster=True)
    play.at(0, remote(1, ""), AskExecutors(1))
    assert play.scheduler.wants_executors
    play.at(1, TaskGone(1))
    assert not play.scheduler.wants_executors


def test_a_build_whose_command_line_is_gone_keeps_its_executors_and_its_width(start):
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(2, BuildLeft("b"))
    play.at(2, remote(2), Dispatch(2, "y", 1))
    play.at(3, ExecutorLost("y"), SetWidth("b", 1))
    play.at(4, AttemptEnded("x", 1, DONE), Dispatch(2, "x", 2))


def test_task_arrives_after_its_build_has_closed(one):
    one.at(2, BuildEnded("b"))
    one.at(2, AttemptEnded("x", 1, DONE))
    one.at(2, TaskGone(1))
    one.at(3, remote(2), Dispatch(2, "x", 1))


def test_task_arrives_at_the_moment_its_executor_would_be_released(one):
    one.at(2, BuildEnded("b"))
    one.at(2, AttemptEnded("x", 1, DONE))
    one.at(2, TaskGone(1))
    one.at(62, remote(2), Dispatch(2, "x", 1))
    one.at(63, Tick())


def test_task_arrives_after_the_release_was_said(one):
    one.at(2, BuildEnded("b"))
    one.at(2, AttemptEnded("x", 1, DONE))
    one.at(2, TaskGone(1))
    one.at(62, Tick(), Release("x"))
    one.at(62, remote(2), AskExecutors(1))
    one.at(62, ExecutorLost("x"))
    one.at(63, ExecutorJoined("y"), Dispatch(2, "y", 1))


# ---- an executor that idles is released in the event that asks for others


@pytest.fixture
def idle_pair(start):
    """A build has x and y, both idle since 2 at the latest, and a third executor is on its way."""
    play = start(max_executors=3)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(3))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(2, AttemptEnded("x", 1, DONE))
    play.at(2, TaskGone(1))
    return play


def asked(play):
    return play.scheduler.snapshot()["executors"]["asked"]


def test_an_executor_idles_too_long_just_when_a_refused_one_may_be_asked_for_again(idle_pair):
    idle_pair.at(2, SubmissionFailed(1, 59.0))
    # y has been idle for 60 s, and the refusal ends. The build does not use all its executors, so it asks for none.
    idle_pair.at(61, Tick(), Release("y"), SetWidth("b", 1))
    assert asked(idle_pair) == 0
    idle_pair.at(62, ExecutorLost("y"))
    assert idle_pair.scheduler.next_deadline() is None


def test_an_executor_is_lost_just_when_another_has_idled_too_long(start):
    play = start(max_executors=3)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(3))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(1, ExecutorJoined("z"), SetWidth("b", 3))
    play.at(2, AttemptEnded("x", 1, DONE))
    play.at(2, TaskGone(1))
    # The loss reaches the scheduler before the Tick. z is not replaced: y idles, and it is released.
    play.at(61, ExecutorLost("z"), Release("y"), SetWidth("b", 1))
    assert asked(play) == 0


def test_requests_of_the_same_event_and_of_an_earlier_one_are_taken_back_together(start):
    play = start(max_executors=4)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    for name in "xyz":
        play.do(ExecutorJoined(name), 1)
    play.at(2, AttemptEnded("x", 1, DONE))
    play.at(2, TaskGone(1))
    # The fourth executor is pending since 0. The loss of z would need a fifth, but the scheduler never asks for it.
    play.at(61, ExecutorLost("z"), Withdraw(), Release("y"), SetWidth("b", 1))
    assert asked(play) == 1
    play.at(61, SubmissionFailed(1, 0.001))
    assert asked(play) == 0
    assert play.scheduler.next_deadline() is None


def test_a_withdrawn_executor_that_comes_all_the_same_is_used(idle_pair):
    idle_pair.at(61, Tick(), Withdraw(), Release("y"), SetWidth("b", 1))
    idle_pair.at(61, ExecutorLost("y"))
    idle_pair.at(62, remote(2), Dispatch(2, "x", 1))
    idle_pair.at(62, ExecutorJoined("z"), SetWidth("b", 2))
    idle_pair.at(63, remote(3), Dispatch(3, "z", 1), AskExecutors(1))


def test_after_a_withdrawal_the_build_asks_again_when_all_are_busy(idle_pair):
    idle_pair.at(61, Tick(), Withdraw(), Release("y"), SetWidth("b", 1))
    idle_pair.at(61, ExecutorLost("y"))
    # Until the withdrawal is confirmed, the third executor may still join. The scheduler asks for no other.
    idle_pair.at(62, remote(2), Dispatch(2, "x", 1))
    idle_pair.at(62, SubmissionFailed(1, 0.001))
    idle_pair.at(62.001, Tick(), AskExecutors(2))
