"""The scheduler's shell: gives the scheduler events, carries out its actions, and maps its ids to objects."""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from spraycc.model import ExecutorId, Placement, TaskId
from spraycc.notices import cluster
from spraycc.notices import executors as notices
from spraycc.records.format import SAMPLE_S
from spraycc.scheduler import actions, events
from spraycc.scheduler.core import Scheduler
from spraycc.scheduler.tasks import TaskState
from spraycc.server.builds.build import Build, Builds
from spraycc.server.builds.progress import progress_of
from spraycc.server.fleet.fleet import Fleet
from spraycc.server.fleet.waiting import WaitNotices
from spraycc.server.fleet.ways import way_of
from spraycc.server.host.memory import MemoryRoom
from spraycc.server.host.process_tree import read_process
from spraycc.server.task_table import TaskTable
from spraycc.server.tasks.stats import is_compile
from spraycc.server.tasks.task import Stay, Task
from spraycc.settings import Settings
from spraycc.status_reply import Pending, Snapshot
from spraycc.system.memory import Memory

if TYPE_CHECKING:
    from spraycc.server.fleet.connection import ExecutorLink

log = logging.getLogger(__name__)

#: Interval between measurements of free memory while links run.
MEMORY_S = 0.5
#: Interval between two looks for builds that wait for their first executor, and for further executors.
WAIT_NOTICES_S = 1.0
NEWS_S = 5.0


#: Reasons of tasks that run in compile slots of the submit host.
_COMPILE_SLOT = ("local", "compile-slot")
_MEMORY_BYTES = Memory.explore().total_bytes


def policy_of(settings: Settings) -> events.SchedulingPolicy:
    """The settings that the scheduler uses."""
    return events.SchedulingPolicy(
        max_executors=settings.executors_in_force if settings.starts_executors else 0,
        local_slots=settings.local_slots_in_force,
        light_slots=settings.light_slots_in_force,
        executors_are_here=settings.cluster == "local",
        max_attempts=settings.max_attempts,
        pending_grace_s=settings.pending_grace_s,
        wait_for_cluster=settings.wait_for_cluster,
        release_delay_s=settings.release_delay_s,
        fall_back_limit=settings.fall_back_limit,
        initial_executors=settings.initial_executors,
        compile_slots=settings.compile_slots_in_force,
        memory_bytes=_MEMORY_BYTES if settings.compile_slots_in_force else 0,
        way=way_of(settings),
    )


