"""How many executors the scheduler asks for and releases, how wide builds are, and how tasks run without an executor."""

import dataclasses
import math

import pytest

from spraycc.model import Placement
from spraycc.scheduler.actions import (
    AskExecutors,
    Dispatch,
    NoExecutorYet,
    Release,
    RunLocally,
    SetWidth,
    WaitsForRetry,
    Withdraw,
)
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildEnded,
    BuildLeft,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    ExecutorsUnwanted,
    Outcome,
    PolicyChanged,
    SubmissionFailed,
    TaskArrived,
    TaskGone,
    Tick,
)

REMOTE, HEAVY, LIGHT = Placement.REMOTE, Placement.HERE_HEAVY, Placement.HERE_LIGHT
DONE = Outcome.DONE


def remote(task, build="b", **more):
    return TaskArrived(task, build, REMOTE, **more)


def change(play, **settings):
    return PolicyChanged(dataclasses.replace(play.policy, **settings))


# ---- asking


def test_no_executor_is_asked_for_before_a_task_that_can_use_it(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, TaskArrived(1, "b", Placement.HERE_NOW), RunLocally(1, "placement"))
    play.at(0, TaskArrived(2, "b", HEAVY), RunLocally(2, "placement"))
    play.at(0, remote(3), AskExecutors(4))
    play.at(0, remote(4))


@pytest.mark.parametrize(
    ("caps", "asked"),
    [
        ([None], [10]),
        ([3], [3]),
        ([40], [10]),
        ([1], [1]),
        ([0], [1]),
        ([3, 4], [3, 4]),
        ([3, None], [3, 7]),
        ([8, 8], [8, 2]),
        ([None, 5], [10, 0]),
    ],
)
def test_builds_claim_their_caps_up_to_the_most(start, caps, asked):
    play = start(max_executors=10, local_slots=1)
    for build, cap in enumerate(caps):
        play.do(BuildStarted(f"b{build}", cap))
    for build, count in enumerate(asked):
        play.at(1, remote(build, f"b{build}"), *([AskExecutors(count)] if count else []))


def test_each_task_outside_a_build_asks_for_one(start):
    play = start(max_executors=2)
    play.at(0, remote(1), AskExecutors(1))
    play.at(0, remote(2), AskExecutors(1))
    play.at(0, remote(3))


def test_a_task_before_its_build_opens_claims_for_it(start):
    play = start(max_executors=4)
    play.at(0, remote(1), AskExecutors(1))
    play.at(0, BuildStarted("b", None), AskExecutors(3), SetWidth("b", 1))


def test_warm_executors_are_not_asked_for_again(start):
    play = start(max_executors=4)
    for name in "wxy":
        play.at(0, ExecutorJoined(name))
    play.at(1, BuildStarted("b", None), SetWidth("b", 3))
    play.at(1, remote(1), AskExecutors(1), Dispatch(1, "y", 1))


def test_a_lost_executor_is_replaced_once(start):
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", 2), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(2, ExecutorLost("y"), AskExecutors(1), SetWidth("b", 1))
    play.at(3, Tick())


def test_a_lost_executor_that_nobody_wants_is_not_replaced(start):
    play = start()
    play.at(0, ExecutorJoined("x"))
    play.at(1, ExecutorLost("x"))
    assert play.scheduler.next_deadline() is None


def test_more_executors_allowed_in_the_middle_of_a_build(start):
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, change(play, max_executors=5), AskExecutors(3))


def die_at_start(play, count):
    """``count`` executors in a row join and are lost; returns after how many of them the scheduler asked for another."""
    asked = []
    for number in range(count):
        play.do(ExecutorJoined(f"dies{play.now}-{number}"))
        asked.append(AskExecutors(1) in play.do(ExecutorLost(f"dies{play.now}-{number}")))
    return asked


