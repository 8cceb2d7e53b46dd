"""All executors: starts them when the scheduler asks, pings them, and ends them with the server."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trio

from spraycc.errors import SprayccError
from spraycc.model import ExecutorId
from spraycc.notices import cluster, executors
from spraycc.scheduler.events import Event, ExecutorsUnwanted, SubmissionFailed
from spraycc.server.fleet.ways import see_other_files, step_allocation, way_of
from spraycc.server.tasks.task import Task
from spraycc.server.tasks.toolchains import needs_of
from spraycc.settings import Settings
from spraycc.status_reply import Pending

if TYPE_CHECKING:  # with what they import, these take a tenth of the server's start: see launch.py
    from spraycc.cluster.plan_actions import Limited
    from spraycc.landmarks import Landmarks
    from spraycc.server.fleet.connection import ExecutorLink, Results
    from spraycc.server.fleet.launch import Launch, Maker
    from spraycc.server.fleet.launcher import Launcher
    from spraycc.server.fleet.stale_jobs import StaleJobs
    from spraycc.wire.executor import Ready

log = logging.getLogger(__name__)

#: Pause after executors could not be started at all.
START_RETRY_S = 10.0
#: At the server's end, executors have this time to leave.
LEAVE_S = 1.0
#: Executors leave when what is pending has been cancelled, but at most this much later.
CANCEL_S = 5.0
#: Executors that are withdrawn, or of an earlier way, are no reason for a pause. The scheduler wants one all the same.
_NO_PAUSE_S = 0.001
#: A heartbeat that comes this much too late shows that the server was stopped, or got no CPU.
LATE_S = 0.5
#: Status waits this long for the executors' counters.
STATUS_S = 0.5
#: After executors on hosts that can't be used, ask for executors again after this time. The pause doubles each time,
#: up to the most, until an executor joins: perhaps no host can be used.
UNFIT_RETRY_S, MOST_UNFIT_RETRY_S = 60.0, 600.0
#: Heartbeats of all executors are spread over this many parts of their interval, or one for each of fewer executors.
_BEAT_PARTS = 10


class Hub(Protocol):
    """The dispatcher, as the fleet uses it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def open_settings(self) -> list[Settings]: ...
    @property
    def wants_executors(self) -> bool: ...
    def post(self, event: Event) -> None: ...
    def executor_joined(self, link: ExecutorLink) -> None: ...
    def executor_left(self, executor_id: ExecutorId) -> None: ...
    def say(self, text: str) -> None:
        """Show the user of each open build a line."""
        ...


