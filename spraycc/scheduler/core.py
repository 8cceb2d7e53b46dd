"""The scheduler: an event in, actions out. No clock, no IO, no randomness; the same events give the same actions.

The method for an event only records the new state. :meth:`Scheduler._settle` then does everything that the event has
made possible, so no event can forget to hand out work.

Three rules explain the rest:

* After the grace tasks stay QUEUED. While no executor is connected, the submit host takes tasks one by one as its slots
  become free. The first executor that joins finds the other tasks still in their order.
* An executor is busy until AttemptEnded or ExecutorLost, even if its task has ended. Only the executor still refers to
  a task that is GONE.
* A task has one attempt at a time, or two near the build's end. If one of two attempts is DONE, the scheduler aborts
  the other. Otherwise only the end of the last attempt decides where the task goes.
"""

from __future__ import annotations

from typing import assert_never

from spraycc.model import BuildId, ExecutorId, TaskId
from spraycc.scheduler import events
from spraycc.scheduler.actions import Action, AskExecutors, Release, SetWidth, WaitsForRetry, Withdraw
from spraycc.scheduler.builds import ScheduledBuilds
from spraycc.scheduler.executor_pool import Executor, ExecutorPool
from spraycc.scheduler.task_placer import TaskPlacer
from spraycc.scheduler.tasks import ScheduledTask, TaskState, count_tasks
from spraycc.status_reply import Snapshot

#: A shorter pause between two requests for executors is not told.
_LEAST_TOLD_S = 1.0