@pytest.mark.parametrize(("most", "limit"), [(1, 3), (2, 3), (5, 5)])
def test_executors_that_die_when_they_start_are_not_submitted_for_ever(start, most, limit):
    play = start(max_executors=most)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1, must_be_remote=True), AskExecutors(most))
    play.at(0, TaskGone(1))
    assert die_at_start(play, limit) == [True] * (limit - 1) + [False]
    assert play.scheduler.next_deadline() == 30
    play.at(30, Tick(), AskExecutors(1))
    assert die_at_start(play, limit) == [True] * (limit - 1) + [False]
    assert play.scheduler.next_deadline() == 60


def test_executors_that_served_are_replaced_however_often_they_are_lost(start):
    play = start(max_executors=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(1))
    for task in range(1, 9):
        play.at(task, ExecutorJoined(f"x{task}"), Dispatch(task, f"x{task}", 1))
        play.at(task, AttemptEnded(f"x{task}", task, DONE))
        play.at(task, ExecutorLost(f"x{task}"), AskExecutors(1))
        play.at(task, remote(task + 1))


def test_one_that_serves_proves_that_the_others_are_worth_asking_for(start):
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(0, ExecutorJoined("x"), Dispatch(1, "x", 1))
    assert die_at_start(play, 2) == [True, True]
    play.at(1, AttemptEnded("x", 1, DONE))
    assert die_at_start(play, 3) == [True, True, False]


def test_executors_that_were_let_go_did_not_die(start):
    play = start(max_executors=1)
    for number in range(3):
        play.do(ExecutorJoined(f"x{number}"), number * 100)
        play.at(number * 100 + 60, Tick(), Release(f"x{number}"))
        play.at(number * 100 + 61, ExecutorLost(f"x{number}"))
    play.at(262, remote(1), AskExecutors(1))


def test_executors_that_served_are_all_replaced_when_lost_at_once(start):
    play = start(max_executors=3)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(3))
    for task, name in enumerate("xyz", start=1):
        play.do(ExecutorJoined(name))
        play.do(remote(task + 1))
        play.do(AttemptEnded(name, task, DONE))
    lost = [play.do(ExecutorLost(name)) for name in "xyz"]
    assert [AskExecutors(1) in actions for actions in lost] == [True] * 3


def test_the_longer_of_two_pauses_holds(start):
    play = start(max_executors=4)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1, must_be_remote=True), AskExecutors(4))
    play.at(0, TaskGone(1))
    play.at(0, SubmissionFailed(1, 100))
    for name in "xyz":
        play.do(ExecutorJoined(name))
    for name in "xyz":
        play.do(ExecutorLost(name))
    play.do(ExecutorJoined("w"))
    play.do(ExecutorLost("w"))
    assert play.scheduler.next_deadline() == 100
    play.at(50, SubmissionFailed(0, 1))
    assert play.scheduler.next_deadline() == 100


# ---- no executor is connected


def test_first_task_waits_for_the_first_executor(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(10, remote(1), AskExecutors(4))
    assert play.scheduler.next_deadline() == 15
    play.at(14.9, ExecutorJoined("x"), Dispatch(1, "x", 1))
    assert play.scheduler.next_deadline() is None


def test_no_executor_comes_and_tasks_run_here_until_one_does(start):
    play = start(local_slots=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 2))
    play.at(10, remote(1), AskExecutors(4))
    for task in (2, 3, 4, 5):
        play.at(12, remote(task))
    play.at(15, Tick(), NoExecutorYet("b", 4), RunLocally(1, "no-executor"), RunLocally(2, "no-executor"))
    assert play.scheduler.next_deadline() is None
    play.at(16, TaskGone(1), RunLocally(3, "no-executor"))
    # The other tasks go to the executor that joins, and a local slot that is free now stays free.
    play.at(17, ExecutorJoined("x"), Dispatch(4, "x", 1))
    play.at(18, TaskGone(2))


def test_after_the_grace_no_task_waits_for_it_again(start):
    play = start(local_slots=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 2))
    play.at(0, remote(1), AskExecutors(4))
    play.at(5, Tick(), NoExecutorYet("b", 4), RunLocally(1, "no-executor"))
    play.at(6, TaskGone(1))
    play.at(7, remote(2), RunLocally(2, "no-executor"))
    play.at(8, TaskGone(2))
    play.at(9, BuildEnded("b"))
    # The executors are still pending. Without this rule, each build of a script of many short builds would wait.
    play.at(10, BuildStarted("c", None), SetWidth("c", 2))
    play.at(10, remote(3, "c"), NoExecutorYet("c", 4), RunLocally(3, "no-executor"))


