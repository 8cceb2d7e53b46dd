"""The scheduler: an event in, actions out. No clock, no IO, no randomness; the same events give the same actions.

A task is in exactly one place::

                  Dispatch                 DONE
    REMOTE ──► QUEUED ──────► RUNNING ─────────────► ANSWERED
                 │ ▲             │ │
                 │ └─────────────┘ │ REFUSED, lost or killed once too often, or its build given up
   lost, killed, │                 ▼
           unfit │
                 │        WAITING_HERE ◄── HERE_HEAVY, HERE_LIGHT
     no executor │             │
                 └──► HERE ◄───┘ (a slot is free)
                       ▲
                       └── HERE_NOW

and from each of them TaskGone leads out. Work is handed out in one place, :meth:`Scheduler._fill`, after every event:
the event's own method only says where things are now. So no event can forget to hand out what another made possible.

Three thoughts that the rest follows from:

* Tasks that run here because no executor is connected are not moved to another queue when the grace is over. They stay
  QUEUED and are drawn from there one by one, as slots become free, for as long as no executor is connected. The first
  one that connects finds all the others still in their order.
* An executor is busy until AttemptEnded or ExecutorLost, whatever became of its task. A task that has ended meanwhile
  is GONE, and only the executor still refers to it.
* A task has one attempt at a time, or two near the build's end. While one of them is left, the other's end means
  nothing, unless it is DONE; then the one that is left is aborted. What an attempt's end means is decided by the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from spraycc.model import Placement
from spraycc.scheduler import inspection
from spraycc.scheduler.actions import Abort, Action, AskExecutors, SetWidth, Withdraw
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildClosed,
    BuildOpened,
    Event,
    ExecutorJoined,
    ExecutorLost,
    MemoryMeasured,
    MemoryReported,
    Outcome,
    Policy,
    PolicyChanged,
    SubmissionFailed,
    TaskArrived,
    TaskGone,
    Tick,
)
from spraycc.scheduler.executor_pool import Executor
from spraycc.scheduler.memory import starve
from spraycc.scheduler.moves import Ledger
from spraycc.scheduler.task_queue import split
from spraycc.scheduler.tasks import Quota, State, Task

#: Where waiting local tasks and queued remote ones want the same free place, the local ones go first (others wait for
#: them), but after so many in a row one remote task is let through.
_LOCAL_STREAK = 4
#: While a build is open an executor idles at least so long before it is let go, whatever the delay after builds.
_LEAST_IDLE_S = 10.0


class Scheduler(Ledger):
    """What to do next, for all tasks, executors and builds of one server.

    The attributes are read by ``inspection`` and by nobody else. A wrong event (an unknown task, an executor that joins
    twice) is a bug of the shell and fails an assertion.
    """

    def __init__(self, policy: Policy) -> None:
        _check(policy)
        super().__init__(policy)
        #: tasks meant for executors run here until one connects; outlives an empty queue, so only the first ones wait
        self.alone = False
        #: since when a task that may run here is queued while no executor is connected
        self.waiting_since: float | None = None
        #: since when no build is open and nothing is queued
        self.quiet_since: float | None = None
        #: places given to local tasks in a row that remote tasks wanted too
        self.local_streak = 0
        #: (heavy, light, all places) taken when the policy was last changed: a smaller quota takes nothing away
        self.carried = (0, 0, 0)

        self._arrivals = 0
        self.pool.level = _first_level(policy)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Takes in what happened at ``now`` (seconds, monotonic) and returns what is to be done, in order."""
        self._now = now
        self._actions = []
        _EVENTS[type(event)](self, event)
        self._settle()
        return self._actions

    def next_deadline(self) -> float | None:
        """When a Tick is due if nothing else happens before; always after the time of the last event."""
        due = []
        policy, pool = self.policy, self.pool
        if (
            self.waiting_since is not None
            and self.queue.movable
            and not (pool.connected or self.alone or policy.wait_for_cluster)
        ):
            due.append(self.waiting_since + policy.pending_grace_s)
        if self._missing() > 0:
            due.append(pool.retry_at)
        if (dispensable := self._dispensable()) is not None:
            due.append(dispensable[1])
        if (retirement := pool.next_retirement()) is not None:
            due.append(retirement)
        if self._may_try_twice() and not self.is_full() and (late_at := self.tail.next_at()) is not None:
            due.append(late_at)
        return min(due, default=None)

    def validate(self) -> None:
        """Asserts every invariant. O(everything): for tests."""
        inspection.validate(self)

    def snapshot(self) -> inspection.Snapshot:
        """Counts for ``spraycc status``. O(tasks)."""
        return inspection.snapshot(self)

    # ---- events

    def _policy_changed(self, event: PolicyChanged) -> None:
        _check(event.policy)
        if event.policy.initial_executors != self.policy.initial_executors:
            self.pool.level = _first_level(event.policy)
        self.policy = event.policy
        self.carried = (self.places.running[Quota.HEAVY], self.places.running[Quota.LIGHT], self.places_taken)
        self.places.resize(event.policy)
        for task in [task for task in self.queue if task.tries >= event.policy.max_attempts]:
            if task.state is not State.QUEUED:
                continue  # its build was given up for one before it
            self.queue.remove(task)
            self._fail_over(task, "attempts")
        self._count_claims()
        self._widths_due = True

    def _build_opened(self, event: BuildOpened) -> None:
        build = self._build(event.build)
        assert not build.open, f"build {event.build} was opened twice"
        pool = self.pool
        if not (self.open or self.queue.size or pool.connected or pool.asked):
            # None is on the way, so executors will be asked for afresh, and that deserves a grace of its own. Where
            # some are pending since an earlier build, a hundred short builds would each wait for them in vain.
            self.alone = False
        build.open = True
        build.cap = None if event.cap is None else max(1, event.cap)
        self.open[build.id] = build
        self.unclaimed -= build.remote
        self._count_claims()
        self._widths_due = True

    def _build_closed(self, event: BuildClosed) -> None:
        build = self.open.pop(event.build)
        build.open = False
        build.width = 0
        self.unclaimed += build.remote
        self._count_claims()
        self._widths_due = True
        self._forget(build)

    def _task_arrived(self, event: TaskArrived) -> None:
        assert event.task not in self.tasks, f"task {event.task} arrived twice"
        build = self._build(event.build)
        self._arrivals += 1
        task = Task(
            event.task, build, event.placement, event.priority, event.must_be_remote, self._arrivals, event.needs,
            expected=event.expected, may_run_twice=event.may_run_twice, memory_bytes=event.expected.memory_bytes,
        )  # fmt: skip
        self.tasks[event.task] = task
        build.tasks += 1
        if event.placement is Placement.REMOTE:
            if not build.wants_executors:
                build.wants_executors = True
                self._count_claims()
            self._count_remote(build, 1)
            if build.sends or event.must_be_remote:
                self.queue.add(task)
            else:
                self._wait_here(task, Quota.HEAVY, "gave-up")
        elif event.placement is Placement.HERE_NOW:
            self._run_here(task, None, "placement")
        else:
            quota = Quota.HEAVY if event.placement is Placement.HERE_HEAVY else Quota.LIGHT
            self._wait_here(task, quota, "placement")

    def _task_gone(self, event: TaskGone) -> None:
        task = self.tasks.pop(event.task)
        _TABLE[task.state, TaskGone](self, task)
        task.state = State.GONE
        task.build.tasks -= 1
        self._forget(task.build)

    def _executor_joined(self, event: ExecutorJoined) -> None:
        self.pool.join(event, self._now)
        self.alone = False
        self.waiting_since = None
        self._widths_due = True

    def _executor_lost(self, event: ExecutorLost) -> None:
        executor = self.pool.executors[event.executor]
        task = executor.task
        self.pool.lose(executor, self._now, self.policy.max_executors)
        self._widths_due = True
        if task is not None:
            self._end_attempt(task, executor, ExecutorLost)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        executor = self.pool.executors.get(event.executor)
        # Said twice, or by one that was given up meanwhile. Its present task, if any, has nothing to do with it.
        if executor is None or executor.task is None or executor.task.id != event.task:
            return
        task = executor.task
        if event.outcome is Outcome.UNFIT:
            self.pool.note_unfit(executor, task.needs)
        if event.outcome is Outcome.DONE and len(task.executors) > 1:
            self.tail.learn(won=executor.second)
        self.pool.free(executor, self._now)
        if executor.retiring:
            self._release(executor)
        self._end_attempt(task, executor, event.outcome)

    def _memory_reported(self, event: MemoryReported) -> None:
        self.pool.executors[event.executor].host.report(event.available_bytes)

    def _submission_failed(self, event: SubmissionFailed) -> None:
        self.pool.fail(event.count, self._now + event.retry_s)

    def _memory_measured(self, event: MemoryMeasured) -> None:
        self.places.room = event.room

    @property
    def heavy_ones(self) -> int:
        """Tasks that have or want a slot of the heavy quota: whether memory is worth a look."""
        return self.places.running[Quota.HEAVY] + len(self.places.waiting[Quota.HEAVY])

    def _tick(self, event: Tick) -> None:
        """What is due is done after every event."""

    # ---- what becomes of a task: the rows of the table

    def _gone_queued(self, task: Task) -> None:
        self.queue.remove(task)
        self._count_remote(task.build, -1)

    def _gone_running(self, task: Task) -> None:
        self._abort(task)
        self._count_remote(task.build, -1)

    def _gone_waiting(self, task: Task) -> None:
        self.places.stop_waiting(task)

    def _gone_here(self, task: Task) -> None:
        if task.quota is not None:
            self.places.leave(task.quota)
        if task.why == "no-executor":
            task.build.fallen -= 1

    def _gone_answered(self, task: Task) -> None:
        """It held nothing any more."""

    def _done(self, task: Task) -> None:
        task.state = State.ANSWERED
        self._abort(task)
        self._count_remote(task.build, -1)
        task.build.confidence.note(fell_back=False)

    def _killed(self, task: Task) -> None:
        self._try_again(task, in_front=False)

    def _lost(self, task: Task) -> None:
        self._try_again(task, in_front=True)

    def _refused(self, task: Task) -> None:
        self._fail_over(task, "refused")

    def _aborted(self, task: Task) -> None:
        """Its executor is free; the task has its result from elsewhere, or has been gone for long."""

    def _abort(self, task: Task) -> None:
        """Nobody wants its attempts any more."""
        for executor in task.executors:
            self._actions.append(Abort(executor, task.id))
        task.executors.clear()
        task.late_at = None

    # ---- where a task goes

    def _end_attempt(self, task: Task, executor: Executor, how: Outcome | type[ExecutorLost]) -> None:
        task.build.held -= 1
        if executor.id in task.executors:
            task.executors.remove(executor.id)
            task.late_at = None
        if how is Outcome.OUT_OF_MEMORY:
            starve(task, executor.room_bytes)
        task.misfits += how is Outcome.UNFIT
        if how is Outcome.DONE or not task.executors:
            _TABLE[task.state, how](self, task)
        self._forget(task.build)

    # ---- after every event

    def _settle(self) -> None:
        for executor in self.pool.retire(self._now):
            self._release(executor)
        self._release_surplus()
        self._give_up_starved()
        self._mind_grace()
        # Before tasks are handed out: one that falls back the moment it comes is still a reason to ask.
        self._ask()
        self._fill()
        self.pool.grow(self.policy.initial_executors)
        self._ask()
        self._mind_quiet()
        self._release_idle()
        if self._widths_due:
            self._set_widths()

    def _ask(self) -> None:
        missing = self._missing()
        if missing > 0 and self._now >= self.pool.retry_at:
            self.pool.asked += missing
            self._actions.append(AskExecutors(missing))

    def _give_up_starved(self) -> None:
        """What no connected host has enough memory for runs here; this one's is the user's to judge."""
        if not (self.queue.starved and self.pool.connected):
            return
        for task in [task for task in self.queue.starved.values() if not self.pool.could_take(task)]:
            if task.state is State.QUEUED:  # else its build was given up for one before it
                self.queue.remove(task)
                self._fail_over(task, "memory")

    def _missing(self) -> int:
        wanted = min(self.policy.max_executors, self.claimed + self.unclaimed, self.pool.level)
        return int(wanted) - self.pool.connected - self.pool.asked

    def _release_surplus(self) -> None:
        while self.pool.connected > self.policy.max_executors and (executor := self.pool.longest_idle()) is not None:
            self._release(executor)

    def _mind_grace(self) -> None:
        pool = self.pool
        if pool.connected:
            return
        if not self.queue.movable:
            self.waiting_since = None
            return
        if self.waiting_since is None:
            self.waiting_since = self._now
        over = self._now >= self.waiting_since + self.policy.pending_grace_s
        # A refusal outlives the time of the retry: one that lasts for hours must not stall the build at each attempt.
        refused = pool.asked == 0 and self._now < pool.retry_at
        self.alone = self.alone or over or refused

    def _fill(self) -> None:
        """Hands out idle executors and free slots until no task fits."""
        policy, pool, queue, places = self.policy, self.pool, self.queue, self.places
        while not self.is_full():
            local = places.next_waiting()
            remote = self.match()
            falls = (
                self.alone
                and queue.movable > 0
                and not (pool.connected or policy.wait_for_cluster)
                and places.has_free(Quota.HEAVY)
            )
            if local is not None:
                # Where the two don't compete both are served in this loop, whichever goes first.
                contested = remote is not None or falls
                if not contested or self.local_streak < _LOCAL_STREAK:
                    self.local_streak += contested
                    self._start_waiting(local)
                    continue
            if remote is not None:
                self._dispatch(*remote)
            elif falls:
                self._fall_back()
            elif (stranded := self._stranded()) is not None:
                self._run_stranded(stranded)
            elif (second := self._match_second()) is not None:
                self._dispatch_second(*second)
            else:
                return
            self.local_streak = 0

    def _stranded(self) -> Task | None:
        """A queued task that no connected executor is fit for, where a slot is free for it here."""
        pool = self.pool
        if not (pool.unfit and pool.connected and self.queue.size and self.places.has_free(Quota.HEAVY)):
            return None
        return self.queue.first_with(lambda needs: not pool.has_fit(needs))

    def is_full(self) -> bool:
        """Executors share this host's CPUs, and all that may be used are."""
        return self.policy.executors_are_here and self.places_taken >= self.policy.max_executors

    def _mind_quiet(self) -> None:
        if self.open or self.queue.size:
            self.quiet_since = None
            return
        if self.quiet_since is None:
            self.quiet_since = self._now
            self.pool.level = _first_level(self.policy)

    def _dispensable(self) -> tuple[Executor, float] | None:
        """The executor that idles longest, and when it is let go; None where that one is kept."""
        pool, delay_s = self.pool, self.policy.release_delay_s
        executor = pool.longest_idle()
        if executor is None:
            return None
        if self.quiet_since is not None:
            return executor, max(executor.idle_since, self.quiet_since) + delay_s
        # Its token lies unclaimed: what the build does now is not for executors. One stays: when that becomes busy too,
        # the build can use more again, and nothing else would tell.
        return None if len(pool.idle) < 2 else (executor, executor.idle_since + max(delay_s, _LEAST_IDLE_S))

    def _release_idle(self) -> None:
        """Release executors that have been idle for too long.

        While a build is open, an idle executor shows that the build can't use as many as it has. Then no more are
        wanted, so the executors that are still on their way are taken back too.
        """
        during_build = self.quiet_since is None
        taken_back = False
        while (dispensable := self._dispensable()) is not None and dispensable[1] <= self._now:
            if during_build and not taken_back:
                self._take_back_asked()
                taken_back = True
            self._release(dispensable[0])
            if during_build:
                self.pool.level = max(1, self.pool.connected)

    def _take_back_asked(self) -> None:
        """No executor that has been asked for is wanted any more.

        A request of the event in hand is dropped before the shell hears of it. The shell carries out the actions in
        order, so a Withdraw before that request would not reach it.
        """
        for action in [action for action in self._actions if isinstance(action, AskExecutors)]:
            self._actions.remove(action)
            self.pool.asked -= action.count
        if self.pool.asked:
            self._actions.append(Withdraw())

    def _set_widths(self) -> None:
        self._widths_due = False
        # Never below the local slots: with no executor there, the first task has to arrive somehow.
        capacity = max(self.pool.connected, self.policy.local_slots)
        builds = list(self.open.values())
        for build, width in zip(builds, split(capacity, [build.cap for build in builds]), strict=True):
            if width != build.width:
                build.width = width
                self._actions.append(SetWidth(build.id, width))


