"""The submit host's slots: who waits for one and how many are taken."""

from __future__ import annotations

from collections import OrderedDict

from spraycc.model import TaskId
from spraycc.scheduler.events import Policy
from spraycc.scheduler.tasks import Quota, Task


class Places:
    """Two quotas, each with its waiting line. Knows nothing of executors; ``core`` adds them where they share CPUs."""

    def __init__(self, policy: Policy) -> None:
        #: most tasks at once
        self.size = {Quota.HEAVY: policy.local_slots, Quota.LIGHT: policy.light_slots}
        #: tasks in HERE
        self.running = {Quota.HEAVY: 0, Quota.LIGHT: 0}
        #: tasks in WAITING_HERE, in the order of ``Task.entered``
        self.waiting: dict[Quota, OrderedDict[TaskId, Task]] = {Quota.HEAVY: OrderedDict(), Quota.LIGHT: OrderedDict()}
        #: heavy tasks that the host's memory has room for, beside those that run; None: not known
        self.room: int | None = None
        #: ``Task.entered`` of the last
        self._entered = 0

    @property
    def taken(self) -> int:
        return self.running[Quota.HEAVY] + self.running[Quota.LIGHT]

    def resize(self, policy: Policy) -> None:
        """What runs goes on, also above the new sizes."""
        self.size = {Quota.HEAVY: policy.local_slots, Quota.LIGHT: policy.light_slots}

    def has_free(self, quota: Quota) -> bool:
        if quota is Quota.HEAVY and self.room is not None and self.room <= 0 and self.running[quota]:
            return False
        return self.running[quota] < self.size[quota]

    def wait(self, task: Task, quota: Quota) -> None:
        task.quota = quota
        self._entered += 1
        task.entered = self._entered
        self.waiting[quota][task.id] = task

    def stop_waiting(self, task: Task) -> None:
        assert task.quota is not None
        del self.waiting[task.quota][task.id]

    def next_waiting(self) -> Task | None:
        """Of the tasks whose quota has a free slot, the one that has waited longest."""
        first = None
        for quota, line in self.waiting.items():
            if line and self.has_free(quota):
                task = next(iter(line.values()))
                if first is None or task.entered < first.entered:
                    first = task
        return first

    def take(self, quota: Quota) -> None:
        assert self.has_free(quota), f"the {quota.value} quota is full"
        self.running[quota] += 1
        if quota is Quota.HEAVY and self.room is not None:
            self.room -= 1  # until it is measured again

    def leave(self, quota: Quota) -> None:
        self.running[quota] -= 1
        assert self.running[quota] >= 0
