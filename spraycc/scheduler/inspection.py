"""Looks into a scheduler without changing it: the invariants, and the counts for ``spraycc status``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from spraycc.model import BuildId, Placement
from spraycc.scheduler.tasks import Build, Quota, State, Task

if TYPE_CHECKING:
    from spraycc.scheduler.core import Scheduler


class Counts(TypedDict):
    """Tasks by where they are."""

    queued: int
    remote: int  #: on an executor
    waiting_here: int  #: for a slot of the submit host
    here_heavy: int
    here_light: int
    here_now: int
    answered: int  #: their runner has the result and has still to end


class BuildCounts(Counts):
    open: bool
    cap: int | None
    width: int  #: 0 unless open


class ExecutorCounts(TypedDict):
    idle: int
    busy: int
    asked: int  #: and not yet connected
    releasing: int


class Snapshot(TypedDict):
    builds: dict[BuildId, BuildCounts]
    total: Counts
    executors: ExecutorCounts
    width: int  #: of all open builds together
    falling_back: bool  #: tasks meant for executors run here, as none is connected


_BUCKETS = {
    State.QUEUED: "queued",
    State.RUNNING: "remote",
    State.WAITING_HERE: "waiting_here",
    State.ANSWERED: "answered",
}
_BUCKETS_HERE = {Quota.HEAVY: "here_heavy", Quota.LIGHT: "here_light", None: "here_now"}


def _bucket(task: Task) -> str:
    return _BUCKETS_HERE[task.quota] if task.state is State.HERE else _BUCKETS[task.state]


def _counts(buckets: Counter[str]) -> Counts:
    return Counts(
        queued=buckets["queued"],
        remote=buckets["remote"],
        waiting_here=buckets["waiting_here"],
        here_heavy=buckets["here_heavy"],
        here_light=buckets["here_light"],
        here_now=buckets["here_now"],
        answered=buckets["answered"],
    )


def snapshot(scheduler: Scheduler) -> Snapshot:
    """What ``spraycc status`` shows, as dicts of numbers."""
    by_build: dict[Build, Counter[str]] = {build: Counter() for build in scheduler.builds.values()}
    for task in scheduler.tasks.values():
        by_build[task.build][_bucket(task)] += 1
    total: Counter[str] = Counter()
    for buckets in by_build.values():
        total.update(buckets)
    pool = scheduler.pool
    return Snapshot(
        builds={
            build.id: BuildCounts(open=build.open, cap=build.cap, width=build.width, **_counts(buckets))
            for build, buckets in by_build.items()
        },
        total=_counts(total),
        executors=ExecutorCounts(idle=len(pool.idle), busy=pool.busy, asked=pool.asked, releasing=pool.releasing),
        width=sum(build.width for build in scheduler.open.values()),
        falling_back=scheduler.alone and not pool.connected and not scheduler.policy.wait_for_cluster,
    )


def validate(scheduler: Scheduler) -> None:
    """Asserts what must hold between any two events."""
    _validate_tasks(scheduler)
    _validate_executors(scheduler)
    _validate_places(scheduler)
    _validate_builds(scheduler)
    _validate_rest(scheduler)


def _validate_tasks(scheduler: Scheduler) -> None:
    """Each task is in exactly the one place that its state says."""
    queued = Counter(task.id for task in scheduler.queue)
    waiting = Counter(task.id for line in scheduler.places.waiting.values() for task in line.values())
    ended = (State.ANSWERED, State.GONE)
    busy = Counter(e.task.id for e in scheduler.pool.executors.values() if e.task and e.task.state not in ended)
    assert scheduler.queue.size == queued.total()
    assert scheduler.queue.movable == sum(not task.must_be_remote for task in scheduler.queue)
    assert scheduler.queue.starved.keys() == {task.id for task in scheduler.queue if task.starved}
    assert queued.keys() | waiting.keys() | busy.keys() <= scheduler.tasks.keys()
    for task in scheduler.tasks.values():
        assert task.state is not State.GONE
        assert queued[task.id] == (task.state is State.QUEUED)
        assert waiting[task.id] == (task.state is State.WAITING_HERE)
        assert busy[task.id] == len(task.executors) <= 2
        assert bool(task.executors) == (task.state is State.RUNNING)
        assert task.late_at is None or len(task.executors) == 1
        assert len(task.tried) == task.attempts
        assert task.state is not State.QUEUED or task.tries < scheduler.policy.max_attempts
        if task.state is State.WAITING_HERE:
            assert task.quota is not None
            assert task.id in scheduler.places.waiting[task.quota]
        if task.state in (State.QUEUED, State.RUNNING, State.ANSWERED):
            assert task.placement is Placement.REMOTE


def _validate_executors(scheduler: Scheduler) -> None:
    """Idle, busy with a task that knows of it or with one that has ended, or being released; never two of these."""
    pool = scheduler.pool
    for executor in pool.executors.values():
        task = executor.task
        assert (executor.id in pool.idle) == (task is None and not executor.releasing)
        if task is not None:
            assert not executor.releasing
            running = task.state is State.RUNNING and executor.id in task.executors
            assert running or task.state in (State.GONE, State.ANSWERED)
    assert pool.idle.keys() <= pool.executors.keys()
    since = [executor.idle_since for executor in pool.idle.values()]
    assert since == sorted(since)
    assert pool.releasing == sum(executor.releasing for executor in pool.executors.values())
    assert pool.busy == sum(executor.task is not None for executor in pool.executors.values())
    assert pool.second == sum(executor.second for executor in pool.executors.values())
    for name, host in pool.hosts.items():
        there = [executor for executor in pool.executors.values() if executor.host is host]
        assert {executor.host_name for executor in there} == {name}
        host.validate([executor.memory_bytes for executor in there if executor.task is not None])
    assert pool.asked >= 0
    assert pool.level >= 1
    assert not any(executor.retiring for executor in pool.idle.values())
    assert pool.unfit == sum(bool(executor.unfit) for executor in pool.executors.values())


def _validate_places(scheduler: Scheduler) -> None:
    """The counts are right, and no quota is exceeded but by what ran already when it was made smaller."""
    places, policy = scheduler.places, scheduler.policy
    here = Counter(task.quota for task in scheduler.tasks.values() if task.state is State.HERE)
    for quota, carried in zip((Quota.HEAVY, Quota.LIGHT), scheduler.carried, strict=False):
        assert places.running[quota] == here[quota]
        assert places.running[quota] <= max(places.size[quota], carried)
        entered = [task.entered for task in places.waiting[quota].values()]
        assert entered == sorted(entered)
    if policy.executors_are_here:
        assert scheduler.places_taken <= max(policy.max_executors, scheduler.carried[2])


def _validate_builds(scheduler: Scheduler) -> None:
    busy = [executor.task.build for executor in scheduler.pool.executors.values() if executor.task is not None]
    tasks = scheduler.tasks.values()
    for build in scheduler.builds.values():
        own = [task for task in tasks if task.build is build]
        assert build.open or own or build.held
        assert build.tasks == len(own)
        assert build.remote == sum(task.state in (State.QUEUED, State.RUNNING) for task in own)
        assert build.held == busy.count(build)
        assert build.fallen == sum(task.state is State.HERE and task.why == "no-executor" for task in own)
        assert (build.width >= 1) == build.open
        assert build.cap is None or build.width <= build.cap
    assert all(scheduler.builds[task.build.id] is task.build for task in tasks)
    assert all(scheduler.builds[build.id] is build for build in busy)
    assert list(scheduler.open.values()) == [build for build in scheduler.open.values() if build.open]
    assert len(scheduler.open) == sum(build.open for build in scheduler.builds.values())
    assert scheduler.unclaimed == sum(build.remote for build in scheduler.builds.values() if not build.open)


def _validate_rest(scheduler: Scheduler) -> None:
    """Nothing that could be placed is left lying, and the timers agree with what they time."""
    policy, pool, queue, places = scheduler.policy, scheduler.pool, scheduler.queue, scheduler.places
    if not scheduler.is_full():
        assert places.next_waiting() is None, "a task waits for a slot that is free"
        assert not any(
            task.needs not in e.unfit and not (task.is_heavy or task.starved)
            for task in queue
            for e in pool.idle.values()
        ), "a task is queued beside an idle executor"
        assert scheduler.match() is None, "a task is queued beside an idle executor with room for it"
        if pool.connected and places.has_free(Quota.HEAVY):
            assert all(pool.has_fit(task.needs) for task in queue), "a task could run here and does not"
        if scheduler.alone and not pool.connected and not policy.wait_for_cluster:
            assert not queue.movable or not places.has_free(Quota.HEAVY), "a task could fall back and does not"
    assert not (scheduler.alone and pool.connected)
    assert (scheduler.quiet_since is not None) == (not scheduler.open and not queue.size)
    assert pool.connected <= policy.max_executors or not pool.idle