def _first_level(policy: Policy) -> float:
    return math.inf if policy.initial_executors is None else policy.initial_executors


def _check(policy: Policy) -> None:
    """With any of these at 0 some task could never end."""
    assert policy.max_executors >= 1
    assert policy.local_slots >= 1
    assert policy.light_slots >= 1
    assert policy.max_attempts >= 1
    assert policy.initial_executors is None or policy.initial_executors >= 1


_EVENTS: dict[type[Event], Callable[[Scheduler, Any], None]] = {
    PolicyChanged: Scheduler._policy_changed,
    BuildOpened: Scheduler._build_opened,
    BuildClosed: Scheduler._build_closed,
    TaskArrived: Scheduler._task_arrived,
    TaskGone: Scheduler._task_gone,
    ExecutorJoined: Scheduler._executor_joined,
    ExecutorLost: Scheduler._executor_lost,
    AttemptEnded: Scheduler._attempt_ended,
    MemoryReported: Scheduler._memory_reported,
    SubmissionFailed: Scheduler._submission_failed,
    MemoryMeasured: Scheduler._memory_measured,
    Tick: Scheduler._tick,
}

#: What an event does to the task that it concerns, by the task's state. A pair that is not here can't be: attempts end
#: only on the executors that the task is RUNNING on, or was when it ended.
_TABLE: dict[tuple[State, Outcome | type[TaskGone] | type[ExecutorLost]], Callable[[Scheduler, Task], None]] = {
    (State.QUEUED, TaskGone): Scheduler._gone_queued,
    (State.RUNNING, TaskGone): Scheduler._gone_running,
    (State.WAITING_HERE, TaskGone): Scheduler._gone_waiting,
    (State.HERE, TaskGone): Scheduler._gone_here,
    (State.ANSWERED, TaskGone): Scheduler._gone_answered,
    (State.RUNNING, Outcome.DONE): Scheduler._done,
    (State.RUNNING, Outcome.KILLED): Scheduler._killed,
    (State.RUNNING, Outcome.OUT_OF_MEMORY): Scheduler._lost,
    (State.RUNNING, Outcome.REFUSED): Scheduler._refused,
    (State.RUNNING, Outcome.UNFIT): Scheduler._lost,
    (State.RUNNING, Outcome.STALE): Scheduler._lost,
    (State.RUNNING, Outcome.CANCELLED): Scheduler._killed,  # nobody asked for it: the executor is being shut down
    (State.RUNNING, ExecutorLost): Scheduler._lost,
    **{(state, how): Scheduler._aborted for state in (State.ANSWERED, State.GONE) for how in (*Outcome, ExecutorLost)},
}
