"""Compile slots: the submit host runs tasks meant for executors, in their place or beside them."""

from __future__ import annotations

from spraycc.model import BuildId, ExecutorId, Expectation, Placement, TaskId
from spraycc.scheduler.actions import AskExecutors, Dispatch, Release, RunLocally, SetWidth
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildLeft,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    MemoryMeasured,
    Outcome,
    PolicyChanged,
    TaskArrived,
    TaskGone,
    Tick,
)

BUILD = BuildId("b")
EXECUTOR = ExecutorId("e1")
GIB = 1 << 30


def task(
    number: int,
    build: str = "b",
    placement: Placement = Placement.REMOTE,
    *,
    must_be_remote: bool = False,
    memory_bytes: int = 0,
) -> TaskArrived:
    expected = Expectation(memory_bytes=memory_bytes)
    return TaskArrived(
        TaskId(number), BuildId(build), placement, must_be_remote=must_be_remote, expected=expected, needs=""
    )


def here(number: int, why: str = "local") -> RunLocally:
    return RunLocally(TaskId(number), why)


def gone(number: int) -> TaskGone:
    return TaskGone(TaskId(number))


# ---- without executors


def test_a_host_alone_runs_as_many_tasks_as_it_has_slots_and_asks_for_no_executor(start) -> None:
    play = start(max_executors=0, compile_slots=2, executors_are_here=True)
    play.at(0, BuildStarted(BUILD, None), SetWidth(BUILD, 2))
    play.at(0, task(1), here(1))
    play.at(0, task(2), here(2))
    play.at(0, task(3))
    assert play.scheduler.snapshot()["total"]["here_compile"] == 2
    play.at(5, gone(1), here(3))


def test_no_grace_and_no_wait_for_the_cluster_matter_to_a_host_alone(start) -> None:
    play = start(max_executors=0, compile_slots=1, local_slots=4, wait_for_cluster=True, pending_grace_s=0.0)
    play.do(BuildStarted(BUILD, None), 0)
    play.at(0, task(1), here(1))
    play.at(0, task(2))
    play.at(9, Tick())
    assert play.scheduler.next_deadline() is None
    assert not play.scheduler.waiting_builds
    assert not play.scheduler.snapshot()["falling_back"]


def test_a_task_that_must_be_remote_runs_on_a_host_alone(start) -> None:
    play = start(max_executors=0, compile_slots=1)
    play.at(0, task(1, must_be_remote=True), here(1))


def test_a_left_builds_tasks_go_on_in_compile_slots(start) -> None:
    play = start(max_executors=0, compile_slots=1)
    play.do(BuildStarted(BUILD, None), 0)
    play.at(0, task(1), here(1))
    play.at(0, task(2))
    play.at(1, BuildLeft(BUILD))
    play.at(2, gone(1), here(2))


def test_two_builds_share_the_slots_evenly(start) -> None:
    play = start(max_executors=0, compile_slots=2)
    play.do(task(1, "a"), 0)
    play.do(task(2, "a"), 0)
    play.do(task(3, "a"), 0)
    play.do(task(4, "b"), 0)
    play.at(1, gone(1), here(4))
    play.at(2, gone(2), here(3))


def test_links_and_compiles_share_the_cpus_of_a_host_alone(start) -> None:
    play = start(max_executors=0, compile_slots=2, local_slots=2, executors_are_here=True)
    play.at(0, task(1, placement=Placement.HERE_HEAVY), here(1, "placement"))
    play.at(0, task(2), here(2))
    play.at(0, task(3))
    play.at(0, task(4, placement=Placement.HERE_HEAVY))
    play.at(1, gone(2), here(4, "placement"))
    play.at(2, gone(1), here(3))


def test_large_tasks_run_at_once_only_if_they_fit_into_the_memory(start) -> None:
    play = start(max_executors=0, compile_slots=3, memory_bytes=10 * GIB)
    play.at(0, task(1, memory_bytes=6 * GIB), here(1))
    play.at(0, task(2, memory_bytes=6 * GIB))
    assert play.scheduler.needs_memory_measured
    play.at(0, task(3), here(3))
    play.at(1, MemoryMeasured(0, 4 * GIB))
    play.at(1, gone(3))
    play.at(2, gone(1), here(2))
    assert not play.scheduler.needs_memory_measured


