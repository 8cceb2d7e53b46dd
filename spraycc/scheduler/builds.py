"""The builds: the executors that they claim, the order in which they are served, and the width of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from spraycc.model import BuildId
from spraycc.scheduler.executor_pool import Executor
from spraycc.scheduler.tasks import (
    REMOTE_STATES,
    TASK_MOVES,
    Quota,
    ScheduledBuild,
    ScheduledTask,
    TaskState,
    count_tasks,
)
from spraycc.status_reply import BuildCounts


class ScheduledBuilds:
    """All builds that are open, have tasks, or hold executors."""

    def __init__(self) -> None:
        self.by_id: dict[BuildId, ScheduledBuild] = {}
        #: the open builds, the oldest first
        self.open: dict[BuildId, ScheduledBuild] = {}
        #: executors that all builds together can use
        self.wanted_executors: float = 0
        #: servings so far; see ``ScheduledBuild.turn``
        self._turns = 0

    def get(self, build_id: BuildId) -> ScheduledBuild:
        """The build with this id. Makes a new one if the id is not known."""
        build = self.by_id.get(build_id)
        if build is None:
            build = self.by_id[build_id] = ScheduledBuild(build_id)
        return build

    def start(self, build_id: BuildId, cap: int | None) -> None:
        build = self.get(build_id)
        assert not build.open, f"build {build_id} started twice"
        build.open, build.left = True, False
        build.cap = None if cap is None else max(1, cap)
        self.open[build_id] = build
        self._count_wanted()

    def end(self, build_id: BuildId) -> None:
        build = self.open.pop(build_id)
        build.open = False
        build.left = True
        build.width = 0
        self._count_wanted()
        self._forget_if_unused(build)

    def leave(self, build: ScheduledBuild) -> None:
        """No command line waits for the build any more."""
        build.left = True
        self._count_wanted()

    @property
    def left_tasks(self) -> bool:
        """True if a build that is left has tasks in QUEUED or RUNNING."""
        return any(build.left and build.remote for build in self.by_id.values())

    def task_left(self, build: ScheduledBuild) -> None:
        """One of the build's tasks is GONE."""
        build.tasks -= 1
        if not build.tasks:
            self._forget_if_unused(build)

    def executor_left(self, build: ScheduledBuild) -> None:
        """An executor is no longer busy for the build."""
        build.busy_executors -= 1
        if not build.busy_executors:
            self._forget_if_unused(build)

    def _forget_if_unused(self, build: ScheduledBuild) -> None:
        if not (build.open or build.tasks or build.busy_executors):
            self.by_id.pop(build.id, None)

    def want_executors(self, build: ScheduledBuild) -> None:
        """A task for executors has arrived."""
        if not build.wants_executors:
            build.wants_executors = True
            self._count_wanted()

    def _count_wanted(self) -> None:
        self.wanted_executors = sum(build.wanted_executors for build in self.by_id.values())

    def move(self, task: ScheduledTask, state: TaskState) -> None:
        """Move the task to another state, and count it for its build."""
        before = task.state
        assert state in TASK_MOVES[before], f"task {task.id} can't go from {before} to {state}"
        task.state = state
        change = (state in REMOTE_STATES) - (before in REMOTE_STATES)
        if change:
            build = task.build
            build.remote += change
            if not (build.open or build.left):
                self.wanted_executors += change

    def serve(self, build: ScheduledBuild) -> None:
        """A task of the build starts: the build is now last among equal builds."""
        self._turns += 1
        build.turn = self._turns

    def set_widths(self, capacity: int) -> list[ScheduledBuild]:
        """Divide the capacity between the open builds. Returns the builds whose width has changed."""
        builds = list(self.open.values())
        changed = []
        for build, width in zip(builds, split(capacity, [build.cap for build in builds]), strict=True):
            if width != build.width:
                build.width = width
                changed.append(build)
        return changed

    def counts(self, tasks: Collection[ScheduledTask]) -> dict[BuildId, BuildCounts]:
        own: dict[BuildId, list[ScheduledTask]] = {build_id: [] for build_id in self.by_id}
        for task in tasks:
            own[task.build.id].append(task)
        return {
            build.id: BuildCounts(open=build.open, cap=build.cap, width=build.width, **count_tasks(own[build.id]))
            for build in self.by_id.values()
        }

    def validate(self, tasks: Collection[ScheduledTask], executors: Collection[Executor]) -> None:
        """Assert that the counts of each build are right, and that no unused build is left."""
        busy = Counter(executor.task.build for executor in executors if executor.task is not None)
        for build in self.by_id.values():
            own = [task for task in tasks if task.build is build]
            assert build.open or own or build.busy_executors
            assert build.tasks == len(own)
            assert build.remote == sum(task.state in REMOTE_STATES for task in own)
            assert build.busy_executors == busy[build]
            assert build.without_executor == sum(t.state is TaskState.LOCAL and t.why == "no-executor" for t in own)
            assert build.in_compile_slots == sum(t.quota is Quota.COMPILE for t in own)
            assert (build.width >= 1) == build.open
            assert build.cap is None or build.width <= build.cap
            build.circuit_breaker.validate()
        assert all(self.by_id[task.build.id] is task.build for task in tasks)
        assert all(self.by_id[build.id] is build for build in busy)
        assert self.open == {build.id: build for build in self.by_id.values() if build.open}
        assert self.wanted_executors == sum(build.wanted_executors for build in self.by_id.values())


def split(capacity: int, caps: Sequence[int | None]) -> list[int]:
    """Divide a capacity between builds, given their caps, the oldest build first.

    The shares are equal. The part that a cap leaves over goes to the others, and the remainder to the oldest. Each
    build gets at least 1, because its tool always runs one recipe. So the sum may exceed the capacity.
    """
    shares = [0] * len(caps)
    rest = capacity
    uncapped: list[int] = []
    # The smallest caps first: once a cap is above the equal share, all that follow are too.
    order = sorted(range(len(caps)), key=lambda i: capacity if (cap := caps[i]) is None else cap)
    for left, index in zip(range(len(caps), 0, -1), order, strict=True):
        cap = caps[index]
        if cap is not None and not uncapped and cap <= rest // left:
            shares[index] = cap
            rest -= cap
        else:
            uncapped.append(index)
    if uncapped:
        share, remainder = divmod(rest, len(uncapped))
        for position, index in enumerate(sorted(uncapped)):
            shares[index] = share + (position < remainder)
    return [max(1, share) for share in shares]