class Dispatcher:
    """Owns the scheduler and the fleet. A fleet.Hub."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: Settings,
        builds: Builds,
        tasks: TaskTable,
        state_dir: Path,
        workspace: bytes,
    ) -> None:
        self.settings = settings
        self.builds = builds
        self.tasks = tasks
        self.fleet = Fleet(nursery, self, tasks, state_dir, workspace)
        self._scheduler = Scheduler(policy_of(settings))
        self._events: deque[events.Event] = deque()
        self._carrying_out = False
        self._alarm = _Alarm()
        self._memory = MemoryRoom()
        self._waits = WaitNotices()
        #: set while tasks of the heavy quota wait or run on the submit host
        self._heavy = trio.Event()

    @property
    def is_busy(self) -> bool:
        """True if a build is open, or any runner is connected."""
        return bool(self.builds.open or self.tasks.known)

    @property
    def wants_executors(self) -> bool:
        """True if an executor that is pending may be of use to a build or a runner outside all builds."""
        return self._scheduler.wants_executors

    def apply(self, settings: Settings) -> None:
        """Use these settings from now on. ``jobs`` is the largest of all open builds that start executors alike."""
        way = way_of(settings)
        jobs = (other.jobs for other in (settings, *self.open_settings) if way_of(other) == way)
        settings = replace(settings, jobs=max(filter(None, jobs), default=None))
        if settings != self.settings:
            self.settings = settings
            self.post(events.PolicyChanged(policy_of(settings)))
        self.fleet.let_go()

    def build_ended(self) -> None:
        """Return to the settings of the newest build that is still open. Without one, the present ones stay."""
        if self.builds.open:
            self.apply(next(reversed(self.builds.open.values())).settings)

    @property
    def open_settings(self) -> list[Settings]:
        """The settings of each open build."""
        return [build.settings for build in self.builds.open.values()]

    def post(self, event: events.Event) -> None:
        """Handle an event and carry out the scheduler's actions. Never waits. Events that arise meanwhile come next."""
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
                        # A fault of the server: only the action's task or executor suffers, not the event's sender.
                        log.exception("not carried out: %r", action)
                        self._give_up(action)
        finally:
            self._carrying_out = False
        try:
            deadline = self._scheduler.next_deadline()
        except Exception:
            log.exception("the next deadline can't be told")  # run_deadlines fails in the same way, and is supervised
            deadline = float("-inf")
        if deadline is not None:
            self._alarm.ring_by(deadline)
        if self._scheduler.needs_memory_measured:
            self._heavy.set()

    async def run_memory(self) -> None:
        """Measure the host's memory while links run or wait. Ends by cancellation."""
        while True:
            # One link begins at once. The others begin after a measurement, when this coroutine has its turn.
            self.post(events.MemoryMeasured(0))
            await self._heavy.wait()
            while self._scheduler.needs_memory_measured:
                self.post(events.MemoryMeasured(*self._memory.measure(self.settings.link_memory_mb << 20)))
                await trio.sleep(MEMORY_S)
            self._heavy = trio.Event()

    async def run_wait_notices(self) -> None:
        """Tell builds why executors have not connected. Ends by cancellation."""
        while True:
            await trio.sleep(NEWS_S if self.fleet.links else WAIT_NOTICES_S)
            if not self.builds.open or self.settings.cluster == "local":
                continue
            self._tell_limit()
            pending = self.fleet.pending()
            if self.fleet.links:
                if text := self._waits.news(pending, len(self.fleet.links)):
                    self.say(text)
                continue
            waiting = self._scheduler.waiting_builds
            for build_id, text in self._waits.due(trio.current_time(), waiting, pending, self._scheduler.asked).items():
                self.builds.open[build_id].notice(text)

    def _tell_limit(self) -> None:
        """Tell each open build once that a limit of the site keeps some of its executors from being submitted."""
        if limited := self.fleet.limited:
            for build in self.builds.open.values():
                if not any(seen.startswith(limited.words) for seen in build.noticed):
                    build.notice(limited.text)

    async def run_deadlines(self) -> None:
        """Send Tick when the scheduler wants it. Ends by cancellation."""
        while True:
            deadline = self._scheduler.next_deadline()
            if not await self._alarm.wait(deadline if deadline is not None else float("inf")):
                continue
            # The reason for this deadline may be gone, so the next deadline may be later.
            deadline = self._scheduler.next_deadline()
            if deadline is not None and deadline <= trio.current_time():
                self.post(events.Tick())

    def _give_up(self, action: actions.Action) -> None:
        """Clean up after an action that failed.

        Give up its executor, so that the task goes to another one, or close the connection of the task's runner, so
        that the runner executes the command.
        """
        match action:
            case actions.Dispatch(_, executor_id) if link := self.fleet.links.get(executor_id):
                link.give_up()
            case actions.Dispatch(task_id) | actions.RunLocally(task_id):
                if task := self.tasks.known.get(task_id):
                    task.peer.dismiss()

    # -- the builds' records

    def executor_joined(self, link: ExecutorLink) -> None:
        for build in self.builds.open.values():
            _note_executor(build, link)

    def executor_left(self, executor_id: ExecutorId) -> None:
        for build in self.builds.open.values():
            if build.record is not None:
                build.record.executor_left(executor_id)

    def note_executors(self, build: Build) -> None:
        """Note the executors that are connected when the build begins."""
        for link in self.fleet.links.values():
            _note_executor(build, link)

    async def run_records(self) -> None:
        """Add a sample to each open build's record once a second, and write the record. Ends by cancellation.

        After a fault there are no more samples. The records still get their tasks: those are written at 64 KiB.
        """
        try:
            while True:
                await trio.sleep(SAMPLE_S)
                if self.builds.open:
                    self._sample()
        except Exception:
            log.exception("the builds' records get no more samples")

    def _sample(self) -> None:
        snapshot = self._scheduler.snapshot()
        for build in self.builds.open.values():
            if build.record is not None:
                build.record.sample(_state_of(build, snapshot, len(self.fleet.links)))
                build.record.flush()

    def progress(self, build: Build) -> dict[str, Any]:
        """The figures of the message Progress, as docs/reference/protocol.md describes them. O(tasks)."""
        snapshot = self._scheduler.snapshot()
        return {
            **progress_of(build, snapshot["builds"].get(build.id)),
            "running": build.figures.running,
            "executors": len(self.fleet.links),
            "asked": snapshot["executors"]["asked"],
            "failed": build.figures.failed,
            "pending": _most_pending(self.fleet.pending()),
        }

    def say(self, text: str) -> None:
        """Show the user of each open build a line."""
        log.warning("%s", text)
        for build in self.builds.open.values():
            build.notice(text)

    def snapshot(self) -> Snapshot:
        """The scheduler's counts, for ``spraycc status``. O(tasks)."""
        return self._scheduler.snapshot()

    def state_of(self, task: TaskId) -> TaskState:
        """The scheduler's state of a task."""
        return self._scheduler.state_of(task)

    def _carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Dispatch(task_id, executor_id, attempt, second):
                task = self.tasks.known[task_id]
                log.debug("task %d: attempt %d on executor %s", task_id, attempt, executor_id)
                if second:
                    log.info("task %d: late, attempt %d beside the last on executor %s", task_id, attempt, executor_id)
                begun = self.fleet.links[executor_id].start(task, attempt)
                task.second = begun if second else None
                self.builds.figures(task.build).attempt_began(len(self.fleet.links), second=second)
            case actions.RunLocally(task_id, why):
                task = self.tasks.known[task_id]
                figures = self.builds.figures(task.build)
                reason = task.description.reason
                in_compile_slot = why in _COMPILE_SLOT
                if why != "placement":
                    level = logging.DEBUG if in_compile_slot else logging.INFO
                    log.log(level, "task %d: runs on the submit host (%s)", task_id, why)
                    task.why_here = why
                    reason = f"here: {why}"
                    figures.reasons[reason] += 1
                if task.description.placement is Placement.HERE_HEAVY:
                    self._memory.begins()
                build = self.builds.open.get(task.build)
                held = task.description.placement is not Placement.HERE_NOW
                if held and build is not None and build.pool is not None and build.pool.holds:
                    stay = Stay.ASK
                else:
                    # Without executors nothing else tells the status of links, and `why` shows failures first.
                    tells = in_compile_slot or (held and not self.settings.starts_executors)
                    stay = Stay.TELL if tells else Stay.NO
                task.run_here(stay, holds_slot=held)
                if task.peer.is_behind:
                    # Output of an attempt fills the socket, and the coroutine that passed it on may have ended.
                    self.builds.start_soon(task.peer.flush)
                figures.local += 1
                if is_compile(task.description):
                    figures.kept[reason] += 1
                    if reason not in figures.kept_first:
                        figures.kept_first[reason] = _programs(task)
            case actions.Abort(executor_id, task_id):
                if link := self.fleet.links.get(executor_id):  # None if the executor went at the server's end
                    link.abort(task_id)
            case actions.AskExecutors(count):
                self.fleet.ask(count)
            case actions.Withdraw():
                self.fleet.withdraw()
            case actions.Release(executor_id):
                self.fleet.release(executor_id)
            case actions.SetWidth(build_id, width):
                build = self.builds.open.get(build_id)
                if build is not None:
                    build.set_width(width)
            case actions.GiveUp(build_id, task_id, fell_back):
                build = self.builds.open.get(build_id)
                refusals = self.tasks.known[task_id].refusals if task_id in self.tasks.known else []
                why = notices.LAST_REFUSAL.text(refusal=refusals[-1]) if refusals else ""
                log.warning(
                    "build %s: %d of the last 100 tasks fell back; no more go to executors%s", build_id, fell_back, why
                )
                if build is not None:
                    build.notice(
                        notices.GAVE_UP.text(count=fell_back, last=why, slots=self.settings.local_slots_in_force)
                    )
            case actions.NoExecutorYet(build_id, asked):
                build = self.builds.open.get(build_id)
                if build is not None:
                    # A refusal says more.
                    if self.fleet.trouble and not asked:
                        self._tell_trouble(build)
                    else:
                        build.notice(self._no_executor_yet(build, asked))
            case actions.WaitsForRetry(build_id, retry_s):
                build = self.builds.open.get(build_id)
                if build is not None:
                    self._tell_trouble(build)
                    build.notice(cluster.ASKED_AGAIN.text(retry_s=retry_s))

    def _tell_trouble(self, build: Build) -> None:
        """Tell the build why no executor comes, unless it has been told."""
        text = self.fleet.trouble
        if text and not any(seen.startswith(text) for seen in build.noticed):
            build.notice(self.fleet.with_effect(text))

    def _no_executor_yet(self, build: Build, asked: int) -> str:
        effect = cluster.COMPILES_HERE.text(slots=self.settings.local_slots_in_force)
        if not asked:
            return cluster.NO_EXECUTOR_CONNECTED.text(effect=effect)
        state = self._waits.details(trio.current_time(), build.id, self.fleet.pending(), asked)
        # Without a state, the build has read that no executor has connected yet.
        return cluster.NO_EXECUTOR_YET_HERE.text(state=state, effect=effect) if state else effect