def test_a_report_of_free_memory_starts_the_next_large_task(start) -> None:
    play = start(max_executors=0, compile_slots=3, memory_bytes=20 * GIB)
    play.do(MemoryMeasured(0, 5 * GIB), 0)
    play.at(0, task(1, memory_bytes=4 * GIB), here(1))
    play.at(0, task(2, memory_bytes=4 * GIB))
    play.at(1, MemoryMeasured(0, 8 * GIB), here(2))


def test_a_build_that_wants_no_executors_releases_those_of_the_last_one(start) -> None:
    play = start(max_executors=2, executors_are_here=True)
    play.do(BuildStarted(BUILD, None), 0)
    play.at(0, task(1), AskExecutors(2))
    play.at(1, ExecutorJoined(EXECUTOR), Dispatch(TaskId(1), EXECUTOR, 1))
    alone = start(max_executors=0, compile_slots=2, executors_are_here=True).policy
    play.at(2, PolicyChanged(alone), SetWidth(BUILD, 3))
    play.at(2, task(2), here(2))
    play.at(2, task(3))  # the executor's task has the other CPU
    play.at(3, AttemptEnded(EXECUTOR, TaskId(1), Outcome.DONE), Release(EXECUTOR), here(3), SetWidth(BUILD, 2))


# ---- beside executors


def test_compile_slots_take_tasks_while_executors_are_pending(start) -> None:
    play = start(max_executors=2, compile_slots=1)
    play.at(0, BuildStarted(BUILD, None), SetWidth(BUILD, 1))
    play.at(0, task(1), AskExecutors(2), here(1, "compile-slot"))
    play.at(0, task(2))
    play.at(1, ExecutorJoined(EXECUTOR), Dispatch(TaskId(2), EXECUTOR, 1), SetWidth(BUILD, 2))


def test_an_idle_executor_gets_a_task_before_a_compile_slot(start) -> None:
    play = start(max_executors=1, compile_slots=1)
    play.do(BuildStarted(BUILD, None), 0)
    play.do(task(1), 0)
    play.do(ExecutorJoined(EXECUTOR), 0)
    play.at(1, gone(1))
    play.at(2, task(2), Dispatch(TaskId(2), EXECUTOR, 1))
    play.at(2, task(3), here(3, "compile-slot"))
    play.at(2, task(4))


def test_no_compile_slot_takes_what_the_user_sends_to_executors(start) -> None:
    play = start(max_executors=1, compile_slots=1)
    play.at(0, task(1, must_be_remote=True), AskExecutors(1))
    play.at(0, task(2), here(2, "compile-slot"))


def test_a_task_whose_executor_was_lost_may_go_to_a_compile_slot(start) -> None:
    play = start(max_executors=1, compile_slots=1)
    play.do(task(1, must_be_remote=True), 0)
    play.do(ExecutorJoined(EXECUTOR), 0)
    play.at(1, AttemptEnded(EXECUTOR, TaskId(1), Outcome.DONE))
    play.at(1, task(2), Dispatch(TaskId(2), EXECUTOR, 1))
    play.at(2, ExecutorLost(EXECUTOR), AskExecutors(1), here(2, "compile-slot"))


def test_a_task_that_ran_out_of_memory_goes_to_no_compile_slot_beside_executors(start) -> None:
    play = start(max_executors=1, compile_slots=1, memory_bytes=100 * GIB)
    play.do(task(1, must_be_remote=True), 0)
    play.do(ExecutorJoined(EXECUTOR, host="h", memory_bytes=8 * GIB), 0)
    play.do(AttemptEnded(EXECUTOR, TaskId(1), Outcome.DONE), 0)
    play.at(1, task(2), Dispatch(TaskId(2), EXECUTOR, 1))
    # No executor has more memory: it falls back, under the quota of links.
    play.at(2, AttemptEnded(EXECUTOR, TaskId(2), Outcome.OUT_OF_MEMORY), here(2, "memory"))


def test_compile_slots_are_beside_the_cpus_for_links(start) -> None:
    play = start(max_executors=4, compile_slots=1, local_slots=1)
    play.at(0, task(1, placement=Placement.HERE_HEAVY), here(1, "placement"))
    play.do(task(2), 0)
    counts = play.scheduler.snapshot()["total"]
    assert (counts["here_heavy"], counts["here_compile"]) == (1, 1)