def test_a_runner_that_dies_within_the_grace_leaves_none_to_the_next(start):
    play = start()
    play.at(0, remote(1), AskExecutors(1))
    play.at(4, TaskGone(1))
    assert play.scheduler.next_deadline() == 64  # the withdrawal of the request
    play.at(10, remote(2))
    assert play.scheduler.next_deadline() == 15


def test_all_executors_lost_begins_a_grace_of_its_own(start):
    play = start(max_executors=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(100, ExecutorLost("x"), AskExecutors(1))
    assert play.scheduler.next_deadline() == 105
    play.at(105, Tick(), NoExecutorYet("b", 1), RunLocally(1, "no-executor"))


def test_fallback_is_said_once_a_build_and_to_each(start):
    play = start(local_slots=3, pending_grace_s=0.0)
    play.at(0, BuildStarted("b", None), SetWidth("b", 3))
    play.at(0, BuildStarted("c", None), SetWidth("b", 2), SetWidth("c", 1))
    play.at(1, remote(1), AskExecutors(4), NoExecutorYet("b", 4), RunLocally(1, "no-executor"))
    play.at(1, remote(2, "c"), NoExecutorYet("c", 4), RunLocally(2, "no-executor"))
    play.at(1, remote(3, "outside"), RunLocally(3, "no-executor"))
    play.at(2, ExecutorJoined("x"))
    play.at(3, ExecutorLost("x"), AskExecutors(1))
    play.at(4, TaskGone(1))
    play.at(4, remote(4), RunLocally(4, "no-executor"))


@pytest.mark.parametrize(("setting", "flag"), [(True, False), (False, True)])
def test_a_task_that_must_be_remote_waits_as_long_as_it_takes(start, setting, flag):
    play = start(wait_for_cluster=setting)
    play.at(0, remote(1, must_be_remote=flag), AskExecutors(1))
    assert play.scheduler.next_deadline() is None
    play.at(1000, Tick())
    play.at(1001, SubmissionFailed(1, 30))
    play.at(1031, Tick(), AskExecutors(1))
    play.at(1040, ExecutorJoined("x"), Dispatch(1, "x", 1))


def test_a_task_that_must_be_remote_does_not_hold_up_others(start):
    play = start()
    play.at(0, remote(1, must_be_remote=True), AskExecutors(1))
    play.at(1, remote(2), AskExecutors(1))
    play.at(6, Tick(), RunLocally(2, "no-executor"))
    play.at(7, ExecutorJoined("x"), Dispatch(1, "x", 1))


def test_a_task_that_must_be_remote_does_not_fall_back_after_an_attempt_either(start):
    play = start(max_executors=1)
    play.at(0, remote(1, must_be_remote=True), AskExecutors(1))
    play.at(0, remote(2))
    play.at(0, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorLost("x"), AskExecutors(1))
    play.at(6, Tick(), RunLocally(2, "no-executor"))
    play.at(7, ExecutorJoined("y"), Dispatch(1, "y", 2))


def test_no_longer_waiting_for_the_cluster(start):
    play = start(wait_for_cluster=True)
    play.at(0, remote(1), AskExecutors(1))
    play.at(100, change(play, wait_for_cluster=False), RunLocally(1, "no-executor"))


def test_links_without_end_do_not_starve_tasks_without_executor(start):
    play = start(local_slots=1, pending_grace_s=0.0)
    play.at(0, TaskArrived(1, "b", HEAVY), RunLocally(1, "placement"))
    for task in range(2, 9):
        play.do(TaskArrived(task, "b", HEAVY))
    play.at(0, remote(20), AskExecutors(1))
    # An archive uses another kind of slot, so it does not compete.
    play.at(0, TaskArrived(30, "b", LIGHT), RunLocally(30, "placement"))
    for task in (1, 2, 3, 4):
        play.at(1, TaskGone(task), RunLocally(task + 1, "placement"))
    play.at(1, TaskGone(5), RunLocally(20, "no-executor"))
    play.at(1, TaskGone(20), RunLocally(6, "placement"))


def test_archives_without_end_do_not_starve_tasks_without_executor_on_shared_cpus(start):
    play = start(max_executors=1, light_slots=9, executors_are_here=True, pending_grace_s=0.0)
    play.at(0, TaskArrived(1, "b", LIGHT), RunLocally(1, "placement"))
    for task in range(2, 9):
        play.do(TaskArrived(task, "b", LIGHT))
    play.at(0, remote(20), AskExecutors(1))
    for task in (1, 2, 3, 4):
        play.at(1, TaskGone(task), RunLocally(task + 1, "placement"))
    play.at(1, TaskGone(5), RunLocally(20, "no-executor"))
    play.at(1, TaskGone(20), RunLocally(6, "placement"))


def test_tasks_without_executor_share_the_cpus_with_links(start):
    play = start(max_executors=2, local_slots=2, executors_are_here=True, pending_grace_s=0.0)
    play.at(0, TaskArrived(1, "b", HEAVY), RunLocally(1, "placement"))
    play.at(0, remote(2), AskExecutors(1), RunLocally(2, "no-executor"))
    play.at(0, TaskArrived(3, "b", LIGHT))
    play.at(1, ExecutorJoined("x"))
    play.at(1, remote(4))
    play.at(2, TaskGone(2), RunLocally(3, "placement"))
    play.at(2, TaskGone(1), Dispatch(4, "x", 1))


# ---- the cluster refuses


def test_a_refused_submission_does_not_hold_up_tasks(start):
    play = start(local_slots=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 30), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2, TaskGone(1))
    play.at(3, remote(2), RunLocally(2, "no-executor"))
    assert play.scheduler.next_deadline() == 31
    play.at(31, Tick(), AskExecutors(4))
    # The next submission does not hold up tasks either, as it may be refused as well.
    play.at(32, TaskGone(2))
    play.at(32, remote(3), RunLocally(3, "no-executor"))


