"""The scheduler's shell: hands it events, carries out what it decides, and keeps what its ids stand for."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import trio

from spraycc.model import ExecutorId, Placement, TaskId, Usage
from spraycc.scheduler import actions, events
from spraycc.scheduler.core import Scheduler
from spraycc.server.builds.build import Builds
from spraycc.server.coherence.inputs import Inputs
from spraycc.server.coherence.tracker import Tracker
from spraycc.server.coherence.watcher import Watcher
from spraycc.server.fleet.connection import ExecutorLink
from spraycc.server.host.memory import available_bytes
from spraycc.server.host.offload import Disk
from spraycc.server.tasks.durations import TaskHistory
from spraycc.server.tasks.task import Task
from spraycc.server.tasks.toolchains import Toolchains
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: How often free memory is looked at while links run.
MEMORY_S = 0.5
#: A link has reached its size after so long; until then it counts with the size that it is expected to have.
GROWS_S = 2.0
#: More links than any quota allows.
PLENTY = 1 << 20


def policy_of(settings: Settings) -> events.SchedulingPolicy:
    """What of the settings the scheduler works by."""
    return events.SchedulingPolicy(
        max_executors=settings.executors_in_force,
        local_slots=settings.local_slots_in_force,
        light_slots=settings.light_slots_in_force,
        executors_are_here=settings.cluster == "local",
        max_attempts=settings.max_attempts,
        pending_grace_s=settings.pending_grace_s,
        wait_for_cluster=settings.wait_for_cluster,
        release_delay_s=settings.release_delay_s,
        fall_back_limit=settings.fall_back_limit,
        initial_executors=settings.initial_executors,
    )


class Dispatcher:
    """Owns the scheduler, the tasks and the executors that take part. Implements executors.Hub in part."""

    def __init__(self, settings: Settings, builds: Builds, history: TaskHistory) -> None:
        self.settings = settings
        self.builds = builds
        self.history = history
        self.tasks: dict[TaskId, Task] = {}
        self.executors: dict[ExecutorId, ExecutorLink] = {}
        self._scheduler = Scheduler(policy_of(settings))
        self._events: deque[events.Event] = deque()
        self._carrying_out = False
        #: set where the scheduler wants a Tick before the time for which the next one is meant
        self._wake = trio.Event()
        self._wakes_at = float("inf")
        #: tasks of the heavy quota began to run here at these times; they have not grown yet
        self._young: deque[float] = deque()
        self._heavy = trio.Event()
        self.toolchains = Toolchains()
        self.disk = Disk()
        self._inputs: Inputs | None = None
        #: set by the application: starts executors
        self.ask_executors: Any = None
        #: set by the application: takes back what was asked for and has not started
        self.withdraw_executors: Any = None

    @property
    def inputs(self) -> Inputs:
        """What tasks read. Made when first needed: a server without a cluster watches no directories."""
        if self._inputs is None:
            self._inputs = Inputs(Tracker(Watcher.open()), self.disk)
        return self._inputs

    def build_begins(self) -> None:
        """A build sees what other hosts have changed before."""
        if self._inputs is not None:
            self._inputs.build_begins()

    @property
    def is_busy(self) -> bool:
        """A build is open, or a task is there that belongs to none."""
        return bool(self.builds.open or self.tasks)

    def apply(self, settings: Settings) -> None:
        """Work by these settings from now on."""
        if settings != self.settings:
            self.settings = settings
            self.post(events.PolicyChanged(policy_of(settings)))

    def post(self, event: events.Event) -> None:
        """Handle an event and carry out what follows from it. Never waits; events that arise meanwhile are handled
        after it."""
        self._events.append(event)
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._events:
                for action in self._scheduler.handle(self._events.popleft(), trio.current_time()):
                    try:
                        self._carry_out(action)
                    except Exception:
                        # A fault of ours: it costs the one whom it concerns, and not whoever's event led to it.
                        log.exception("not carried out: %r", action)
                        self._give_up(action)
        finally:
            self._carrying_out = False
        try:
            deadline = self._scheduler.next_deadline()
        except Exception:
            log.exception("the next deadline can't be told")  # run_deadlines will meet it again
            deadline = float("-inf")
        if deadline is not None and deadline < self._wakes_at:
            self._wake.set()
        if self._scheduler.needs_memory_measured:
            self._heavy.set()

    async def run_memory(self) -> None:
        """Measure the host's memory for as long as links run or wait. Ends by cancellation."""
        while True:
            # One begins at once, the others when it has been measured, which is when this coroutine has its turn.
            self.post(events.MemoryMeasured(0))
            await self._heavy.wait()
            while self._scheduler.needs_memory_measured:
                self._measure_memory()
                await trio.sleep(MEMORY_S)
            self._heavy = trio.Event()

    def _measure_memory(self) -> None:
        now = trio.current_time()
        while self._young and self._young[0] < now - GROWS_S:
            self._young.popleft()
        each = self.settings.link_memory_mb << 20
        available = available_bytes() if each else None
        room = PLENTY if available is None else max(0, available // each - len(self._young))
        self.post(events.MemoryMeasured(room))

    async def run_deadlines(self) -> None:
        """Send Tick when the scheduler wants it. Ends by cancellation."""
        while True:
            self._wake = trio.Event()
            deadline = self._scheduler.next_deadline()
            self._wakes_at = deadline if deadline is not None else float("inf")
            with trio.move_on_at(self._wakes_at):
                await self._wake.wait()
                continue
            # What it was set for may be over; one that came later did not wake us.
            deadline = self._scheduler.next_deadline()
            if deadline is not None and deadline <= trio.current_time():
                self.post(events.Tick())

    def attempt_over(self, task: Task, outcome: events.Outcome, usage: Usage, returned_bytes: int, ok: bool) -> None:
        """Count an attempt's end."""
        figures = self.builds.figures(task.build)
        figures.attempt_ended()
        if outcome is events.Outcome.DONE:
            task.usage = usage
            figures.remote_done(ok, usage, returned_bytes)
            if ok:
                self.history.note(task.key, usage)
            if task.second is not None and task.second is task.chosen:
                figures.second_won += 1
        elif task.id in self.tasks and task.chosen is None:  # else it was one of two, and the other one counts
            figures.retried += 1
            figures.stale += outcome is events.Outcome.STALE
            if outcome is events.Outcome.OUT_OF_MEMORY:
                self.history.note_memory(task.key, usage)

    def finish(self, task: Task, code: int, signal: int) -> None:
        """The task has its result; its runner is answered now, or when the jobserver's account allows. A runner that
        can't be answered, for a fault of ours, helps itself."""

        def answer() -> None:
            try:
                task.answer(code, signal)
                if task.peer.is_behind:
                    self.builds.start_soon(task.peer.flush)
            except Exception:
                log.exception("task %d: its runner was not answered", task.id)
                task.peer.dismiss()

        task.answered = True
        task.status = 128 + signal if signal else code
        build = self.builds.open.get(task.build)
        if build is None:
            answer()
        else:
            # Now, as the build may be closed before the runner's end is seen: `why` must know its last task.
            build.note(task)
            build.finish(task.id, answer)

    def _give_up(self, action: actions.Action) -> None:
        """The action was not carried out: its executor's task goes elsewhere, or its runner helps itself."""
        match action:
            case actions.Dispatch(_, executor_id) if link := self.executors.get(executor_id):
                link.give_up()
            case actions.Dispatch(task_id) | actions.RunLocally(task_id):
                if task := self.tasks.get(task_id):
                    task.peer.dismiss()

    def snapshot(self) -> dict[str, Any]:
        return dict(self._scheduler.snapshot())

    def _carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Dispatch(task_id, executor_id, attempt, second):
                task = self.tasks[task_id]
                log.debug("task %d: attempt %d on executor %s", task_id, attempt, executor_id)
                if second:
                    log.info("task %d: late, attempt %d beside the last on executor %s", task_id, attempt, executor_id)
                begun = self.executors[executor_id].start(task, attempt)
                task.second = begun if second else None
                self.builds.figures(task.build).attempt_began(len(self.executors), second=second)
            case actions.RunLocally(task_id, why):
                task = self.tasks[task_id]
                if why != "placement":
                    log.info("task %d: runs here (%s)", task_id, why)
                    task.why_here = why
                    self.builds.figures(task.build).reasons[f"here: {why}"] += 1
                if task.description.placement is Placement.HERE_HEAVY:
                    self._young.append(trio.current_time())
                build = self.builds.open.get(task.build)
                held = task.description.placement is not Placement.HERE_NOW
                task.run_here(stay=held and build is not None and build.pool is not None and build.pool.holds)
                self.builds.figures(task.build).local += 1
            case actions.Abort(executor_id, task_id):
                if link := self.executors.get(executor_id):  # else it is gone, at our own end, and the task with it
                    link.abort(task_id)
            case actions.AskExecutors(count):
                self.ask_executors(count)
            case actions.Withdraw():
                self.withdraw_executors()
            case actions.Release(executor_id):
                if link := self.executors.get(executor_id):
                    link.leave()
            case actions.SetWidth(build_id, width):
                build = self.builds.open.get(build_id)
                if build is not None:
                    build.set_width(width)
            case actions.GiveUp(build_id, task_id, fell_back):
                build = self.builds.open.get(build_id)
                refusals = self.tasks[task_id].refusals if task_id in self.tasks else []
                why = f" (the last: {refusals[-1]})" if refusals else ""
                log.warning(
                    "build %s: %d of the last 100 tasks fell back; no more are sent%s", build_id, fell_back, why
                )
                if build is not None:
                    build.notice(
                        f"{fell_back} of the last tasks could not be done by executors{why}; the rest of this build "
                        f"runs here, {self.settings.local_slots_in_force} at once (see 'spraycc why')"
                    )
            case actions.NoExecutorYet(build_id):
                build = self.builds.open.get(build_id)
                if build is not None:
                    build.notice(
                        f"no executor has connected yet ({self.settings.executors_in_force} asked of "
                        f"'{self.settings.cluster}'); compiling here meanwhile, "
                        f"{self.settings.local_slots_in_force} at once (--wait-for-cluster to wait)"
                    )
