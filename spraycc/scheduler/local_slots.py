"""The local slots of the submit host: the waiting tasks, and the number of taken slots."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection

from spraycc.model import TaskId
from spraycc.scheduler.events import SchedulingPolicy
from spraycc.scheduler.memory import HostMemory
from spraycc.scheduler.tasks import Quota, ScheduledTask, TaskState


class LocalSlots:
    """Three quotas, two of them with a waiting line. Tasks for compile slots wait in the queue for executors.

    ``core`` accounts for executors that share the submit host's CPUs.
    """

    def __init__(self, policy: SchedulingPolicy) -> None:
        #: tasks in LOCAL
        self.running = dict.fromkeys(Quota, 0)
        #: tasks in WAITING, in the order of ``ScheduledTask.entered``
        self.waiting: dict[Quota, OrderedDict[TaskId, ScheduledTask]] = {q: OrderedDict() for q in Quota}
        #: number of further heavy tasks that fit into the host's memory; None if not known
        self.room: int | None = None
        #: the submit host's memory, for the tasks in compile slots
        self.memory = HostMemory(policy.memory_bytes)
        #: ``ScheduledTask.entered`` of the last task
        self._entered = 0
        self.resize(policy)

    @property
    def taken(self) -> int:
        return sum(self.running.values())

    @property
    def heavy_demand(self) -> int:
        """Tasks that have or want a slot of the heavy quota."""
        return self.running[Quota.HEAVY] + len(self.waiting[Quota.HEAVY])

    def resize(self, policy: SchedulingPolicy) -> None:
        """Set the quotas. Running tasks continue, even above the new quotas."""
        #: most tasks at once
        self.size = {
            Quota.HEAVY: policy.local_slots,
            Quota.LIGHT: policy.light_slots,
            Quota.COMPILE: policy.compile_slots,
        }
        self.memory.resize(policy.memory_bytes)
        self._ran_at_resize = self.running.copy()

    def has_free(self, quota: Quota) -> bool:
        if quota is Quota.HEAVY and self.room is not None and self.room <= 0 and self.running[quota]:
            return False
        return self.running[quota] < self.size[quota]

    def wait(self, task: ScheduledTask, quota: Quota) -> None:
        task.quota = quota
        self._entered += 1
        task.entered = self._entered
        self.waiting[quota][task.id] = task

    def stop_waiting(self, task: ScheduledTask) -> None:
        assert task.quota is not None
        del self.waiting[task.quota][task.id]

    def next_waiting(self) -> ScheduledTask | None:
        """The task that has waited longest among those whose quota has a free slot."""
        first = None
        for quota, line in self.waiting.items():
            if line and self.has_free(quota):
                task = next(iter(line.values()))
                if first is None or task.entered < first.entered:
                    first = task
        return first

    def take(self, task: ScheduledTask, quota: Quota) -> None:
        assert self.has_free(quota), f"the {quota.value} quota is full"
        self.running[quota] += 1
        if quota is Quota.COMPILE:
            self.memory.begin(task.memory_bytes)
        elif quota is Quota.HEAVY and self.room is not None:
            self.room -= 1  # until the next measurement

    def leave(self, task: ScheduledTask, quota: Quota) -> None:
        self.running[quota] -= 1
        assert self.running[quota] >= 0
        if quota is Quota.COMPILE:
            self.memory.end(task.memory_bytes)

    def validate(self, tasks: Collection[ScheduledTask]) -> None:
        """Assert that the counts are right, and that only a smaller policy can leave a quota exceeded."""
        local = Counter(task.quota for task in tasks if task.state is TaskState.LOCAL)
        for quota in Quota:
            assert self.running[quota] == local[quota]
            assert self.running[quota] <= max(self.size[quota], self._ran_at_resize[quota])
            line = list(self.waiting[quota].values())
            assert line == sorted(line, key=lambda task: task.entered)
            assert line == [task for task in line if task.quota is quota and task.state is TaskState.WAITING]
        assert not self.waiting[Quota.COMPILE]
        self.memory.validate([task.memory_bytes for task in tasks if task.quota is Quota.COMPILE])
        assert sum(map(len, self.waiting.values())) == sum(task.state is TaskState.WAITING for task in tasks)