def test_a_submission_refused_in_part_leaves_the_others_their_grace(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(3, 30))
    play.at(2, ExecutorJoined("x"), Dispatch(1, "x", 1))
    assert play.scheduler.next_deadline() == 31
    play.at(31, Tick(), AskExecutors(3))


def test_the_last_executor_is_lost_while_the_cluster_refuses(start):
    play = start(max_executors=2)
    play.at(0, remote(1), AskExecutors(1))
    play.at(0, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(0, remote(2), AskExecutors(1))
    play.at(1, SubmissionFailed(1, 30))
    play.at(2, ExecutorLost("x"), RunLocally(1, "no-executor"))


def test_a_new_build_waits_again_once_the_refusal_is_history(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 30), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2, TaskGone(1))
    play.at(2, BuildEnded("b"))
    assert play.scheduler.next_deadline() is None
    play.at(20, BuildStarted("c", None), SetWidth("c", 1))
    play.at(20, remote(2, "c"), NoExecutorYet("c", 0), RunLocally(2, "no-executor"))
    play.at(21, TaskGone(2))
    play.at(21, BuildEnded("c"))
    play.at(100, BuildStarted("d", None), SetWidth("d", 1))
    play.at(100, remote(3, "d"), AskExecutors(4))
    assert play.scheduler.next_deadline() == 105


def test_settings_that_change_how_executors_are_started_forget_the_refusal(start):
    play = start(way="nosuch")
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 600), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2, remote(2))
    play.at(3, change(play, way="nosuch", max_executors=3))
    play.at(4, change(play, way="workq"), AskExecutors(4))
    assert play.scheduler.next_deadline() == 9  # task 2 waits for the first executor
    play.at(5, ExecutorJoined("x"), Dispatch(2, "x", 1))


