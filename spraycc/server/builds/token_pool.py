"""The jobserver of one build: the FIFO, the governor that says how many tokens exist, and the watch over both.

The governor (:mod:`spraycc.jobserver.governor`) is arithmetic. The pool tells it what happens and carries out what it
decides.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

import trio

from spraycc.jobserver import events, journal
from spraycc.jobserver.events import Event, Limits
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.governor import Governor
from spraycc.jobserver.makeflags import is_foreign
from spraycc.model import BuildId, TaskId
from spraycc.server.builds.build_processes import BuildProcesses
from spraycc.server.builds.token_watch import TokenWatch
from spraycc.server.host.process_end import HostProcesses

log = logging.getLogger(__name__)

#: Values of MAKEFLAGS that a pool remembers. A build has few of them.
_MOST_MAKEFLAGS = 1000


class Phase(enum.Enum):
    """GOVERNED -> UNGOVERNED -> CLOSED, or GOVERNED -> CLOSED."""

    GOVERNED = "governed"
    #: after a fault in the server: there are tokens for the whole width, and no completion is held
    UNGOVERNED = "ungoverned"
    #: the FIFO is gone, and no completion is held
    CLOSED = "closed"


class TokenPool:
    """The jobserver of one build. Belongs to one trio thread. The caller runs :meth:`run` until :meth:`close`."""

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
        """Make the pool before the build's tool starts. The tool counts from now on.

        Args:
            build: the build's id.
            fifo: the pool owns the FIFO, and closes it.
            limits: limits of unseen recipes.
            width: recipes at once, seen and unseen.
            starts_recipes: the build's tool is make or ninja. False: it is a script that may start them.
            fixed: limits and width never change.
            host: the host's processes; None: those of this host.
        """
        now = trio.current_time()
        width = max(1, width)
        self._build = build
        self._fifo = fifo
        self._limits = limits
        self._width = width
        self._fixed = fixed
        self._phase = Phase.GOVERNED
        self._governor = Governor(limits, width, fifo.tokens, now)
        self._processes = BuildProcesses(build, host or HostProcesses(), starts_recipes, self._tell)
        #: tasks whose runners have registered and have not gone
        self._tasks: set[TaskId] = set()
        #: task whose completion is held -> the function that answers its runner
        self._answers: dict[TaskId, Callable[[], None]] = {}
        self._watch = TokenWatch(
            build,
            fifo,
            self._governor,
            self._processes,
            has_runners=lambda: bool(self._tasks),
            tell=self._tell,
            status=self.status,
        )
        self._held_in_all = 0
        #: when the governor wants a Tick; the event is set when that changes
        self._wake_at: float | None = None
        self._wake_changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        #: MAKEFLAGS of a runner -> True if a make above the runner has left this jobserver
        self.is_foreign = lru_cache(_MOST_MAKEFLAGS)(lambda makeflags: is_foreign(makeflags, fifo.path))
        self._debug = log.isEnabledFor(logging.DEBUG)
        if self._debug:
            log.debug("%s", journal.begin_line(build, limits, width, now))
        self._tell(events.ToolStarted())

    # -- what happens

    def set_width(self, width: int) -> None:
        """Let this many recipes run at once from now on, seen and unseen."""
        width = max(1, width)
        if not self._fixed and width != self._width:
            self._width = width
            self._tell(events.WidthChanged(width))

    def set_limits(self, local: int, probing: int) -> None:
        """Change the limits of unseen recipes."""
        limits = replace(self._limits, local=local, probing=probing)
        if not self._fixed and limits != self._limits:
            self._limits = limits
            self._tell(events.LimitsChanged(limits))

    def tool_started(self, pid: int) -> None:
        """The build's tool runs as this process."""
        self._processes.tool_started(pid)

    def runner_registered(self, task: TaskId, pid: int, foreign: bool = False) -> None:
        """The runner ``pid`` has submitted a task; ``foreign``: the runner's make has a jobserver of its own."""
        self._tasks.add(task)
        # If the whole width may run unseen, it does not matter which recipe a runner belongs to.
        recipe = f"task {task}"
        if self._width > self._limits.local:
            recipe = self._processes.recipe_of(task, pid, foreign)
        self._watch.note_progress()
        self._tell(events.RunnerRegistered(task, recipe))

    def note_progress(self) -> None:
        """Something has happened in the build that changes no token, so the build has not stalled."""
        self._watch.note_progress()

    def finish(self, task: TaskId, answer: Callable[[], None]) -> None:
        """The task has its result: call ``answer``, now or when its completion is released. It must not wait."""
        if task not in self._tasks or self._phase is not Phase.GOVERNED:
            answer()
            return
        self._watch.note_progress()
        self._answers[task] = answer
        self._tell(events.TaskDone(task))
        if task in self._answers:
            self._held_in_all += 1

    def runner_gone(self, task: TaskId) -> None:
        """The runner's process, or the command that it became, has ended. Called once for each registered task."""
        self._watch.note_progress()
        self._tasks.discard(task)
        self._answers.pop(task, None)
        self._tell(events.RunnerGone(task))

    def release_one(self) -> None:
        """Release a held completion. The runner's descriptor becomes free for the next runner."""
        self._watch.note_progress()
        self._tell(events.DescriptorsExhausted())

    # -- its coroutines

    async def run(self) -> None:
        """Run until :meth:`close`. After a fault the build continues, but the tokens are no longer governed."""
        if self._phase is not Phase.GOVERNED:
            return
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = self._processes.nursery = nursery
                nursery.start_soon(self._fifo.run, self._tokens_withdrawn)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._watch.run)
        except Exception:
            self._break()
        finally:
            self._nursery = self._processes.nursery = None

    def close(self) -> None:
        """Answer all runners that still wait, and close the FIFO. May be called twice."""
        self._stop(Phase.CLOSED)
        self._fifo.close()

    def _stop(self, phase: Phase) -> None:
        self._phase = phase
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _break(self) -> None:
        """Continue without the governor, with tokens for the whole width. Called while an exception is handled."""
        log.exception("build %s: its jobserver is no longer governed", self._build)
        if self._phase is Phase.CLOSED:
            return
        self._stop(Phase.UNGOVERNED)
        with suppress(OSError):
            self._fifo.set_tokens(self._width - 1)

    # -- figures

    @property
    def holds(self) -> bool:
        """True if completions may be held: more tokens exist than unseen recipes may run on the submit host."""
        return self._phase is Phase.GOVERNED and not self._fixed and self._width > self._limits.local

    @property
    def held(self) -> int:
        """Completions that are held now."""
        return len(self._governor.held)

    @property
    def issued(self) -> int:
        """Tokens that exist."""
        return self._fifo.tokens.issued

    @property
    def lost(self) -> int:
        """Tokens that were written off. If the build needs them, new tokens replace them."""
        return self._watch.lost

    def free(self) -> int:
        """Tokens that lie in the FIFO."""
        return self._fifo.free()

    def recount(self) -> None:
        """At the build's end, count the tokens that have come back: they are not lost."""
        self._watch.adopt_surplus()

    def status(self) -> dict[str, int]:
        """The account. ``unaccounted``: slots of recipes without a runner, and the tools' implicit slots."""
        free = self.free()
        governor = self._governor
        return {
            "issued": self.issued,
            "free": free,
            "held": self.issued - free,
            "unaccounted": governor.unseen - free,
            "limit": governor.limit(trio.current_time()),
            "recipes": governor.recipes,
            "clients": governor.tools,
            "completions_held": len(governor.held),
            "completions_held_in_all": self._held_in_all,
            "lost": self.lost,
        }

    # -- the governor

    def _tell(self, event: Event) -> None:
        """Tell the governor, and carry out its decision."""
        if self._phase is not Phase.GOVERNED:
            return
        try:
            while self._carry_out(event):
                event = events.TokensChanged()
        except Exception:
            self._break()

    def _carry_out(self, event: Event) -> bool:
        """True if the governor must decide again: tokens were withdrawn, or the FIFO has no room for tokens."""
        now = trio.current_time()
        tokens = self._fifo.tokens
        decision = self._governor.handle(event, now)
        if self._debug:
            log.debug("%s", journal.event_line(self._build, event, now, decision, self._governor, tokens))
        if decision.wake_at != self._wake_at:
            self._wake_at = decision.wake_at
            self._wake_changed.set()
        decided = tokens.committed
        for task in decision.release:
            self._answers.pop(task)()
        self._fifo.settle()
        return tokens.committed < decided

    def _tokens_withdrawn(self) -> None:
        self._watch.note_progress()
        self._tell(events.TokensChanged())

    async def _tick(self) -> None:
        while True:
            self._wake_changed = trio.Event()
            with trio.move_on_at(float("inf") if self._wake_at is None else self._wake_at):
                await self._wake_changed.wait()
                continue
            self._wake_at = None
            self._tell(events.Tick())
