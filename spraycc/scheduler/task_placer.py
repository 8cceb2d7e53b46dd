"""Moves tasks from state to state: to executors, to slots of the submit host, and onward after an attempt's end."""

from __future__ import annotations

from collections.abc import Iterable

from spraycc.model import Placement
from spraycc.scheduler.actions import Abort, Action, Dispatch, GiveUp, NoExecutorYet, RunLocally
from spraycc.scheduler.builds import ScheduledBuilds
from spraycc.scheduler.events import Outcome, SchedulingPolicy
from spraycc.scheduler.executor_pool import Executor, ExecutorPool
from spraycc.scheduler.grace import Grace
from spraycc.scheduler.local_slots import LocalSlots
from spraycc.scheduler.stragglers import Stragglers
from spraycc.scheduler.task_queue import TaskQueue
from spraycc.scheduler.tasks import Quota, ScheduledTask, TaskState

#: If waiting local tasks and queued remote tasks want the same free CPU, local tasks go first, because others wait for
#: them. After this many in a row one remote task goes first.
_LOCAL_STREAK = 4


class TaskPlacer:
    """Owns the queue, the local slots, the stragglers and the grace. Appends to ``actions``.

    Only :meth:`place_tasks` hands out executors and slots. The other methods record the new state of a task.
    """

    def __init__(
        self, policy: SchedulingPolicy, builds: ScheduledBuilds, pool: ExecutorPool, actions: list[Action]
    ) -> None:
        self._policy = policy
        self._builds = builds
        self._pool = pool
        self._actions = actions
        self.queue = TaskQueue()
        self.slots = LocalSlots(policy)
        self.stragglers = Stragglers()
        self.grace = Grace()
        #: local tasks in a row that went before remote tasks that wanted the same CPU
        self._local_streak = 0
        #: ``_cpus_taken`` when the policy last changed: a smaller policy stops no running task
        self._cpus_taken_before = 0

    def apply(self, policy: SchedulingPolicy) -> None:
        self._policy = policy
        self._cpus_taken_before = self._cpus_taken
        self.slots.resize(policy)
        self._fall_back_queued((task for task in self.queue if task.tries >= policy.max_attempts), "attempts")

    # ---- a task's beginning and end

    def arrive(self, task: ScheduledTask) -> None:
        match task.placement:
            case Placement.REMOTE:
                self._builds.want_executors(task.build)
                self._enqueue(task)
            case Placement.HERE_NOW:
                self._run_locally(task, None, "placement")
            case Placement.HERE_HEAVY:
                self._wait_for_slot(task, Quota.HEAVY, "placement")
            case Placement.HERE_LIGHT:
                self._wait_for_slot(task, Quota.LIGHT, "placement")

    def leave(self, task: ScheduledTask) -> None:
        """The task's runner has ended."""
        match task.state:
            case TaskState.QUEUED:
                self.queue.remove(task)
            case TaskState.RUNNING:
                self._abort(task)
            case TaskState.WAITING:
                self.slots.stop_waiting(task)
            case TaskState.LOCAL:
                if task.quota is not None:
                    self.slots.leave(task, task.quota)
                task.build.in_compile_slots -= task.quota is Quota.COMPILE
                task.build.without_executor -= task.why == "no-executor"
        self._builds.move(task, TaskState.GONE)

    # ---- the end of an attempt

    def end_attempt(self, task: ScheduledTask, executor: Executor, outcome: Outcome | None) -> None:
        """The executor no longer runs the task; ``outcome`` is None if the executor was lost."""
        if executor.id in task.executors:
            task.executors.remove(executor.id)
            task.late_at = None
        if outcome is Outcome.OUT_OF_MEMORY:
            task.note_out_of_memory(executor.room_bytes)
        task.unfit_attempts += outcome is Outcome.UNFIT
        if task.state is not TaskState.RUNNING:
            assert task.state in (TaskState.ANSWERED, TaskState.GONE)  # the attempt was aborted
        elif outcome is Outcome.DONE or not task.executors:
            self._place_after_attempt(task, outcome)

    def _place_after_attempt(self, task: ScheduledTask, outcome: Outcome | None) -> None:
        match outcome:
            case Outcome.DONE:
                self._builds.move(task, TaskState.ANSWERED)
                self._abort(task)
                task.build.circuit_breaker.note(fell_back=False)
            case Outcome.REFUSED:
                self._fall_back(task, "refused")
            case _ if task.tries >= self._policy.max_attempts:
                self._fall_back(task, "attempts")
            case _:
                # CANCELLED without an Abort: the executor is being shut down.
                task.in_front = outcome not in (Outcome.KILLED, Outcome.CANCELLED)
                self._enqueue(task)

    def _abort(self, task: ScheduledTask) -> None:
        """Abort all attempts of the task."""
        for executor in task.executors:
            self._actions.append(Abort(executor, task.id))
        task.executors.clear()
        task.late_at = None

    # ---- waiting

    def _enqueue(self, task: ScheduledTask) -> None:
        if task.build.circuit_breaker.tripped and not task.must_be_remote:
            self._wait_for_slot(task, Quota.HEAVY, "gave-up")
        else:
            self._builds.move(task, TaskState.QUEUED)
            self.queue.add(task)

    def _wait_for_slot(self, task: ScheduledTask, quota: Quota, why: str) -> None:
        self._builds.move(task, TaskState.WAITING)
        task.why = why
        self.slots.wait(task, quota)

    def _fall_back(self, task: ScheduledTask, why: str) -> None:
        """The task was tried on executors and runs on the submit host after all.

        After too many of these tasks, the build's other tasks run on the submit host, too.
        """
        self._wait_for_slot(task, Quota.HEAVY, why)
        build, breaker = task.build, task.build.circuit_breaker
        breaker.note(fell_back=True)
        if not breaker.trip(self._policy.fall_back_limit):
            return
        self._actions.append(GiveUp(build.id, task.id, breaker.fell_back))
        for other in [other for other in self.queue if other.build is build and not other.must_be_remote]:
            self.queue.remove(other)
            self._wait_for_slot(other, Quota.HEAVY, "gave-up")

    def _fall_back_queued(self, tasks: Iterable[ScheduledTask], why: str) -> None:
        for task in list(tasks):
            if task.state is TaskState.QUEUED:  # else the circuit breaker tripped for a task before it
                self.queue.remove(task)
                self._fall_back(task, why)

    def fall_back_for_memory(self) -> None:
        """Tasks that ran out of memory fall back if no connected host has enough memory for them.

        The submit host's memory is not checked: that is up to the user. Without executors, its compile slots count as
        a connected host.
        """
        if self.queue.out_of_memory:
            could_take = self._pool.could_take if self._policy.max_executors else self.slots.memory.could_take
            tasks = self.queue.out_of_memory.values()
            self._fall_back_queued((task for task in tasks if not could_take(task)), "memory")

    def fall_back_left(self) -> None:
        """Tasks of builds that are left run on the submit host. No executor is connected.

        Their make may live on, so they must end. They may not keep the cluster busy, because no user waits for them.
        """
        if self._builds.left_tasks:
            for task in [task for task in self.queue if task.build.left]:
                self.queue.remove(task)
                self._wait_for_slot(task, Quota.HEAVY, "left")

    def update_grace(self, now: float) -> None:
        """No executor is connected."""
        # A refusal ends the grace beyond the time of the retry: if it lasts for hours, no retry may stall the build.
        refused = self._pool.asked == 0 and now < self._pool.retry_at
        self.grace.update(now, self._policy.pending_grace_s, waiting=self.queue.movable > 0, refused=refused)

    # ---- handing out executors and slots

    def place_tasks(self, now: float) -> None:
        """Hand out idle executors and free slots until no task fits."""
        while not self._is_host_full() and self._place_task(now):
            pass

    def _place_task(self, now: float) -> bool:
        queue, slots = self.queue, self.slots
        local = slots.next_waiting()
        remote = queue.match(self._pool)
        beside = None if remote is not None else self._match_compile_slot()
        without_executor = queue.movable > 0 and self.does_without_executors() and slots.has_free(Quota.HEAVY)
        if local is not None:
            # Without competition the order does not matter, because both get a place.
            contested = remote is not None or beside is not None or without_executor
            if not contested or self._local_streak < _LOCAL_STREAK:
                self._local_streak += contested
                slots.stop_waiting(local)
                self._run_locally(local, local.quota, local.why)
                return True
        if remote is not None:
            self._dispatch(*remote, now)
        elif beside is not None:
            self._run_in_compile_slot(beside)
        elif without_executor:
            self._run_without_executor(queue.first_movable())
        elif (unfit := queue.first_unfit(self._pool)) is not None and slots.has_free(Quota.HEAVY):
            self._run_queued_locally(unfit, "unfit")
        elif self._may_try_twice() and (late := self.stragglers.match(self._pool, now, self._policy.max_attempts)):
            late[0].late_at = None
            self._begin_attempt(*late, now, second=True)
        else:
            return False
        self._local_streak = 0
        return True

    def does_without_executors(self) -> bool:
        """The submit host runs tasks meant for executors until one is connected."""
        policy = self._policy
        return self.grace.is_over and not (self._pool.connected or policy.wait_for_cluster or not policy.max_executors)

    def _match_compile_slot(self) -> ScheduledTask | None:
        """The next task for a free compile slot. No idle executor can take a task now.

        Beside executors, the slot takes neither a task that must be remote, nor a task that ran out of memory.
        """
        if not (self.queue.size and self.slots.has_free(Quota.COMPILE)):
            return None
        for task in self.queue.candidates():
            is_for_executors = task.must_be_remote or task.out_of_memory
            if not (is_for_executors and self._policy.max_executors) and self.slots.memory.has_room(task):
                return task
        return None

    def _may_try_twice(self) -> bool:
        return not self.queue.size and bool(self._pool.idle) and self._pool.may_run_second

    @property
    def _cpus_taken(self) -> int:
        """CPUs of the submit host that are in use, if executors share them."""
        return self.slots.taken + self._pool.busy

    def _is_host_full(self) -> bool:
        """Executors share the submit host's CPUs, and all that SprayCC may use are taken."""
        return self._policy.executors_are_here and self._cpus_taken >= self._cpus_to_use

    @property
    def _cpus_to_use(self) -> int:
        return self._policy.max_executors + self._policy.compile_slots

    def _run_locally(self, task: ScheduledTask, quota: Quota | None, why: str) -> None:
        if quota is not None:
            self.slots.take(task, quota)
        self._builds.move(task, TaskState.LOCAL)
        task.quota = quota
        task.why = why
        self._actions.append(RunLocally(task.id, why))

    def _run_queued_locally(self, task: ScheduledTask, why: str, quota: Quota = Quota.HEAVY) -> None:
        self.queue.remove(task)
        self._builds.serve(task.build)
        self._run_locally(task, quota, why)

    def _run_in_compile_slot(self, task: ScheduledTask) -> None:
        task.build.in_compile_slots += 1
        self._run_queued_locally(task, "compile-slot" if self._policy.max_executors else "local", Quota.COMPILE)

    def _run_without_executor(self, task: ScheduledTask) -> None:
        build = task.build
        build.without_executor += 1
        # If the build is not open, no user reads its notices.
        if build.open and not build.told_no_executor:
            build.told_no_executor = True
            self._actions.append(NoExecutorYet(build.id, self._pool.asked))
        self._run_queued_locally(task, "no-executor")

    def _dispatch(self, task: ScheduledTask, executor: Executor, now: float) -> None:
        self.queue.remove(task)
        self._builds.move(task, TaskState.RUNNING)
        self._begin_attempt(task, executor, now, second=False)
        if task.may_run_twice and executor.holds_all and task.expected.late_s is not None:
            self.stragglers.watch(task, executor, now)

    def _begin_attempt(self, task: ScheduledTask, executor: Executor, now: float, *, second: bool) -> None:
        self._pool.occupy(executor, task, now, second=second)
        task.executors.append(executor.id)
        task.attempts += 1
        task.tried.append(executor.id)
        task.build.busy_executors += 1
        self._builds.serve(task.build)
        self._actions.append(Dispatch(task.id, executor.id, task.attempts, second))

    # ---- deadlines and invariants

    def deadlines(self) -> list[float]:
        """When a task runs without an executor, and when a task gets a second attempt."""
        policy, due = self._policy, []
        waits = policy.max_executors and not (self._pool.connected or policy.wait_for_cluster)
        waiting = waits and self.queue.movable
        if waiting and (over := self.grace.deadline(policy.pending_grace_s)) is not None:
            due.append(over)
        may_try = self._may_try_twice() and not self._is_host_full()
        if may_try and (late_at := self.stragglers.next_at()) is not None:
            due.append(late_at)
        return due

    def validate(self, tasks: Iterable[ScheduledTask]) -> None:
        """Assert the parts' invariants, and that no task waits for something that is free."""
        tasks, queue, slots, pool, policy = list(tasks), self.queue, self.slots, self._pool, self._policy
        for task in tasks:
            task.validate()
            assert task.state is not TaskState.QUEUED or task.tries < policy.max_attempts
        queue.validate(tasks)
        slots.validate(tasks)
        self.stragglers.validate(tasks)
        assert not (self.grace.is_over and pool.connected)
        assert pool.connected or not policy.max_executors or not any(task.build.left for task in queue)
        if policy.executors_are_here:
            assert self._cpus_taken <= max(self._cpus_to_use, self._cpus_taken_before)
        if not self._is_host_full():
            assert slots.next_waiting() is None, "a task waits for a slot that is free"
            assert queue.match(pool) is None, "a task is queued beside an idle executor with room for it"
            assert self._match_compile_slot() is None, "a task is queued beside a free compile slot"
            assert not any(
                task.needs not in executor.unfit and not (task.is_memory_hungry or task.out_of_memory)
                for task in queue
                for executor in pool.idle.values()
            ), "a task is queued beside an idle executor"
            if slots.has_free(Quota.HEAVY):
                stuck = pool.connected and not all(pool.has_fit(task.needs) for task in queue)
                assert not stuck, "a task that no executor is fit for could run on the submit host"
                assert not (queue.movable and self.does_without_executors()), "a task could run without an executor"