def test_the_pause_of_a_way_is_remembered(start):
    # Two builds with different settings that start in turn are no reason for a submission at each start.
    play = start(way="nosuch")
    play.at(0, remote(1, ""), AskExecutors(1))
    play.at(1, SubmissionFailed(1, 600), RunLocally(1, "no-executor"))
    play.at(2, change(play, way="closed"))
    play.at(2, remote(2, ""), AskExecutors(1))
    play.at(3, SubmissionFailed(1, 30))
    play.at(4, change(play, way="nosuch"))
    assert play.scheduler.next_deadline() == 601
    play.at(5, change(play, way="closed"))
    assert play.scheduler.next_deadline() == 33


def test_executors_on_their_way_in_the_old_way_are_withdrawn(start):
    play = start(way="nosuch")
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, change(play, way="workq"), Withdraw())
    play.at(2, SubmissionFailed(4, 0.001), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2.5, Tick(), AskExecutors(4))


def test_a_build_that_opens_in_a_long_pause_has_another_try_a_minute_after_the_refusal(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 600), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2, TaskGone(1))
    play.at(2, BuildEnded("b"))
    play.at(10, BuildStarted("c", None), SetWidth("c", 1))
    play.at(10, remote(2, "c"), NoExecutorYet("c", 0), RunLocally(2, "no-executor"))
    assert play.scheduler.next_deadline() == 61
    play.at(61, Tick(), AskExecutors(4))
    play.at(62, SubmissionFailed(4, 600))
    play.at(200, BuildEnded("c"))
    play.at(200, TaskGone(2))
    play.at(201, BuildStarted("d", None), SetWidth("d", 1))
    play.at(201, remote(3, "d"), AskExecutors(4))


def test_a_build_that_opens_in_a_short_pause_does_not_shorten_it(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 15), NoExecutorYet("b", 0), RunLocally(1, "no-executor"))
    play.at(2, BuildStarted("c", None), SetWidth("c", 1))
    assert play.scheduler.next_deadline() == 16


def test_builds_that_wait_for_the_cluster_are_told_when_it_is_asked_again(start):
    play = start(wait_for_cluster=True)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(1, SubmissionFailed(4, 600), WaitsForRetry("b", 600))
    play.at(2, remote(2))
    play.at(3, BuildStarted("c", None), SetWidth("c", 1), WaitsForRetry("b", 58))
    play.at(4, remote(3, "c"), WaitsForRetry("c", 57))
    play.at(61, Tick(), AskExecutors(4))
    play.at(62, SubmissionFailed(4, 0.5))
    play.at(62.5, Tick(), AskExecutors(4))


def test_executors_that_come_though_they_were_reported_failed(start):
    play = start(max_executors=1)
    play.at(0, remote(1), AskExecutors(1))
    play.at(1, SubmissionFailed(1, 30), RunLocally(1, "no-executor"))
    play.at(2, ExecutorJoined("x"))
    play.at(3, ExecutorJoined("y"), Release("x"))
    assert play.scheduler.snapshot()["executors"] == {"idle": 1, "busy": 0, "asked": 0, "releasing": 1}


# ---- releasing executors


def test_idle_executors_are_let_go_after_the_last_build(start):
    play = start(max_executors=3)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    for name in "xyz":
        play.do(ExecutorJoined(name), 1)
    play.at(50, BuildEnded("b"))
    assert play.scheduler.next_deadline() == 110
    play.at(110, Tick(), Release("x"), Release("y"), Release("z"))
    assert play.scheduler.next_deadline() is None
    for name in "xyz":
        play.at(111, ExecutorLost(name))


