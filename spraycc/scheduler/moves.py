"""Where everything is, and the moves from place to place, each of which keeps the counts. When to move: ``core``."""

from __future__ import annotations

from spraycc.model import BuildId, Placement, TaskId
from spraycc.scheduler.actions import Action, Dispatch, Fallback, GiveUp, Release, RunHere
from spraycc.scheduler.events import Policy
from spraycc.scheduler.executor_pool import Executor, Pool
from spraycc.scheduler.local_slots import Places
from spraycc.scheduler.stragglers import Tail
from spraycc.scheduler.task_queue import RemoteQueue
from spraycc.scheduler.tasks import Build, Quota, State, Task

#: At most one in so many executors runs a second attempt.
_SECOND_SHARE = 10


class Ledger:
    """All tasks, builds and executors of one server."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        #: tasks by id, without those that are GONE
        self.tasks: dict[TaskId, Task] = {}
        #: builds that are open, have tasks, or hold executors
        self.builds: dict[BuildId, Build] = {}
        #: the open ones of them, the oldest first
        self.open: dict[BuildId, Build] = {}
        #: tasks in QUEUED
        self.queue = RemoteQueue()
        #: tasks in WAITING_HERE, and how many are in HERE under each quota
        self.places = Places(policy)
        #: executors; tasks in RUNNING hang on them
        self.pool = Pool()
        #: tasks in RUNNING that may be tried twice at once, by the time when they are late
        self.tail = Tail()
        #: executors that the open builds lay claim to, by their caps
        self.claimed = 0
        #: tasks in QUEUED and RUNNING of builds that are not open; each lays claim to one executor
        self.unclaimed = 0

        #: time of the event in hand
        self._now = 0.0
        #: what it has led to so far
        self._actions: list[Action] = []
        #: builds have gained or lost executors or one another
        self._widths_due = False
        #: servings so far; see ``Build.turn``
        self._turns = 0

    @property
    def places_taken(self) -> int:
        """Where executors share this host's CPUs: those that are in use."""
        return self.places.taken + self.pool.busy

    # ---- moves

    def _try_again(self, task: Task, *, in_front: bool) -> None:
        if task.tries >= self.policy.max_attempts:
            self._fail_over(task, "attempts")
            return
        if not task.build.sends and not task.must_be_remote:
            self._wait_here(task, Quota.HEAVY, "gave-up")
            return
        task.state = State.QUEUED
        task.in_front = in_front
        self.queue.add(task)

    def _fail_over(self, task: Task, why: str) -> None:
        """It was tried on executors and runs here after all. Too many such, and the build's others are not tried."""
        self._wait_here(task, Quota.HEAVY, why)
        build = task.build
        build.confidence.note(fell_back=True)
        if not build.sends or not build.confidence.is_lost(self.policy.fall_back_limit):
            return
        build.sends = False
        self._actions.append(GiveUp(build.id, task.id, build.confidence.fallen))
        for other in [t for t in self.queue if t.build is build and not t.must_be_remote]:
            self.queue.remove(other)
            self._wait_here(other, Quota.HEAVY, "gave-up")

    def _wait_here(self, task: Task, quota: Quota, why: str) -> None:
        if task.placement is Placement.REMOTE:
            self._count_remote(task.build, -1)
        task.state = State.WAITING_HERE
        task.why = why
        self.places.wait(task, quota)

    def _run_here(self, task: Task, quota: Quota | None, why: str) -> None:
        if quota is not None:
            self.places.take(quota)
        task.state = State.HERE
        task.quota = quota
        task.why = why
        self._actions.append(RunHere(task.id, why))

    def _start_waiting(self, task: Task) -> None:
        self.places.stop_waiting(task)
        self._run_here(task, task.quota, task.why)

    def _fall_back(self) -> None:
        task = self.queue.first_movable()
        build = task.build
        self.queue.remove(task)
        self._count_remote(build, -1)
        build.fallen += 1
        self._serve(build)
        # Nobody listens to a build whose tool has ended, or that never was one.
        if build.open and not build.told:
            build.told = True
            self._actions.append(Fallback(build.id))
        self._run_here(task, Quota.HEAVY, "no-executor")

    def _run_stranded(self, task: Task) -> None:
        """No executor that is connected is fit for it; one that comes later may be, so the others of its kind wait."""
        self.queue.remove(task)
        self._count_remote(task.build, -1)
        self._serve(task.build)
        self._run_here(task, Quota.HEAVY, "unfit")

    def _dispatch(self, task: Task, executor: Executor) -> None:
        self.queue.remove(task)
        task.state = State.RUNNING
        self._begin(task, executor, second=False)
        if task.may_run_twice and executor.holds_all and task.expected.late_s is not None:
            self.tail.watch(task, self._now, task.expected.late_s)

    def _dispatch_second(self, task: Task, executor: Executor) -> None:
        task.late_at = None
        self._begin(task, executor, second=True)

    def _begin(self, task: Task, executor: Executor, *, second: bool) -> None:
        self.pool.occupy(executor, task, second=second)
        task.executors.append(executor.id)
        task.attempts += 1
        task.tried.append(executor.id)
        task.build.held += 1
        self._serve(task.build)
        self._actions.append(Dispatch(task.id, executor.id, task.attempts, second))

    def match(self) -> tuple[Task, Executor] | None:
        """The first task that a fit idle executor it was not yet tried on is there for, else the first task that any
        fit one is there for.

        None where that is so of none, or no host has room for those that are due. Then they wait for one that has.
        """
        pool = self.pool
        if not (self.queue.size and pool.idle):
            return None
        second = None
        for task in self.queue.candidates():
            executor = pool.idle_for(task, task.tried)
            if executor is not None:
                return task, executor
            if second is None and task.tried and (executor := pool.idle_for(task, ())) is not None:
                second = task, executor
        return second

    def _match_second(self) -> tuple[Task, Executor] | None:
        """A late task and an idle executor for a second attempt."""
        if self._may_try_twice():
            for task in self.tail.late(self._now):
                executor = self.pool.idle_for_second(task) if task.tries < self.policy.max_attempts else None
                if executor is not None:
                    return task, executor
        return None

    def _may_try_twice(self) -> bool:
        """Executors idle that nothing else is there for. Of few tasks at once: where many are late it is the file
        system, or the network, and to do everything twice would make it worse."""
        pool = self.pool
        return bool(pool.idle) and not self.queue.size and pool.second * _SECOND_SHARE < pool.connected

    def _release(self, executor: Executor) -> None:
        self.pool.release(executor)
        self._widths_due = True
        self._actions.append(Release(executor.id))

    # ---- counts

    def _build(self, build_id: BuildId) -> Build:
        build = self.builds.get(build_id)
        if build is None:
            build = self.builds[build_id] = Build(build_id)
        return build

    def _forget(self, build: Build) -> None:
        if not (build.open or build.tasks or build.held):
            self.builds.pop(build.id, None)

    def _serve(self, build: Build) -> None:
        self._turns += 1
        build.turn = self._turns

    def _count_remote(self, build: Build, change: int) -> None:
        build.remote += change
        if not build.open:
            self.unclaimed += change

    def _count_claims(self) -> None:
        """A build shows its width by tokens it uses, and tokens follow executors: its first task claims all of them."""
        most = self.policy.max_executors
        self.claimed = sum(build.cap or most for build in self.open.values() if build.wants_executors)