class Fleet:
    """All executors of one server."""

    def __init__(self, nursery: trio.Nursery, hub: Hub, results: Results, state_dir: Path, workspace: bytes) -> None:
        self._nursery = nursery
        self._hub = hub
        self._results = results
        self._state_dir = state_dir
        self._workspace = workspace
        #: the executors that have joined
        self.links: dict[ExecutorId, ExecutorLink] = {}
        #: the executors that have proved themselves to any listener; some may not have joined
        self._proved: dict[ExecutorId, ExecutorLink] = {}
        #: the last launch is in use; the executors of earlier launches stay until they are released. A launch that is
        #: idle is dropped when a new one is made.
        self._launches: list[Launch] = []
        #: a launch begins, and takes the executors in ``_to_start``
        self._is_beginning = False
        #: executors that were asked for while a launch begins
        self._to_start = 0
        #: needs that any executor's host does not meet, so that the user is told of each need once
        self._differing: set[str] = set()
        #: way -> when and why executors failed to start the last time; empty if an executor has joined since
        self._troubles: dict[tuple[object, ...], tuple[float, str]] = {}
        #: the pause after executors on hosts that can't be used, and its end; 0: an executor has joined since
        self._unfit_retry_s = self._unfit_until = 0.0
        #: executors that leave when what is pending has been cancelled
        self._leaving: list[ExecutorLink] = []
        self._beats = 0
        self._maker: Maker | None = None
        self._stale_jobs: StaleJobs | None = None
        if hub.settings.starts_executors:
            # Now, as an upgrade may replace the files while the server runs. A host alone imports them when needed.
            self._load()
        #: the server ends: executors were told to leave, and their events are dropped
        self._is_leaving = False

    # -- executors' links (connection.Registry)

    @property
    def settings(self) -> Settings:
        return self._hub.settings

    def lasts_s(self, link: ExecutorLink) -> float | None:
        from spraycc.cluster.registry import useful_s

        return 0.0 if link in self._unwanted() else useful_s(self.settings)

    async def why_unusable(self, ready: Ready, landmarks: Landmarks) -> str:
        if not await self._results.disk.do("read", partial(landmarks.agree, ready.landmarks)):
            return executors.OTHER_WORKSPACE.text(workspace=os.fsdecode(self._workspace))
        if reason := ready.refusals.get("recorder"):
            return executors.CANT_RECORD.text(cause=reason)
        return ""

    def post(self, event: Event) -> None:
        if not self._is_leaving:
            self._hub.post(event)

    def executor_ready(self, link: ExecutorLink) -> None:
        self.links[link.id] = link
        assert link.ready is not None
        log.info("executor %s: ready on %s, process %d", link.id, link.ready.host, link.ready.pid)
        self._troubles.clear()
        self._unfit_retry_s = self._unfit_until = 0.0
        for launcher in self._launchers:
            launcher.connected(link.id)
        self._hub.executor_joined(link)

    def executor_gone(self, link: ExecutorLink) -> None:
        log.info("executor %s: gone", link.id)
        self.links.pop(link.id, None)
        for launcher in self._launchers:
            launcher.gone(link.id)
        self._hub.executor_left(link.id)

    def executor_unfit(self, link: ExecutorLink, text: str) -> None:
        for launcher in self._launchers:
            launcher.connected(link.id)
            launcher.gone(link.id)
        log.info("executor %s: %s", link.id, text)
        now = trio.current_time()
        if now < self._unfit_until:
            # It was asked for together with the last one. The user is told of one host: there may be hundreds.
            text = ""
        else:
            self._unfit_retry_s = min(max(UNFIT_RETRY_S, 2 * self._unfit_retry_s), MOST_UNFIT_RETRY_S)
            self._unfit_until = now + self._unfit_retry_s
        self._start_failed(way_of(self.settings), 1, self._unfit_until - now, text)

    def host_differs(self, task: Task, text: str) -> None:
        needs = needs_of(task.same)
        if needs not in self._differing:  # hundreds of hosts may lack the same
            self._differing.add(needs)
            self._hub.say(executors.HOST_DIFFERS.text(difference=text))

    # -- starting executors

    def let_go(self) -> None:
        """Let the executors go that run in an allocation of no open build.

        Call it when the settings may have changed. The allocation was another build's: it may end at any time, and the
        present builds may not be meant to use it.
        """
        if unwanted := self._unwanted():
            self.post(ExecutorsUnwanted(tuple(link.id for link in unwanted)))

    def _unwanted(self) -> list[ExecutorLink]:
        """The links of executors in other allocations."""
        wanted = [None, *map(step_allocation, [self.settings, *self._hub.open_settings])]
        marks = [launch.landmarks for launch in self._launches if launch.allocation not in wanted]
        return [link for link in self.links.values() if any(link.landmarks is its for its in marks)]

    def ask(self, count: int) -> None:
        """Have this many executors started. Never waits."""
        if self._launches and self._launches[-1].way == way_of(self.settings):
            self._launches[-1].launcher.ask(count)
            return
        self._to_start += count
        if not self._is_beginning:
            self._is_beginning = True
            self._nursery.start_soon(self._begin_launch)

    def withdraw(self) -> None:
        """Take back the executors that were asked for and have not started."""
        if self._to_start:
            count, self._to_start = self._to_start, 0
            self.post(SubmissionFailed(count, _NO_PAUSE_S))
        for launcher in self._launchers:
            launcher.withdraw()

    def release(self, executor_id: ExecutorId) -> None:
        """Have an executor leave. What is pending is cancelled first, as it would start in the executor's place."""
        if link := self.links.get(executor_id):
            self._leaving.append(link)
            if len(self._leaving) == 1:
                self._nursery.start_soon(self._let_leave)

    async def _let_leave(self) -> None:
        await self._withdrawn()
        leaving, self._leaving = self._leaving, []
        for link in leaving:
            link.leave()

    async def _withdrawn(self) -> None:
        """Wait until what was withdrawn has been cancelled. Takes CANCEL_S at most."""
        with trio.move_on_after(CANCEL_S):
            async with trio.open_nursery() as nursery:
                for launcher in self._launchers:
                    nursery.start_soon(_withdrawn, launcher)

    def pending(self) -> list[Pending]:
        """Submitted executors that have not connected, with the cluster manager's words. Asks nobody, never waits."""
        return [group for launcher in self._launchers for group in launcher.pending()]

    @property
    def limited(self) -> Limited | None:
        """The limit of the site that keeps executors of the present way from being submitted, see :class:`Launcher`."""
        launches = [launch for launch in self._launches if launch.way == way_of(self.settings)]
        return launches[-1].launcher.limited() if launches else None

    @property
    def has_processes(self) -> bool:
        """True if processes or batch jobs of executors may exist."""
        return any(launcher.processes for launcher in self._launchers)

    @property
    def uses_other_hosts(self) -> bool:
        """True if executors see or will see another host's files, so that the reads of commands must be proved."""
        return see_other_files(self.settings) or any(launch.landmarks is not None for launch in self._launches)

    @property
    def _launchers(self) -> list[Launcher]:
        return [launch.launcher for launch in self._launches]

    def _submissions(self) -> list[str]:
        return [found for launcher in self._launchers for found in launcher.submission_ids()]

    async def _begin_launch(self) -> None:
        """Make a launch for the present settings, and start the executors that were asked for."""
        way = way_of(self.settings)
        try:
            while True:
                launch = await self._make_launch()
                if launch.way == way_of(self.settings):
                    break
                way = way_of(self.settings)  # other settings have come meanwhile
            self._is_beginning = False
            if self._to_start:  # not withdrawn meanwhile
                launch.launcher.ask(self._to_start)
                self._to_start = 0
        except Exception as exc:
            if not isinstance(exc, (OSError, SprayccError)):
                log.exception("a fault at the start of executors")
            count, self._to_start, self._is_beginning = self._to_start, 0, False
            if count:
                self._start_failed(way, count, START_RETRY_S, cluster.NOT_STARTED.text(cause=_reason(exc)))

    async def _make_launch(self) -> Launch:
        """A new launch for the present settings, which runs from now on."""
        if self._maker is None:
            self._load()
        assert self._maker is not None
        assert self._stale_jobs is not None
        failed = partial(self._start_failed, way_of(self.settings))
        launch = await self._maker.make(self.settings, failed, self._launches)
        if not self._launches:
            self._nursery.start_soon(self._stale_jobs.cancel)
        # Else a server whose builds change the way again and again would run out of descriptors.
        idle = [earlier for earlier in self._launches if earlier.is_idle]
        self._launches = [*(earlier for earlier in self._launches if earlier not in idle), launch]
        for earlier in idle:
            earlier.listener.close()
            self._nursery.start_soon(_close, earlier.launcher)
        self._nursery.start_soon(launch.listener.run)
        self._nursery.start_soon(launch.launcher.run)
        return launch

    def _load(self) -> None:
        """Import the modules that start executors, and note what earlier servers have left in the cluster.

        Before the first launch: its own batch jobs must not be among them.
        """
        from spraycc.server.fleet.launch import Maker
        from spraycc.server.fleet.stale_jobs import StaleJobs

        self._stale_jobs = StaleJobs(self._state_dir, self._hub.say)
        self._maker = Maker(
            registry=self,
            results=self._results,
            proved=self._proved,
            state_dir=self._state_dir,
            workspace=self._workspace,
            say=self._hub.say,
            wants_executors=lambda launcher: self._launchers[-1] is launcher and self._hub.wants_executors,
        )

    def _start_failed(self, way: tuple[object, ...], count: int, retry_s: float, text: str) -> None:
        if text:
            self._troubles[way] = trio.current_time(), text
            self._hub.say(self.with_effect(text))
        self.post(SubmissionFailed(count, retry_s if way == way_of(self.settings) else _NO_PAUSE_S))

    @property
    def trouble(self) -> str:
        """Why executors failed to start the last time; empty if one has joined since, or is started in another way."""
        return self._troubles.get(way_of(self.settings), (0.0, ""))[1]

    def with_effect(self, text: str) -> str:
        """The text of a failure, and what it means for the builds."""
        goes_on_here = not (self.links or self.settings.wait_for_cluster or self.settings.cluster == "local")
        return cluster.WITH_EFFECT.text(failure=text) if goes_on_here else text

    # -- heartbeats

    async def run_heartbeats(self) -> None:
        """Ping the executors that have been silent for a heartbeat. Ends by cancellation.

        Pings go to a part of the executors at a time: a thousand pings at once would hold up the event loop.
        """
        part = 0
        while True:
            settings = self.settings
            parts = max(1, min(_BEAT_PARTS, len(self.links)))
            part = (part + 1) % parts
            due = trio.current_time() + settings.heartbeat_s / parts
            await trio.sleep_until(due)
            if trio.current_time() > due + LATE_S:
                for link in self.links.values():
                    link.excuse()
            self._beats += 1
            for link in list(self.links.values())[part::parts]:
                link.beat(self._beats, settings.heartbeat_s, settings.lost_after_s)

    async def status(self) -> dict[str, Any]:
        """The executors and the submissions. Asks the executors for fresh counters, and waits for them shortly."""
        self._beats += 1
        number = self._beats
        for link in list(self.links.values()):
            link.ping(number)
        with trio.move_on_after(STATUS_S):
            while any(link.answered_ping < number for link in self.links.values()):
                await trio.sleep(0.002)
        at, text = self._troubles.get(way_of(self.settings), (trio.current_time(), ""))
        if not text and (limited := self.limited):
            at, text = limited.since, limited.text
        return {
            "listens": [launch.listener.address for launch in self._launches[-1:]],
            "executors": [link.status(self._workspace) for link in self.links.values()],
            "submissions": self._submissions(),
            "pending": self.pending(),
            "trouble": text,
            "trouble_age_s": round(trio.current_time() - at, 3),
        }

    # -- the end

    async def close(self) -> None:
        """Have all executors leave, then end their processes and cancel their batch jobs."""
        self._is_leaving = True
        self.withdraw()
        await self._withdrawn()
        for link in self.links.values():
            link.leave()
        with trio.move_on_after(LEAVE_S):
            while self.links or self.has_processes:
                await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            for launcher in self._launchers:
                nursery.start_soon(_close, launcher)

    def remove_session(self) -> None:
        """Remove this server's session files. Executors that start later can't connect."""
        for launch in self._launches:
            launch.session_file.unlink(missing_ok=True)


async def _withdrawn(launcher: Launcher) -> None:
    try:
        await launcher.withdrawn()
    except Exception:
        log.exception("some pending executors may not have been cancelled")  # those of other launchers must be


async def _close(launcher: Launcher) -> None:
    try:
        await launcher.close()
    except Exception:
        # Not raised: the batch jobs of the other launchers must be cancelled too.
        log.exception("some executors may not have been ended")


def _reason(exc: Exception) -> str:
    """The cause in words, without the number of an error."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{os.fsdecode(exc.filename)}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)