def test_an_executor_that_idles_later_is_let_go_later(start):
    play = start(max_executors=2)
    play.at(0, remote(1), AskExecutors(1))
    play.at(0, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(0, ExecutorJoined("y"))
    play.at(10, AttemptEnded("x", 1, DONE))
    play.at(60, Tick(), Release("y"))
    play.at(70, Tick(), Release("x"))


def test_a_build_opens_before_the_executors_are_let_go(start):
    play = start(max_executors=1)
    play.at(0, ExecutorJoined("x"))
    play.at(60, BuildStarted("b", None), SetWidth("b", 1))
    play.at(61, Tick())
    assert play.scheduler.next_deadline() is None
    play.at(70, BuildEnded("b"))
    assert play.scheduler.next_deadline() == 130


def test_a_build_opens_after_the_executors_were_let_go(start):
    play = start(max_executors=1)
    play.at(0, ExecutorJoined("x"))
    play.at(60, Tick(), Release("x"))
    play.at(60, BuildStarted("b", None), SetWidth("b", 1))
    play.at(60, remote(1), AskExecutors(1))
    play.at(61, ExecutorLost("x"))


def test_fewer_executors_allowed(start):
    play = start(max_executors=4)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.at(0, ExecutorJoined("w"), Dispatch(1, "w", 1))
    for width, name in enumerate("xyz", start=2):
        play.at(0, ExecutorJoined(name), SetWidth("b", width))
    play.at(0, remote(2), Dispatch(2, "z", 1))
    play.at(1, change(play, max_executors=1), Release("x"), Release("y"), SetWidth("b", 2))
    play.at(2, AttemptEnded("w", 1, DONE), Release("w"), SetWidth("b", 1))
    play.at(3, AttemptEnded("z", 2, DONE))


# ---- elastic within a build


def test_more_are_asked_for_when_the_first_ones_are_all_busy(start):
    play = start(max_executors=7, initial_executors=2, local_slots=9)
    play.at(0, BuildStarted("b", None), SetWidth("b", 9))
    play.at(0, remote(1), AskExecutors(2))
    for task in range(2, 9):
        play.at(0, remote(task))
    play.at(1, ExecutorJoined("t"), Dispatch(1, "t", 1))
    play.at(2, ExecutorJoined("u"), Dispatch(2, "u", 1), AskExecutors(2))
    play.at(3, ExecutorJoined("v"), Dispatch(3, "v", 1))
    play.at(3, ExecutorJoined("w"), Dispatch(4, "w", 1), AskExecutors(3))


def test_a_build_that_leaves_tokens_unclaimed_asks_for_no_more(start):
    play = start(max_executors=7, initial_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(1, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(1, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(2, AttemptEnded("x", 1, DONE))
    play.at(2, remote(2), Dispatch(2, "x", 1))


@pytest.mark.parametrize(("initial", "again"), [(None, 2), (1, 1)])
def test_slots_are_given_back_in_mid_build_and_asked_for_again(start, initial, again):
    play = start(max_executors=3, initial_executors=initial)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.do(remote(1))
    for name in "xyz":
        play.do(ExecutorJoined(name))
    play.do(AttemptEnded("x", 1, DONE), 5)
    play.do(TaskGone(1))
    # x worked last. The scheduler keeps it, to notice when more work comes.
    play.at(60, Tick(), Release("y"), Release("z"), SetWidth("b", 1))
    for name in "yz":
        play.at(61, ExecutorLost(name))
    assert play.scheduler.next_deadline() is None
    play.at(70, remote(2), Dispatch(2, "x", 1), AskExecutors(again))


def test_those_on_the_way_are_withdrawn_with_those_that_idle(start):
    play = start(max_executors=9)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(9))
    play.do(ExecutorJoined("x"), 0)
    play.do(ExecutorJoined("y"), 0)
    play.do(AttemptEnded("x", 1, DONE), 1)
    play.do(TaskGone(1), 1)
    play.at(60, Tick(), Withdraw(), Release("y"), SetWidth("b", 1))
    play.at(60, SubmissionFailed(7, 0.001))
    play.at(61, ExecutorLost("y"))
    assert play.scheduler.next_deadline() is None


def test_those_on_the_way_are_withdrawn_before_others_leave_after_the_last_build(start):
    play = start(max_executors=9)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(9))
    play.do(ExecutorJoined("x"), 0)
    play.do(ExecutorJoined("y"), 0)
    play.do(AttemptEnded("x", 1, DONE), 1)
    play.do(TaskGone(1), 1)
    play.at(2, BuildEnded("b"))
    play.at(62, Tick(), Withdraw(), Release("y"), Release("x"))


def test_an_executor_whose_time_is_over_twice_is_released_once(start):
    play = start(max_executors=1)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(1))
    play.at(0, ExecutorJoined("x", 5.0), Dispatch(1, "x", 1))
    play.at(1, AttemptEnded("x", 1, DONE))
    play.at(1, TaskGone(1))
    # The event reaches the scheduler before the Tick of the same time.
    play.at(5, ExecutorsUnwanted(("x",)), Release("x"), AskExecutors(1))


def test_requests_that_no_build_wants_are_withdrawn_without_any_connected_executor(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.do(TaskGone(1), 1)
    play.at(2, BuildEnded("b"))
    assert play.scheduler.next_deadline() == 62
    play.at(62, Tick(), Withdraw())
    assert play.scheduler.next_deadline() is None  # once is enough
    play.at(63, SubmissionFailed(4, 0.001))
    play.at(70, BuildStarted("c", None), SetWidth("c", 1))
    play.at(70, remote(2, build="c"), AskExecutors(4))
    play.do(TaskGone(2), 71)
    play.at(72, BuildEnded("c"))
    play.at(132, Tick(), Withdraw())


def test_a_build_that_opens_in_time_keeps_the_requests_of_the_last_one(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.do(TaskGone(1), 1)
    play.at(2, BuildEnded("b"))
    play.at(61, BuildStarted("c", None), SetWidth("c", 1))
    play.at(62, Tick())
    play.at(90, BuildEnded("c"))
    assert play.scheduler.next_deadline() == 150


def test_requests_for_a_build_whose_command_line_is_gone_are_withdrawn(start):
    play = start()
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.do(BuildLeft("b"), 5)
    play.at(65, Tick(), Withdraw())


def test_a_withdrawal_may_follow_the_last_build_at_once(start):
    play = start(release_delay_s=0)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.do(TaskGone(1), 1)
    play.at(2, BuildEnded("b"), Withdraw())
    assert play.scheduler.next_deadline() is None


def test_an_executor_near_the_end_of_its_time_is_drained_and_replaced(start):
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(0, ExecutorJoined("x", 48.0), Dispatch(1, "x", 1))
    play.at(0, ExecutorJoined("y", 50.0), SetWidth("b", 2))
    assert play.scheduler.next_deadline() == 48
    play.at(48, Tick())  # the executor may end the task that it runs
    play.at(49, remote(2), Dispatch(2, "y", 1))
    play.at(49, AttemptEnded("x", 1, DONE), Release("x"), AskExecutors(1), SetWidth("b", 1))
    play.at(49.5, AttemptEnded("y", 2, DONE))
    play.at(50, Tick(), Release("y"), AskExecutors(1))
    play.at(51, remote(3))
    play.at(52, ExecutorJoined("z"), Dispatch(3, "z", 1))


def test_the_executors_of_one_batch_job_are_released_together(start):
    """The batch job holds its CPUs until its last executor leaves, and others would be asked for on further CPUs."""
    play = start(max_executors=4, release_delay_s=60)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(4))
    play.do(ExecutorJoined("t-1.1"), 0)
    for executor in ("t-1.2", "t-2.1", "t-2.2"):
        play.do(ExecutorJoined(executor), 0)
    assert play.scheduler.snapshot()["executors"]["busy"] == 1
    play.do(remote(2), 10)
    play.do(remote(3), 10)  # the warm ones first: both of t-2
    play.do(AttemptEnded("t-2.2", 2, DONE), 20)
    play.do(AttemptEnded("t-2.1", 3, DONE), 30)
    play.at(60, Tick())  # t-1.2 has idled for long enough, but t-1.1 is busy
    play.at(80, Tick())  # so has t-2.2, but t-2.1 has not
    actions = play.do(Tick(), 90)
    assert [action for action in actions if isinstance(action, Release)] == [Release("t-2.2"), Release("t-2.1")]


def test_the_last_idle_batch_job_stays_whole_during_a_build(start):
    play = start(max_executors=3, release_delay_s=60)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(3))
    play.do(ExecutorJoined("t-1.1"), 0)
    for executor in ("t-2.1", "t-2.2"):
        play.do(ExecutorJoined(executor), 0)
    play.at(1000, Tick())
    actions = play.do(AttemptEnded("t-1.1", 1, DONE), 1001)  # now another one idles
    assert [action.executor for action in actions if isinstance(action, Release)] == ["t-2.1", "t-2.2"]


def test_unwanted_executors_get_no_more_tasks(start):
    """The busy one finishes its task. Others are asked for in their places."""
    play = start(max_executors=2)
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    play.at(0, remote(1), AskExecutors(2))
    play.at(0, ExecutorJoined("x"), Dispatch(1, "x", 1))
    play.at(0, ExecutorJoined("y"), SetWidth("b", 2))
    play.at(1, ExecutorsUnwanted(("x", "y", "gone")), Release("y"), AskExecutors(1), SetWidth("b", 1))
    play.at(2, remote(2))
    play.at(3, AttemptEnded("x", 1, DONE), Release("x"), AskExecutors(1))
    play.at(4, ExecutorJoined("z"), Dispatch(2, "z", 1))


# ---- widths


def test_width_follows_the_executors_and_is_told_only_when_it_changes(start):
    play = start(max_executors=8, local_slots=2)
    play.at(0, BuildStarted("b", 3), SetWidth("b", 2))
    play.at(0, ExecutorJoined("1"))
    play.at(0, ExecutorJoined("2"))
    play.at(0, ExecutorJoined("3"), SetWidth("b", 3))
    play.at(0, ExecutorJoined("4"))
    play.at(1, ExecutorLost("4"))
    play.at(1, ExecutorLost("3"), SetWidth("b", 2))
    play.at(1, ExecutorLost("2"))


def test_the_width_of_a_closed_build_goes_to_the_others(start):
    play = start(max_executors=8)
    for name in "1234567":
        play.do(ExecutorJoined(name))
    play.at(1, BuildStarted("a", None), SetWidth("a", 7))
    play.at(1, BuildStarted("b", None), SetWidth("a", 4), SetWidth("b", 3))
    play.at(1, BuildStarted("c", 1), SetWidth("a", 3), SetWidth("c", 1))
    play.at(2, BuildEnded("a"), SetWidth("b", 6))
    assert play.scheduler.snapshot()["width"] == 7


# ---- status


def test_snapshot_counts_everything_once(start):
    play = start(max_executors=2, local_slots=1, light_slots=1)
    play.do(BuildStarted("b", 7), 0)
    for task in (1, 2, 3, 4):
        play.do(remote(task))
    play.do(ExecutorJoined("x"))
    play.do(AttemptEnded("x", 1, DONE))
    for task, placement in enumerate([HEAVY, HEAVY, LIGHT, Placement.HERE_NOW], start=10):
        play.do(TaskArrived(task, "outside", placement))
    states = "queued remote waiting_here here_heavy here_light here_compile here_now answered"
    nothing = dict.fromkeys(states.split(), 0)
    b = {**nothing, "queued": 2, "remote": 1, "answered": 1}
    outside = {**nothing, "waiting_here": 1, "here_heavy": 1, "here_light": 1, "here_now": 1}
    assert play.scheduler.snapshot() == {
        "builds": {
            "b": {**b, "open": True, "cap": 7, "width": 1},
            "outside": {**outside, "open": False, "cap": None, "width": 0},
        },
        "total": {key: b[key] + outside[key] for key in nothing},
        "executors": {"idle": 0, "busy": 1, "asked": 1, "releasing": 0},
        "width": 1,
        "falling_back": False,
    }


def test_no_deadline_while_nothing_waits(start):
    play = start(release_delay_s=math.inf)
    assert play.scheduler.next_deadline() is None
    play.at(0, BuildStarted("b", None), SetWidth("b", 1))
    assert play.scheduler.next_deadline() is None
