"""The governor: keeps unseen work on the submit host within the local slots, however wide the build is.

make takes a token for every recipe. No runner wraps some recipes (a code generator, a test), and those run on the
submit host. With 400 tokens make would start 400 of them. The server can't see those recipes, but it can count. Each
token is at a recipe whose runner has registered, or it is free, or it is at unseen work. The runner of a command that
runs at once, without a slot, does not register: nothing else would bound such commands (``gcc -E``). With

    P = tokens + top-level tools - recipes with a registered runner

(each tool has an implicit slot beside its tokens) P is the unseen work that runs plus the unseen work that could start
at once. The governor keeps P at the local slots L. A registration lowers P by one, so the governor then issues a token.

The end of a recipe is harder. When its last runner ends, P rises by one, and the server should withdraw the token. But
make writes the token back and takes it for the next recipe within microseconds, before any other process gets it (seen:
82 local recipes where 4 were allowed). So the server *holds the completion*: it does not answer the runner of a
finished task. make goes on believing that the recipe runs, until the server has withdrawn some other token, or until P
falls.

These rules bound unseen work, and keep the build going:

- Only the last runner of a recipe is held. The runners of ``cc a & cc b & wait`` share one token.
- A completion is released as soon as P < L, whatever else is owed. To wait for all owed tokens first would be a
  deadlock: the recipe that would give a token back may depend on the held task.
- L is at least one more than the number of tools. A tool's idle implicit slot counts in P and can't be withdrawn. If
  idle slots alone made P equal to L, and every other slot were at a held completion, nothing would ever happen again.
- Long unseen recipes would starve the cluster. So while completions are held, every probe releases one, up to L_max.
- No time limit on holding: it would give the bound away (with 1 s: 28 local recipes where 4 were allowed).
- A runner for which the server has no descriptor waits in the kernel's backlog and looks like unseen work, while held
  completions keep descriptors. So each such runner releases one. Unseen work does not grow, as the runner registers in
  place of the released one.
- Unseen recipes may wait for something that only a further recipe brings about. The governor can't know that. So when a
  whole build sleeps, the limit gives way by one recipe at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import assert_never

from spraycc.jobserver import events
from spraycc.jobserver.events import Event, Limits
from spraycc.jobserver.tokens import TokenAccount
from spraycc.model import TaskId


@dataclass(frozen=True, slots=True)
class Decision:
    """The next actions of the server, beside the tokens that the account asks for."""

    #: tasks whose runners the server must answer now
    release: tuple[TaskId, ...] = ()
    #: time at which a :class:`Tick` is due, in place of the time of earlier decisions; None: never
    wake_at: float | None = None


class Governor:
    """Decides for one build which completions are held, and how many tokens exist. Pure.

    Invariants: ``release`` names each task once, and only after TaskDone. While a completion is held, P >= L. A token
    is issued only at P < L.
    """

    def __init__(self, limits: Limits, width: int, tokens: TokenAccount, now: float) -> None:
        """Starts without a tool, and so without a token.

        Args:
            limits: for unseen recipes.
            width: recipes at once, seen and unseen, at least 1.
            tokens: the build's account. The governor alone sets the number that should exist.
            now: seconds, monotonic; never goes back from event to event.
        """
        assert width >= 1, width
        self._limits = limits
        self._width = width
        self._tokens = tokens
        self._first_window_ends = now + limits.first_window_s
        #: top-level build tools that run
        self.tools = 0
        #: the recipe of each task whose runner has registered and has neither been answered nor gone
        self._recipe_of: dict[TaskId, Hashable] = {}
        #: how many of those tasks each recipe has, at least 1
        self._tasks_of: dict[Hashable, int] = {}
        #: tasks that are done and not answered, oldest first; each is the only one left of its recipe
        self._held: dict[TaskId, None] = {}
        self._next_probe: float | None = None
        #: recipes beyond limit and width that a stalled build has; 0 again when a runner registers
        self._slack = 0

    @property
    def unseen(self) -> int:
        """P: recipes that may run on the submit host without a runner, and tokens for more of them."""
        return self._recipes_possible - len(self._tasks_of)

    @property
    def recipes(self) -> int:
        """Recipes that have a registered runner."""
        return len(self._tasks_of)

    @property
    def held(self) -> tuple[TaskId, ...]:
        """Tasks whose completion is held, oldest first."""
        return tuple(self._held)

    def limit(self, now: float) -> int:
        """L at this time."""
        floor = max(self._limits.local, self.tools + 1)
        if now < self._first_window_ends:
            floor = max(floor, self._limits.first_window)
        return floor + self._slack

    def is_short(self, now: float) -> bool:
        """The build would miss a lost token: limit and width allow no further one."""
        return self.unseen >= self.limit(now) or self._recipes_possible >= self._width_now

    def handle(self, event: Event, now: float) -> Decision:
        """Takes in ``event``, sets the number of tokens that should exist, and returns the other actions."""
        released: Iterable[TaskId] = ()
        match event:
            case events.LimitsChanged(limits):
                self._limits = limits
            case events.WidthChanged(width):
                assert width >= 1, width
                self._width = width
                self._tokens.set_capacity()  # the kernel may have more room for the FIFO by now
            case events.ToolStarted():
                self.tools += 1
            case events.ToolEnded():
                assert self.tools > 0
                self.tools -= 1
            case events.RunnerRegistered(task, recipe):
                released = self._register(task, recipe)
            case events.TaskDone(task):
                released = self._end(task)
            case events.RunnerGone(task):
                if task in self._recipe_of:
                    self._forget(task)
            case events.DescriptorsExhausted():
                released = [self._release_oldest()] if self._held else ()
            case events.BuildStalled():
                # A further token also wakes a make 4.2 that blocks in read(2): it was told of a token that another
                # process then took.
                self._slack += 1
            case events.TokensChanged() | events.Tick():
                pass
            case _:
                assert_never(event)
        return self._decide(now, released)

    @property
    def _recipes_possible(self) -> int:
        """Recipes that tokens and implicit slots allow, seen and unseen."""
        return self._tokens.committed + self.tools

    @property
    def _width_now(self) -> int:
        """The width, and the slack of a stalled build as far as the user's -j allows."""
        wider = self._width + self._slack
        return wider if self._limits.cap is None else max(self._width, min(wider, self._limits.cap))

    def _register(self, task: TaskId, recipe: Hashable) -> Iterable[TaskId]:
        assert task not in self._recipe_of, task
        self._slack = 0
        self._recipe_of[task] = recipe
        self._tasks_of[recipe] = self._tasks_of.get(recipe, 0) + 1
        if self._tasks_of[recipe] == 1:
            return ()
        # A background sibling came after the hold: from now on the newcomer stands for the recipe.
        released = [held for held in self._held if self._recipe_of[held] == recipe]
        for held in released:
            self._forget(held)
        return released

    def _end(self, task: TaskId) -> Iterable[TaskId]:
        assert task in self._recipe_of, task
        assert task not in self._held, task
        if self._tasks_of[self._recipe_of[task]] > 1:
            self._forget(task)
            return (task,)
        self._held[task] = None
        return ()

    def _forget(self, task: TaskId) -> None:
        """The task's runner is answered or gone. P rises if it was the last of its recipe."""
        recipe = self._recipe_of.pop(task)
        self._held.pop(task, None)
        self._tasks_of[recipe] -= 1
        if not self._tasks_of[recipe]:
            del self._tasks_of[recipe]

    def _release_oldest(self) -> TaskId:
        task = next(iter(self._held))
        self._forget(task)
        return task

    def _decide(self, now: float, released: Iterable[TaskId]) -> Decision:
        release = list(released)
        if not self.tools:
            # No tool is left to start recipes, so every runner that still waits gets its answer.
            release += [self._release_oldest() for _ in range(len(self._held))]
            self._tokens.set_tokens(0)
            return Decision(tuple(release))
        limit = self.limit(now)
        self._fill(limit, release)
        self._probe(now, release)
        excess = max(
            max(0, self.unseen - limit) + len(self._held),  # each withdrawal releases one completion
            self._recipes_possible - self._width_now,  # the build became narrower
        )
        before = self._tokens.committed
        self._tokens.set_tokens(max(0, before - max(0, excess)))
        if self._tokens.committed < before:  # some were not written yet, so they are withdrawn already
            return self._decide(now, release)
        return Decision(tuple(release), self._wake_at(now))

    def _fill(self, limit: int, release: list[TaskId]) -> None:
        """Releases completions, and issues tokens if none is held, up to the limit."""
        while self.unseen < limit:
            if self._held:
                release.append(self._release_oldest())
            elif self._recipes_possible < self._width_now and not self._tokens.is_full:
                self._tokens.set_tokens(self._tokens.committed + 1)
            else:
                break

    def _probe(self, now: float, release: list[TaskId]) -> None:
        """Releases one completion beyond the limit when a probe is due, and sets the time of the next probe."""
        if not self._held:
            self._next_probe = None
        elif self._next_probe is None:
            self._next_probe = now + self._limits.probe_s
        elif now >= self._next_probe and self.unseen < self._limits.probing:
            release.append(self._release_oldest())
            self._next_probe = now + self._limits.probe_s if self._held else None

    def _wake_at(self, now: float) -> float | None:
        times = []
        if self._next_probe is not None and self.unseen < self._limits.probing:
            times.append(max(now, self._next_probe))
        if now < self._first_window_ends and self._limits.first_window > self._limits.local:
            times.append(self._first_window_ends)
        return min(times, default=None)