def _note_executor(build: Build, link: ExecutorLink) -> None:
    if build.record is not None and link.ready is not None:
        connected_s = trio.current_time() - link.joined_at
        build.record.executor_joined(link.id, link.ready.host, link.ready.batch_job, connected_s)


def _state_of(build: Build, snapshot: Snapshot, executors: int) -> dict[str, int | None]:
    """The build's sample, see :class:`spraycc.records.format.SampleLine`. Without its time."""
    progress = progress_of(build, snapshot["builds"].get(build.id))
    return {
        "running": build.figures.running,
        "here": progress["here"],
        "waiting": progress["waiting"],
        "executors": executors,
        "asked": snapshot["executors"]["asked"],
        "tokens": build.pool.issued if build.pool is not None else None,
    }


def _most_pending(groups: list[Pending]) -> dict[str, Any] | None:
    """The group with the most executors, for the message Progress; None if nothing is pending."""
    most = max(groups, key=lambda group: group["executors"], default=None)
    if most is None:
        return None
    # In steps of 10 s, so that a build without any other change sends no message.
    age_s = int(most["age_s"]) // 10 * 10
    return {"batch_jobs": most["batch_jobs"], "reason": most["reason"], "age_s": age_s}


def _programs(task: Task) -> tuple[str, str]:
    """The program that a task runs, and the name of the program that started it; empty if that has ended."""
    runner = read_process(task.peer.pid)
    starter = read_process(runner.parent) if runner is not None else None
    return os.fsdecode(task.command.program), os.fsdecode(starter.name) if starter is not None else ""


class _Alarm:
    """Wakes one coroutine at a deadline, which may become earlier while the coroutine waits."""

    def __init__(self) -> None:
        self._wake = trio.Event()
        self._at = float("inf")

    async def wait(self, at: float) -> bool:
        """Return True at this time, or False when an earlier deadline was set."""
        self._wake = trio.Event()
        self._at = at
        with trio.move_on_at(at):
            await self._wake.wait()
            return False
        return True

    def ring_by(self, at: float) -> None:
        """Set an earlier deadline."""
        if at < self._at:
            self._wake.set()
