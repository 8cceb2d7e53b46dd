"""A build's jobserver at work: the FIFO, the governor that says how many tokens are out, and the watch over both.

The governor (:mod:`spraycc.jobserver.governor`) is arithmetic. Here it is told what happens, its decisions are carried
out, and what it can't know is found out: which recipe a runner belongs to, whether tokens have died with their holders,
and whether a build that does not move is waiting for something that only one more recipe would bring about.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import trio

from spraycc.jobserver import journal
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.governor import Decision, Governor, Limits
from spraycc.jobserver.makeflags import is_foreign
from spraycc.model import BuildId, TaskId
from spraycc.server.processes import Process, slots_in_use
from spraycc.server.watch import HostProcesses

log = logging.getLogger(__name__)

#: How often the account is compared with what lies in the FIFO.
SAMPLE_S = 0.5
#: Tokens that nobody accounts for in so many samples in a row are looked for.
SAMPLES = 4
#: That look reads all processes of the host. Where none was missing, as many are not looked for again at once, but
#: after twice as many rounds of samples as before, and up to so many.
MOST_ROUNDS = 8
#: A build in which nothing has moved for so long is given a push, if its processes use hardly any CPU.
STALLED_S = 10.0
#: And after so long whatever they use: they may be waiting in a loop for what only one more recipe would bring about.
STUCK_S = 60.0
#: CPUs; less is what a shell needs that looks for a file again and again.
_HARDLY_ANY = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MOST_MAKEFLAGS = 1000


class TokenPool:
    """The jobserver of one build. Belongs to one trio thread; :meth:`run` runs for as long as it is open."""

    def __init__(
        self,
        build: BuildId,
        fifo: JobserverFifo,
        limits: Limits,
        width: int,
        *,
        starts_recipes: bool,
        fixed: bool = False,
        host: HostProcesses | None = None,
    ) -> None:
        """Begins with the build's tool, which is about to start, as the one top-level tool.

        Args:
            build: its id.
            fifo: taken over.
            limits: for unseen recipes.
            width: most recipes at once, seen and unseen.
            starts_recipes: the build's tool is make or ninja, and no script that starts them.
            fixed: limits and width stay what they are.
            host: whose processes are looked at; None: this host's.
        """
        now = trio.current_time()
        self._build = build
        self._fifo = fifo
        self._governor = Governor(limits, max(1, width), now)
        self._limits = limits
        self._width = max(1, width)
        self._starts_recipes = starts_recipes
        self._fixed = fixed
        self._host = host or HostProcesses()
        #: process id of the tool, once it is known
        self._top = 0
        #: make and ninja that a script has started, as far as they were seen, and that still run; tool -> uppermost
        self._tops: set[int] = set()
        self._top_of: dict[int, int] = {}
        #: what gives a runner its last frame; of the tasks whose completion is held
        self._answers: dict[TaskId, Callable[[], None]] = {}
        self._tasks: set[TaskId] = set()
        #: MAKEFLAGS of runners -> whether it is somebody else's jobserver; a build has few of them
        self._foreign: dict[bytes, bool] = {}
        self._wake_at: float | None = None
        self._woken = trio.Event()
        self._moved_at = now
        self._lost = 0
        self._held_in_all = 0
        self._nursery: trio.Nursery | None = None
        #: a fault of ours: tokens are out for the whole width from then on
        self._broken = False
        self._debug = log.isEnabledFor(logging.DEBUG)
        if self._debug:
            log.debug("%s", journal.begin_line(build, limits, self._width, now))
        self._tell("client_joined")

    # -- what happens

    def set_width(self, width: int) -> None:
        """So many recipes may run at once from now on, seen and unseen."""
        if not self._fixed and max(1, width) != self._width:
            self._width = max(1, width)
            self._tell("set_total", self._width)

    def set_limits(self, local: int, probing: int) -> None:
        """Other limits for unseen recipes."""
        limits = replace(self._limits, local=local, probing=probing)
        if not self._fixed and limits != self._limits:
            self._limits = limits
            self._tell("set_limits", limits)

    def tool_started(self, pid: int) -> None:
        """The build's tool runs as this process."""
        self._top = pid

    def runner_registered(self, task: TaskId, pid: int, foreign: bool = False) -> None:
        """A runner, the process ``pid``, has submitted a task; ``foreign``: its make has a jobserver of its own."""
        self._tasks.add(task)
        # Where everything that can run at once may run unseen, it does not matter who is who.
        key = self._recipe(task, pid, foreign) if self._width > self._limits.local else f"task {task}"
        self._moved_at = trio.current_time()
        self._tell("runner_registered", task, key)

    def is_foreign(self, makeflags: bytes) -> bool:
        """Whether a runner with this MAKEFLAGS has its tokens from elsewhere: some make in between has reset the
        jobserver."""
        known = self._foreign.get(makeflags)
        if known is None:
            if len(self._foreign) >= _MOST_MAKEFLAGS:
                self._foreign.clear()
            known = self._foreign[makeflags] = is_foreign(makeflags, self._fifo.path)
        return known

    def finish(self, task: TaskId, answer: Callable[[], None]) -> None:
        """The task has its result: ``answer`` is called, now or when its completion is let go. It must not wait."""
        if task not in self._tasks or self._broken:  # its runner is gone
            answer()
            return
        self._moved_at = trio.current_time()
        self._answers[task] = answer
        self._tell("task_done", task)
        if task in self._answers:
            self._held_in_all += 1

    @property
    def holds(self) -> bool:
        """Whether a completion may be held: there are more tokens than this host may have unseen recipes."""
        return not (self._fixed or self._broken) and self._width > self._limits.local

    @property
    def held(self) -> int:
        """Completions that are held now."""
        return len(self._governor.held)

    def runner_waits(self) -> None:
        """A runner, perhaps of this build, can't be accepted for want of descriptors: a held one makes room."""
        self._moved_at = trio.current_time()
        self._tell("runner_waits")

    def runner_gone(self, task: TaskId) -> None:
        """The runner's process, or the command it became, has ended. Called once for each task that registered."""
        self._moved_at = trio.current_time()
        self._tasks.discard(task)
        self._answers.pop(task, None)
        self._tell("runner_gone", task)

    # -- its coroutines

    async def run(self) -> None:
        """Runs until :meth:`close`. A fault of ours costs the bound, and neither the build nor the server."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._fifo.run, self._count_withdrawn)
                nursery.start_soon(self._tick)
                await self._watch()
                nursery.cancel_scope.cancel()
        except Exception:
            self._break()
        finally:
            self._nursery = None

    def close(self) -> None:
        """Answers whoever still waits, and closes the FIFO."""
        self._answer_all()
        self._fifo.close()
        self._woken.set()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _answer_all(self) -> None:
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer()

    # -- figures

    @property
    def issued(self) -> int:
        """Tokens that exist."""
        return self._fifo.issued

    @property
    def lost(self) -> int:
        """Tokens that were written off, and replaced where they were needed."""
        return self._lost

    def recount(self) -> None:
        """At the end: what came back is not lost, whatever was believed."""
        self._lost -= self._fifo.surplus()

    def free(self) -> int:
        """Tokens that lie in the FIFO."""
        return self._fifo.free()

    def status(self) -> dict[str, int]:
        """The account. ``unaccounted``: held by recipes without a runner, the tools' own slots included."""
        free = self.free()
        governor = self._governor
        return {
            "issued": self.issued,
            "free": free,
            "held": self.issued - free,
            "unaccounted": governor.unseen - free,
            "limit": governor.limit(trio.current_time()),
            "recipes": governor.recipes,
            "clients": governor.clients,
            "completions_held": len(governor.held),
            "completions_held_in_all": self._held_in_all,
            "lost": self._lost,
        }

    # -- the governor

    def _tell(self, event: str, *arguments: Any) -> None:
        """Tells the governor, and does what it decides."""
        if self._broken:
            return
        try:
            self._do(event, arguments)
        except Exception:
            self._break()

    def _break(self) -> None:
        """A fault of ours is being handled: go on without the governor, with a token for whatever may run."""
        log.exception("build %s: its jobserver is no longer governed", self._build)
        self._broken = True
        self._answer_all()
        if not self._fifo.closed:
            with suppress(OSError):
                self._fifo.adjust(self._width - 1)

    def _do(self, event: str, arguments: tuple[Any, ...]) -> None:
        while True:
            now = trio.current_time()
            decision: Decision = getattr(self._governor, event)(*arguments, now)
            if self._debug:
                log.debug("%s", journal.event_line(self._build, event, arguments, now, self._governor, decision))
            for task in decision.release:
                self._answers.pop(task)()
            if self._fifo.closed:
                return
            self._fifo.adjust(self._governor.issued - decision.withdraw)
            taken = self._withdrawn()
            if not taken:
                self._set_wake(decision.wake_at)
                return
            event, arguments = "token_withdrawn", (taken,)

    def _withdrawn(self) -> int:
        """Tokens that were taken out, or never got in, and that the governor still counts."""
        return self._governor.issued - self._fifo.issued - self._fifo.due

    def _count_withdrawn(self) -> None:
        if not self._broken and (taken := self._withdrawn()):
            self._moved_at = trio.current_time()
            self._tell("token_withdrawn", taken)

    def _set_wake(self, at: float | None) -> None:
        if at != self._wake_at:
            self._wake_at = at
            self._woken.set()

    async def _tick(self) -> None:
        while True:
            self._woken = trio.Event()
            with trio.move_on_at(float("inf") if self._wake_at is None else self._wake_at):
                await self._woken.wait()
                continue
            self._wake_at = None
            self._tell("tick")

    # -- who is who

    def _recipe(self, task: TaskId, pid: int, foreign: bool) -> str:
        recipe = self._host.recipe_of(pid, self._top if self._starts_recipes else 0)
        if recipe.tool and not self._starts_recipes:
            self._meet(recipe.tool)
        if foreign:
            # All that this make starts runs on the one token of ours that it was started with.
            return f"pool of {recipe.tool}"
        return recipe.key if recipe.tool else f"task {task}"

    def _meet(self, tool: int) -> None:
        """A make of a script's. The first one is who was counted from the beginning; each further one counts too."""
        top = self._top_of.get(tool)
        if top is None:
            top = self._top_of[tool] = self._host.top_tool(tool, self._top)
        if top in self._tops or self._nursery is None:
            return
        self._tops.add(top)
        if len(self._tops) > 1:
            self._tell("client_joined")
        self._nursery.start_soon(self._see_end, top)

    async def _see_end(self, top: int) -> None:
        await self._host.wait_ended(top)
        self._tops.discard(top)
        self._top_of = {tool: above for tool, above in self._top_of.items() if above != top}
        if self._tops:
            self._tell("client_left")

    # -- the watch

    async def _watch(self) -> None:
        """Finds tokens that died with their holders, and pushes a build that has stalled. Returns after the close."""
        missing_before = 0
        #: so many were all there when they were looked for last; rounds before that is done again, and rounds so far
        found_there, wait, rounds = 0, 1, 0
        stall_looked_at = -math.inf
        while not (self._fifo.closed or self._broken):
            least = 1 << 30
            for _ in range(SAMPLES):
                await trio.sleep(SAMPLE_S)
                if self._fifo.closed:
                    return
                if found := self._fifo.surplus():
                    log.info("build %s: %d tokens that counted as lost have come back", self._build, found)
                    self._lost -= found
                    self._tell("tokens_found", found)
                least = min(least, self._governor.unseen - self._fifo.free())
            now = trio.current_time()
            if least <= 0 or not self._governor.is_short(now):
                missing_before = 0
                continue
            rounds += 1
            stalls = now - max(self._moved_at, stall_looked_at) >= STALLED_S and not self._fifo.free()
            if least <= found_there and rounds < wait and not stalls:
                continue
            if stalls:
                stall_looked_at = now
            missing = min(await self._missing(), least)
            wait = 1 if missing > 0 or least > found_there else min(2 * wait, MOST_ROUNDS)
            found_there, rounds = (least if missing <= 0 else 0), 0
            certain = min(missing, missing_before)
            missing_before = missing
            if certain > 0 and not self._fifo.closed:
                self._write_off(certain, "their holders have ended")
                missing_before = 0

    async def _missing(self) -> int:
        """Tokens that are neither free nor in use, as far as can be seen; pushes the build where it has stalled."""
        if not self._tasks and self._fifo.is_abandoned() and (lost := self._fifo.issued - self._fifo.free()) > 0:
            self._write_off(lost, "nobody has the jobserver open")
            return 0
        missing = await self._count_missing()
        if missing > 0:  # looked at again, as processes start and end while they are counted
            missing = min(missing, await self._count_missing())
        if self._fifo.free():  # no tool waits for a token, so one more would change nothing
            return missing
        still_s = trio.current_time() - self._moved_at
        if still_s >= STUCK_S or (still_s >= STALLED_S and await self._sleeps()):
            log.warning("build %s: nothing moves; one recipe more (%s)", self._build, self.status())
            self._moved_at = trio.current_time()
            self._tell("stalled")
        return missing

    async def _count_missing(self) -> int:
        out = self._fifo.issued + self._governor.clients - self._fifo.free()
        use = slots_in_use(await self._scan(), {self._top, *self._tops} - {0})
        out = min(out, self._fifo.issued + self._governor.clients - self._fifo.free())
        return out - use.slots if use.count else 0

    async def _sleeps(self) -> bool:
        """Whether the build's processes use hardly any CPU, and not for want of one."""
        tops = {self._top, *self._tops} - {0}
        before = slots_in_use(await self._scan(), tops)
        await trio.sleep(SAMPLE_S)
        after = slots_in_use(await self._scan(), tops)
        if not before.count or before.busy or after.busy:
            return False
        return after.ticks - before.ticks < _HARDLY_ANY * SAMPLE_S * _TICKS_PER_S

    async def _scan(self) -> dict[int, Process]:
        """All processes of the host; none where that can't be told now, so that nothing is concluded from it."""
        try:
            return await self._host.read_all()
        except OSError as exc:
            log.warning("build %s: its processes can't be counted now: %s", self._build, exc)
            return {}

    def _write_off(self, count: int, why: str) -> None:
        count = min(count, self._fifo.issued)
        log.warning("build %s: %d tokens are lost, as %s: %s", self._build, count, why, self.status())
        self._lost += count
        self._fifo.forget(count)
        self._tell("tokens_lost", count)
