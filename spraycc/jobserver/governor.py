"""The governor: lets no more unseen work run on the submit host than it has local slots, however wide the build is.

make takes a token for every recipe, also for one that no runner wraps and that therefore runs right here: a code
generator, a test. With 400 tokens in the pool it would start 400 of them. The server can't see those recipes, but it
can count: a token is either at a recipe whose runner has registered, or it is free, or at work that nobody accounts
for. With

    P = tokens in circulation + top-level clients - recipes with a registered runner

(each client has an implicit slot beside its tokens) P is the unseen work that runs plus that which could start at once.
The governor keeps P at the local slots L: it issues a token when a runner registers, as that lowers P by one.

The hard part is the other end. When a recipe's last runner ends, P rises by one, and the token should be taken out. But
make writes it back and takes it for the next recipe within microseconds; nobody else gets it in between (seen: 82 local
recipes where 4 were allowed). So the server *holds the completion*: the runner of a finished task is not answered, make
goes on believing that the recipe runs, until some other token is seen free and taken out, or until P falls.

What bounds this, and what does not:

- Only the last runner of a recipe is held; those of ``cc a & cc b & wait`` share one token.
- A completion is let go as soon as P < L, whatever else is owed. Waiting for all that is owed first would be a
  deadlock: what would bring the tokens back may depend on the very task that is held.
- L counts as at least one more than there are clients. A client's idle implicit slot is in P and can't be taken out;
  were P at L by idle slots alone, and every other slot at a held completion, nothing would ever move again.
- Long unseen recipes would starve the cluster: so while something is held, one more completion is let go at every
  probe, up to L_max.
- A time limit on holding would give the bound away (with 1 s: 28 local recipes where 4 were allowed).
- A runner that the server has no descriptor for waits in the kernel's backlog and looks like unseen work, while held
  completions keep descriptors. So each such runner has one let go (see :meth:`Governor.runner_waits`): no more unseen
  work than before, as the runner registers in its place.
- Unseen recipes may themselves wait for something that only a further recipe would bring about. Nothing here can know
  that; so where a whole build sleeps (see :meth:`Governor.stalled`) the limit gives way, by one recipe at a time.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from spraycc.model import TaskId


@dataclass(frozen=True, slots=True)
class Limits:
    """How much unseen work is let happen on the submit host."""

    #: L: unseen recipes at once
    local: int
    #: L_max: up to here probes may go beyond L
    probing: int
    #: seconds between probes
    probe_s: float = 0.1
    #: what stands for L at first. ninja 1.13.0 to 1.13.2 look for new tokens only when a recipe of theirs ends: with a
    #: small first window and long tasks they would widen slowly (200 wide after 13.7 s with 4, after 0.24 s with 16)
    first_window: int = 0
    #: for how many seconds
    first_window_s: float = 0.0
    #: recipes at once that the user allows (the build's -j): a build that has stalled gets no more; None: any number
    most: int | None = None

    def __post_init__(self) -> None:
        assert 1 <= self.local <= self.probing, self
        assert self.probe_s > 0, self


@dataclass(frozen=True, slots=True)
class Decision:
    """What the server is to do now."""

    #: tokens to write; the governor counts them as written
    issue: int = 0
    #: tokens to take out of the FIFO, now or as they are seen free, in place of what earlier decisions said; each is to
    #: be told by :meth:`Governor.token_withdrawn`
    withdraw: int = 0
    #: tasks whose runners are to be answered now
    release: tuple[TaskId, ...] = ()
    #: when :meth:`Governor.tick` is to be called, in place of what earlier decisions said
    wake_at: float | None = None


class Governor:
    """The arithmetic for one build. Every event returns the decision that follows; ``now`` never goes back.

    Invariants: ``release`` names each task once, and only after ``task_done``. If a completion is held, P >= L. A token
    is issued only at P < L.
    """

    def __init__(self, limits: Limits, total: int, now: float) -> None:
        """Starts without a client, and so without a token.

        Args:
            total: the build's width: recipes at once, seen and unseen.
        """
        assert total >= 1, total
        self._limits = limits
        self._total = total
        self._first_window_ends = now + limits.first_window_s
        self._issued = 0
        self._clients = 0
        #: the recipe of each task whose runner has registered and has neither been answered nor gone
        self._recipe_of: dict[TaskId, Hashable] = {}
        #: how many of those tasks each recipe has, at least 1
        self._tasks_of: dict[Hashable, int] = {}
        #: tasks that are done and not answered, oldest first; each is the only one left of its recipe
        self._held: dict[TaskId, None] = {}
        self._next_probe: float | None = None
        #: by how much the limit and the total give way, as the build had stalled; until a runner registers
        self._slack = 0

    @property
    def unseen(self) -> int:
        """P: recipes that may run here without a runner, and tokens that are free for more of them."""
        return self._issued + self._clients - len(self._tasks_of)

    @property
    def issued(self) -> int:
        """Tokens in circulation."""
        return self._issued

    @property
    def clients(self) -> int:
        """Top-level build tools."""
        return self._clients

    @property
    def recipes(self) -> int:
        """Recipes that have a registered runner."""
        return len(self._tasks_of)

    def limit(self, now: float) -> int:
        """L as it is now."""
        floor = max(self._limits.local, self._clients + 1)
        if now < self._first_window_ends:
            floor = max(floor, self._limits.first_window)
        return floor + self._slack

    @property
    def _width(self) -> int:
        """Recipes at once, seen and unseen, as things stand."""
        wider = self._total + self._slack
        return wider if self._limits.most is None else max(self._total, min(wider, self._limits.most))

    def is_short(self, now: float) -> bool:
        """Whether a token that was lost would be missed: no more may be issued as things stand."""
        return self.unseen >= self.limit(now) or self._issued + self._clients >= self._width

    @property
    def held(self) -> tuple[TaskId, ...]:
        """Tasks whose completion is held, oldest first."""
        return tuple(self._held)

    def set_limits(self, limits: Limits, now: float) -> Decision:
        """Other limits, from now on. The first window stays as it was."""
        self._limits = limits
        return self._decide(now)

    def set_total(self, total: int, now: float) -> Decision:
        """The build's width has changed."""
        assert total >= 1, total
        self._total = total
        return self._decide(now)

    def client_joined(self, now: float) -> Decision:
        """A top-level build tool has started (not a sub-make: it runs on its parent's token).

        One that joins late brings its implicit slot along: P can be over L until a token is seen free.
        """
        self._clients += 1
        return self._decide(now)

    def client_left(self, now: float) -> Decision:
        """A top-level build tool has ended."""
        assert self._clients > 0
        self._clients -= 1
        return self._decide(now)

    def runner_registered(self, task: TaskId, recipe: Hashable, now: float) -> Decision:
        """A runner has submitted ``task``.

        Args:
            recipe: what all runners of one recipe have in common, and those of others not: the process that make
            started.
        """
        assert task not in self._recipe_of, task
        self._slack = 0
        self._recipe_of[task] = recipe
        self._tasks_of[recipe] = self._tasks_of.get(recipe, 0) + 1
        released = []
        if self._tasks_of[recipe] > 1:
            # A background sibling came after the hold: the recipe is counted by the newcomer from now on.
            released = [held for held in self._held if self._recipe_of[held] == recipe]
            for held in released:
                self._forget(held)
        return self._decide(now, released)

    def task_done(self, task: TaskId, now: float) -> Decision:
        """The task has ended on its executor, its runner waits for the answer: ``release`` names it, now or later."""
        assert task in self._recipe_of, task
        assert task not in self._held, task
        if self._tasks_of[self._recipe_of[task]] > 1:
            self._forget(task)
            return self._decide(now, [task])
        self._held[task] = None
        return self._decide(now)

    def runner_waits(self, now: float) -> Decision:
        """A runner can't register for want of descriptors: the oldest held completion goes in its place."""
        return self._decide(now, [self._release_oldest()] if self._held else [])

    def runner_gone(self, task: TaskId, now: float) -> Decision:
        """The runner has ended without being answered: it was killed, or it ran the command in its own place."""
        if task in self._recipe_of:
            self._forget(task)
        return self._decide(now)

    def token_withdrawn(self, count: int, now: float) -> Decision:
        """``count`` free tokens were taken out of the FIFO."""
        assert 0 <= count <= self._issued, (count, self._issued)
        self._issued -= count
        return self._decide(now)

    def tokens_lost(self, count: int, now: float) -> Decision:
        """``count`` tokens are known to have died with their holders."""
        assert 0 <= count <= self._issued, (count, self._issued)
        self._issued -= count
        return self._decide(now)

    def tokens_found(self, count: int, now: float) -> Decision:
        """``count`` tokens that were reported lost have come back."""
        assert count >= 0, count
        self._issued += count
        return self._decide(now)

    def stalled(self, now: float) -> Decision:
        """Nothing has moved for long, and the build uses hardly any CPU: one recipe more, or one token, up to the most
        that the user allows.

        A token also wakes a make 4.2 that blocks in read(2) after it was told of a token that somebody else then took.
        """
        self._slack += 1
        return self._decide(now)

    def tick(self, now: float) -> Decision:
        """Time has passed."""
        return self._decide(now)

    def _forget(self, task: TaskId) -> None:
        """The task's runner is answered or gone; P rises if it was the last of its recipe."""
        recipe = self._recipe_of.pop(task)
        self._held.pop(task, None)
        self._tasks_of[recipe] -= 1
        if not self._tasks_of[recipe]:
            del self._tasks_of[recipe]

    def _release_oldest(self) -> TaskId:
        task = next(iter(self._held))
        self._forget(task)
        return task

    def _decide(self, now: float, released: list[TaskId] | None = None) -> Decision:
        limit = self.limit(now)
        release = list(released or ())
        issue = 0
        if not self._clients:
            # Nobody is left to start recipes; whoever still waits for an answer gets it.
            release += [self._release_oldest() for _ in range(len(self._held))]
            return Decision(withdraw=self._issued, release=tuple(release))
        while self.unseen < limit:
            if self._held:
                release.append(self._release_oldest())
            elif self._issued + self._clients < self._width:
                self._issued += 1
                issue += 1
            else:
                break
        self._probe(now, release)
        withdraw = max(
            max(0, self.unseen - limit) + len(self._held),  # each lets one completion go
            self._issued + self._clients - self._width,  # the build became narrower
        )
        return Decision(issue, min(max(0, withdraw), self._issued), tuple(release), self._wake_at(now))

    def _probe(self, now: float, release: list[TaskId]) -> None:
        """Lets one completion go beyond the limit if it is time, and sets the time of the next."""
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