class Scheduler:
    """Decides what to do next, for all tasks, executors and builds of one server.

    A wrong event (an unknown task, an executor that joins twice) is a bug of the dispatcher and fails an assertion.
    """

    def __init__(self, policy: events.SchedulingPolicy) -> None:
        policy.validate()
        self.policy = policy
        #: tasks by id, without tasks that are GONE
        self.tasks: dict[TaskId, ScheduledTask] = {}
        #: time of the present event, and the actions that it has led to so far
        self._now = 0.0
        self._actions: list[Action] = []
        #: tasks that arrived so far
        self._arrivals = 0
        #: the present event has changed something that the widths depend on
        self._widths_due = False

        self.builds = ScheduledBuilds()
        self.pool = ExecutorPool(policy.initial_executors)
        self.placer = TaskPlacer(policy, self.builds, self.pool, self._actions)
        self.queue = self.placer.queue
        self.slots = self.placer.slots

    def handle(self, event: events.Event, now: float) -> list[Action]:
        """Handle an event of the time ``now`` (seconds, monotonic). Returns the actions, in order."""
        self._now = now
        self._actions.clear()
        self._record(event)
        self._settle()
        return self._actions.copy()

    def next_deadline(self) -> float | None:
        """When a Tick is due if no event comes before; always after the time of the last event."""
        pool = self.pool
        due = self.placer.deadlines()
        if self._missing() > 0:
            due.append(pool.retry_at)
        if (release := pool.next_release(self.policy.release_delay_s)) is not None:
            due.append(release[1])
        if (withdrawal := pool.next_withdrawal(self.policy.release_delay_s)) is not None:
            due.append(withdrawal)
        if (retirement := pool.next_retirement()) is not None:
            due.append(retirement)
        return min(due, default=None)

    def snapshot(self) -> Snapshot:
        """Counts for ``spraycc status``. O(tasks)."""
        tasks = self.tasks.values()
        return Snapshot(
            builds=self.builds.counts(tasks),
            total=count_tasks(tasks),
            executors=self.pool.counts(),
            width=sum(build.width for build in self.builds.open.values()),
            falling_back=self.placer.does_without_executors(),
        )

    def validate(self) -> None:
        """Assert every invariant. O(everything): for tests."""
        tasks, pool = self.tasks.values(), self.pool
        self.builds.validate(tasks, pool.executors.values())
        pool.validate(tasks)
        self.placer.validate(tasks)
        assert (pool.quiet_since is not None) == (not self.builds.open and not self.queue.size)
        assert (pool.unwanted_since is not None) == (not self.wants_executors)
        assert pool.connected <= self.policy.max_executors or not pool.idle

    @property
    def wants_executors(self) -> bool:
        """A build is open whose command line waits for it, or a task outside all builds needs an executor."""
        return bool(self.builds.wanted_executors) or any(not build.left for build in self.builds.open.values())

    @property
    def waiting_builds(self) -> list[BuildId]:
        """The open builds with tasks for executors, while no executor is connected."""
        if self.pool.connected or not self.policy.max_executors:
            return []
        return [build.id for build in self.builds.open.values() if build.remote and not build.left]

    def state_of(self, task: TaskId) -> TaskState:
        """The state of a task; GONE if the scheduler does not know the task."""
        found = self.tasks.get(task)
        return TaskState.GONE if found is None else found.state

    @property
    def asked(self) -> int:
        """Executors that were asked for and have neither connected nor failed."""
        return self.pool.asked

    @property
    def needs_memory_measured(self) -> bool:
        """A task has or wants a slot of the heavy quota, or much memory for a compile slot."""
        return self.slots.heavy_demand > 0 or (self.policy.compile_slots > 0 and self.queue.memory_hungry > 0)

    # ---- events

    def _record(self, event: events.Event) -> None:
        match event:
            case events.TaskArrived():
                self._task_arrived(event)
            case events.TaskGone():
                task = self.tasks.pop(event.task)
                self.placer.leave(task)
                self.builds.task_left(task.build)
            case events.AttemptEnded():
                self._attempt_ended(event)
            case events.MemoryReported(executor_id, available_bytes):
                self.pool.executors[executor_id].memory.report(available_bytes)
            case events.MemoryMeasured(room, available_bytes):
                self.slots.room = room
                if available_bytes is not None:
                    self.slots.memory.report(available_bytes)
            case events.ExecutorJoined():
                self.pool.join(event, self._now)
                self.placer.grace.end()
                self._widths_due = True
            case events.ExecutorsUnwanted(executor_ids):
                self.pool.let_go(executor_ids, self._now)
            case events.ExecutorLost(executor_id):
                self._executor_lost(executor_id)
            case events.SubmissionFailed(count, retry_s):
                self.pool.fail(count, self._now, retry_s)
            case events.BuildStarted(build_id, cap):
                self.pool.shorten_pause()
                if not (self.builds.open or self.queue.size or self.pool.connected or self.pool.asked):
                    # If an earlier build's executors are still on their way, do not restart the grace: each of a
                    # hundred short builds would wait in vain.
                    self.placer.grace.restart()
                self.builds.start(build_id, cap)
                self._widths_due = True
            case events.BuildLeft(build_id):
                self.builds.leave(self.builds.open[build_id])
            case events.BuildEnded(build_id):
                self.builds.end(build_id)
                self._widths_due = True
            case events.PolicyChanged(policy):
                self._policy_changed(policy)
            case events.Tick():
                pass
            case _:
                assert_never(event)

    def _policy_changed(self, policy: events.SchedulingPolicy) -> None:
        policy.validate()
        if policy.initial_executors != self.policy.initial_executors:
            self.pool.reset_ceiling(policy.initial_executors)
        if policy.way != self.policy.way:
            self.pool.change_way(self.policy.way, policy.way)
            self.placer.grace.end()
            # Executors that were asked for in the old way would stand for those of the new one.
            self._withdraw_requests()
        self.policy = policy
        self.placer.apply(policy)
        self._widths_due = True

    def _task_arrived(self, event: events.TaskArrived) -> None:
        assert event.task not in self.tasks, f"task {event.task} arrived twice"
        build = self.builds.get(event.build)
        build.left = build.left or event.build_is_over
        build.tasks += 1
        self._arrivals += 1
        self.tasks[event.task] = task = ScheduledTask(
            event.task, build, event.placement, event.priority, event.must_be_remote, self._arrivals, event.needs,
            expected=event.expected, may_run_twice=event.may_run_twice, memory_bytes=event.expected.memory_bytes,
        )  # fmt: skip
        self.placer.arrive(task)

    def _attempt_ended(self, event: events.AttemptEnded) -> None:
        executor = self.pool.executors.get(event.executor)
        if executor is None or executor.task is None or executor.task.id != event.task:
            return  # The attempt's end was reported before. It says nothing about the executor's present task.
        task = executor.task
        if event.outcome is events.Outcome.UNFIT:
            self.pool.note_unfit(executor, task.needs)
        if event.outcome is events.Outcome.DONE:
            self.placer.stragglers.pace.note(executor.host, task.expected.seconds, self._now - executor.began)
            if len(task.executors) > 1:
                self.placer.stragglers.learn(won=executor.second)
        if not self.pool.free(executor, self._now):
            self._release(executor)
        self.placer.end_attempt(task, executor, event.outcome)
        self.builds.executor_left(task.build)

    def _executor_lost(self, executor_id: ExecutorId) -> None:
        executor = self.pool.executors[executor_id]
        task = executor.task
        self.pool.lose(executor, self._now, self.policy.max_executors)
        self._widths_due = True
        if task is not None:
            self.placer.end_attempt(task, executor, None)
            self.builds.executor_left(task.build)

    # ---- after every event

    def _settle(self) -> None:
        """Do everything that the event has made possible."""
        self._release_retired_and_surplus()
        if self.pool.connected or not self.policy.max_executors:
            self.placer.fall_back_for_memory()
        else:
            self.placer.fall_back_left()
            self.placer.update_grace(self._now)
        # Before tasks are placed: a task that runs locally at once is still a reason to ask.
        self._ask_executors()
        self.placer.place_tasks(self._now)
        if self.pool.raise_ceiling(self.policy.initial_executors):
            self._ask_executors()
        self._withdraw_unwanted()
        self._release_idle()
        if self._widths_due:
            self._set_widths()
        waits = self.policy.wait_for_cluster and self.policy.max_executors > 0
        if waits and not (self.pool.connected or self.pool.asked):
            self._tell_pause()

    def _release_retired_and_surplus(self) -> None:
        pool = self.pool
        for executor in pool.retire(self._now):
            self._release(executor)
        while pool.connected > self.policy.max_executors and (idle := pool.longest_idle()) is not None:
            self._release(idle)

    def _release(self, executor: Executor) -> None:
        self.pool.release(executor)
        self._widths_due = True
        self._actions.append(Release(executor.id))

    def _ask_executors(self) -> None:
        missing = self._missing()
        if missing > 0 and self._now >= self.pool.retry_at:
            self.pool.ask(missing)
            self._actions.append(AskExecutors(missing))

    def _missing(self) -> int:
        pool = self.pool
        wanted = min(self.policy.max_executors, self.builds.wanted_executors, pool.ceiling)
        return int(wanted) - pool.connected - pool.asked

    def _withdraw_unwanted(self) -> None:
        """Take back the requests that no build has wanted for the release delay, also if no executor is connected."""
        pool = self.pool
        if self.wants_executors:
            pool.unwanted_since = None
        elif pool.unwanted_since is None:
            pool.unwanted_since = self._now
        due = pool.next_withdrawal(self.policy.release_delay_s)
        if due is not None and due <= self._now:
            self._withdraw_requests()

    def _release_idle(self) -> None:
        """Release executors that have been idle for too long.

        Then no more are wanted, so the scheduler first takes back its requests for more. Otherwise the cluster manager
        would start a pending executor in the place of each that leaves. In an open build, an idle executor shows that
        the build can't use all of its executors.
        """
        pool, delay_s = self.pool, self.policy.release_delay_s
        if self.builds.open or self.queue.size:
            pool.quiet_since = None
        elif pool.quiet_since is None:
            # The next build begins with the first ceiling.
            pool.quiet_since = self._now
            pool.reset_ceiling(self.policy.initial_executors)
        during_build = pool.quiet_since is None
        withdrawn = False
        while (release := pool.next_release(delay_s)) is not None and release[1] <= self._now:
            if not withdrawn:
                self._withdraw_requests()
                withdrawn = True
            self._release(release[0])
            if during_build:
                pool.lower_ceiling()

    def _withdraw_requests(self) -> None:
        """Take back all requests for executors.

        A request of the present event is dropped from its actions. The dispatcher carries out actions in order, so a
        Withdraw before that request would not reach it.
        """
        for action in [action for action in self._actions if isinstance(action, AskExecutors)]:
            self._actions.remove(action)
            self.pool.asked -= action.count
        self.pool.withdrawn = True
        if self.pool.asked and not any(isinstance(action, Withdraw) for action in self._actions):
            self._actions.append(Withdraw())

    def _tell_pause(self) -> None:
        retry_at = self.pool.retry_at
        if retry_at - self._now < _LEAST_TOLD_S:
            return
        for build in self.builds.open.values():
            if build.remote and not build.left and build.told_retry_at != retry_at:
                build.told_retry_at = retry_at
                self._actions.append(WaitsForRetry(build.id, retry_at - self._now))

    def _set_widths(self) -> None:
        self._widths_due = False
        # Never below the local slots: without any width, no first task could arrive to ask for executors.
        capacity = self.pool.connected + self.policy.compile_slots
        for build in self.builds.set_widths(max(capacity, self.policy.local_slots)):
            self._actions.append(SetWidth(build.id, build.width))
