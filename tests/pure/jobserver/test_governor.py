"""The governor's arithmetic: tables, a make that behaves as badly as real ones, and a state machine."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spraycc.jobserver.events import (
    BuildStalled,
    DescriptorsExhausted,
    Event,
    Limits,
    LimitsChanged,
    RunnerGone,
    RunnerRegistered,
    TaskDone,
    Tick,
    TokensChanged,
    ToolEnded,
    ToolStarted,
    WidthChanged,
)
from spraycc.jobserver.governor import Governor
from spraycc.jobserver.tokens import TokenAccount
from spraycc.model import TaskId

A, B, C, D = (TaskId(number) for number in range(4))


@dataclass(frozen=True)
class Outcome:
    """The result of an event: the decision, and the tokens that the account then asks for."""

    issue: int = 0
    withdraw: int = 0
    release: tuple[TaskId, ...] = ()
    wake_at: float | None = None


class Bench:
    """A governor and its account. There is always room for tokens, so they are written at once."""

    def __init__(self, limits: Limits, width: int, now: float = 0.0) -> None:
        self.tokens = TokenAccount()
        self.governor = Governor(limits, width, self.tokens, now)

    def tell(self, event: Event, now: float = 0.0) -> Outcome:
        decision = self.governor.handle(event, now)
        issue = self.tokens.due
        self.tokens.written(issue)
        return Outcome(issue, self.tokens.owed, decision.release, decision.wake_at)

    def withdraw(self, count: int, now: float = 0.0) -> Outcome:
        self.tokens.withdrawn(count)
        return self.tell(TokensChanged(), now)

    def lose(self, count: int, now: float = 0.0) -> Outcome:
        self.tokens.lost(count)
        return self.tell(TokensChanged(), now)

    def find(self, count: int, now: float = 0.0) -> Outcome:
        self.tokens.found(count)
        return self.tell(TokensChanged(), now)

    @property
    def unseen(self) -> int:
        return self.governor.unseen

    @property
    def held(self) -> tuple[TaskId, ...]:
        return self.governor.held


def started(local: int = 2, width: int = 100, probing: int | None = None) -> Bench:
    bench = Bench(Limits(local, probing or local), width)
    bench.tell(ToolStarted())
    return bench


def test_it_starts_with_the_local_slots_less_the_clients() -> None:
    bench = Bench(Limits(4, 4), 100, now=0.0)
    assert bench.tell(ToolStarted()) == Outcome(issue=3)
    assert bench.unseen == 4
    assert bench.tell(ToolStarted()) == Outcome(withdraw=1)


def test_never_wider_than_the_build() -> None:
    bench = Bench(Limits(4, 4), 3, now=0.0)
    assert bench.tell(ToolStarted()) == Outcome(issue=2)
    assert bench.tell(RunnerRegistered(A, "a")) == Outcome()


@pytest.mark.parametrize(("most", "issued"), [(1, 0), (3, 0), (4, 1), (None, 2)])
def test_a_build_that_stalls_gets_no_wider_than_the_user_allows(most: int | None, issued: int) -> None:
    bench = Bench(Limits(4, 4, cap=most), 3, now=0.0)
    assert bench.tell(ToolStarted()) == Outcome(issue=2)
    assert sum(bench.tell(BuildStalled()).issue for _ in range(2)) == issued
    assert bench.tokens.issued == 2 + issued


def test_a_fifo_without_room_gets_no_more_tokens_until_the_width_changes() -> None:
    bench = Bench(Limits(4, 4), 100)
    bench.tokens.set_capacity(2)
    assert bench.tell(ToolStarted()) == Outcome(issue=2)
    assert bench.tell(RunnerRegistered(A, "a")) == Outcome()
    assert bench.tell(WidthChanged(99)) == Outcome(issue=2)


def test_tokens_that_the_fifo_did_not_take_count_for_nothing() -> None:
    """The kernel has no room for the tokens that the governor wants to issue."""
    tokens = TokenAccount()
    governor = Governor(Limits(4, 4), 100, tokens, now=0.0)
    governor.handle(ToolStarted(), 0.0)
    tokens.set_capacity(1)
    governor.handle(TokensChanged(), 0.0)
    assert (tokens.due, governor.unseen) == (1, 2)


def test_tokens_that_are_not_written_yet_are_withdrawn_at_once() -> None:
    """The same decision releases the completion, as no withdrawal from the FIFO would follow that could release it."""
    tokens = TokenAccount()
    governor = Governor(Limits(2, 2), 100, tokens, now=0.0)
    governor.handle(ToolStarted(), 0.0)
    tokens.written(1)
    governor.handle(RunnerRegistered(A, "a"), 0.0)
    assert tokens.due == 1
    assert governor.handle(TaskDone(A), 0.0).release == (A,)
    assert (tokens.due, tokens.owed) == (0, 0)


def test_each_runner_brings_a_token() -> None:
    bench = started()
    for number in range(50):
        assert bench.tell(RunnerRegistered(TaskId(number), number)) == Outcome(issue=1)
    assert bench.unseen == 2
    assert bench.tokens.issued == 51


def test_a_completion_is_held_until_a_free_token_is_taken_out() -> None:
    bench = started()
    bench.tell(RunnerRegistered(A, "a"))
    assert bench.tell(TaskDone(A)) == Outcome(withdraw=1)
    assert bench.held == (A,)
    assert bench.withdraw(1) == Outcome(release=(A,))
    assert bench.unseen == 2


def test_a_completion_is_let_go_by_the_next_runner() -> None:
    bench = started()
    bench.tell(RunnerRegistered(A, "a"))
    bench.tell(RunnerRegistered(B, "b"))
    bench.tell(TaskDone(A))
    assert bench.tell(RunnerRegistered(C, "c")).release == (A,)
    # and the governor issued no token for it, as make has one now
    assert bench.tokens.issued == 3


def test_a_completion_is_let_go_at_once_below_the_limit() -> None:
    bench = started(local=4, width=2)
    bench.tell(RunnerRegistered(A, "a"))
    assert bench.tell(TaskDone(A)) == Outcome(release=(A,))


def test_the_oldest_goes_first() -> None:
    bench = started()
    for task in (A, B, C):
        bench.tell(RunnerRegistered(task, task))
    for task in (B, A, C):
        bench.tell(TaskDone(task))
    assert bench.held == (B, A, C)
    assert bench.withdraw(2).release == (B, A)


def test_a_runner_that_can_not_connect_takes_the_place_of_a_held_one() -> None:
    bench = started()
    for task in (A, B):
        bench.tell(RunnerRegistered(task, task))
    bench.tell(TaskDone(A))
    bench.tell(TaskDone(B))
    assert bench.tell(DescriptorsExhausted()).release == (A,)
    assert bench.unseen == 3
    # C takes A's place: there is as much unseen work as before, and B stays held
    assert bench.tell(RunnerRegistered(C, C)).release == ()
    assert (bench.unseen, bench.held) == (2, (B,))


def test_nobody_is_held_whose_place_it_could_take() -> None:
    assert started().tell(DescriptorsExhausted()) == Outcome()


def test_several_runners_of_one_recipe_are_one() -> None:
    bench = started()
    assert bench.tell(RunnerRegistered(A, "line")) == Outcome(issue=1)
    assert bench.tell(RunnerRegistered(B, "line")) == Outcome()
    assert bench.tell(TaskDone(A)) == Outcome(release=(A,))
    assert bench.tell(TaskDone(B)).release == ()
    # a late sibling takes over the recipe
    assert bench.tell(RunnerRegistered(C, "line")) == Outcome(release=(B,))
    assert bench.held == ()


def test_a_runner_that_goes_is_not_answered() -> None:
    bench = started()
    bench.tell(RunnerRegistered(A, "a"))
    bench.tell(TaskDone(A))
    assert bench.tell(RunnerGone(A)) == Outcome(withdraw=1)
    assert bench.unseen == 3
    assert bench.tell(RunnerGone(A)) == Outcome(withdraw=1)


def test_when_the_last_client_has_left_everybody_is_answered() -> None:
    bench = started()
    for task in (A, B):
        bench.tell(RunnerRegistered(task, task))
    for task in (A, B):
        bench.tell(TaskDone(task))
    assert bench.tell(ToolEnded()) == Outcome(withdraw=bench.tokens.issued, release=(A, B))


def test_lost_tokens_let_completions_go() -> None:
    bench = started()
    bench.tell(RunnerRegistered(A, "a"))
    bench.tell(TaskDone(A))
    assert bench.lose(1).release == (A,)


def test_a_narrower_build_takes_tokens_back() -> None:
    bench = started()
    for number in range(10):
        bench.tell(RunnerRegistered(TaskId(number), number))
    assert bench.tell(WidthChanged(5)) == Outcome(withdraw=7)
    assert bench.withdraw(7) == Outcome()
    assert bench.tokens.issued == 4


def test_probes_let_one_go_at_a_time_up_to_their_limit() -> None:
    bench = started(local=2, probing=4)
    for task in (A, B, C, D):
        bench.tell(RunnerRegistered(task, task))
    for task in (A, B, C, D):
        assert bench.tell(TaskDone(task), 1.0).wake_at == pytest.approx(1.1)
    assert bench.tell(Tick(), 1.05).release == ()
    first = bench.tell(Tick(), 1.1)
    assert first.release == (A,)
    assert first.wake_at == pytest.approx(1.2)
    assert first.wake_at is not None
    second = bench.tell(Tick(), first.wake_at)
    assert second.release == (B,)
    assert second.wake_at is None  # at L_max: nothing to wake up for
    assert bench.tell(Tick(), 9.0).release == ()
    assert bench.unseen == 4
    # 2 beyond the limit, and 2 held
    assert second.withdraw == 4
    assert bench.withdraw(1, 9.0).release == (C,)


def test_a_first_window_for_tools_that_read_tokens_late() -> None:
    bench = Bench(Limits(4, 4, first_window=16, first_window_s=1.0), 200, now=10.0)
    assert bench.tell(ToolStarted(), 10.0) == Outcome(issue=15, wake_at=11.0)
    assert bench.tell(RunnerRegistered(A, "a"), 10.5) == Outcome(issue=1, wake_at=11.0)
    assert bench.tell(Tick(), 11.0) == Outcome(withdraw=12)


class Tool:
    """A build tool that starts its recipes in order and is always faster than the server: after it returns a token, it takes
    the token for its next recipe before the server can read it."""

    def __init__(self, build: Build, recipes: str, keeps_implicit: bool) -> None:
        self.build = build
        self.waiting = list(recipes)
        #: make uses its implicit slot as long as it has a recipe at all; ninja gives each recipe a slot of its own
        self.keeps_implicit = keeps_implicit
        self.implicit_idle = True
        #: the tasks that run, and whether each has a token
        self.running: dict[TaskId, bool] = {}

    def start(self) -> None:
        while self.waiting and (self.implicit_idle or self.build.free):
            has_token = not self.implicit_idle
            if has_token:
                self.build.free -= 1
            self.implicit_idle = False
            task = self.build.recipe_starts(self, self.waiting.pop(0))
            self.running[task] = has_token

    def recipe_ended(self, task: TaskId) -> None:
        had_token = self.running.pop(task)
        if self.keeps_implicit and not had_token and any(self.running.values()):
            other = next(task for task, has_token in self.running.items() if has_token)
            self.running[other] = False
            had_token = True
        if had_token:
            self.build.free += 1
        else:
            self.implicit_idle = True
        self.start()


class Build:
    """Tools that share a governed pool. Times are simulated seconds."""

    def __init__(self, recipes: str, limits: Limits, width: int, tools: int = 1, keeps_implicit: bool = True) -> None:
        """Every tool has the ``recipes``: "r" remote (0.5 s; its runner registers after 0.01 s), "l" local and unseen (0.2 s),
        "x" remote and then 0.1 s on the submit host in the same recipe."""
        self.bench = Bench(limits, width)
        self.free = 0
        self.owed = 0
        self.local = self.most_local = self.remote = self.most_remote = 0
        self.now = 0.0
        self._events: list[tuple[float, int, str, TaskId]] = []
        self._kind: dict[TaskId, str] = {}
        self._tool: dict[TaskId, Tool] = {}
        self._numbers = itertools.count()
        self._tools = [Tool(self, recipes, keeps_implicit) for _ in range(tools)]
        for _ in self._tools:
            decision = self.bench.tell(ToolStarted())
            self.free += decision.issue
            self.owed = decision.withdraw

    def run(self) -> None:
        """Runs until all recipes have ended; fails if the build stalls."""
        self._withdraw()
        for tool in self._tools:
            tool.start()
        while self._events:
            self.now, _, what, task = heapq.heappop(self._events)
            if what == "tick":
                self._obey(self.bench.tell(Tick(), self.now))
            elif what == "registers":
                self.local -= 1
                self.remote += 1
                self.most_remote = max(self.most_remote, self.remote)
                self._at(0.5, "done", task)
                self._obey(self.bench.tell(RunnerRegistered(task, task), self.now))
            elif what == "done":
                self._obey(self.bench.tell(TaskDone(task), self.now))
            else:
                self.local -= 1
                self._tool[task].recipe_ended(task)
            self._withdraw()
        assert [(tool.waiting, tool.running) for tool in self._tools] == [([], {})] * len(self._tools)
        assert (self.local, self.remote) == (0, 0)

    def recipe_starts(self, tool: Tool, kind: str) -> TaskId:
        task = TaskId(next(self._numbers))
        self._kind[task], self._tool[task] = kind, tool
        self._one_more_local()
        self._at(0.2 if kind == "l" else 0.01, "ends" if kind == "l" else "registers", task)
        return task

    def _one_more_local(self) -> None:
        self.local += 1
        self.most_local = max(self.most_local, self.local)

    def _at(self, delay: float, what: str, task: TaskId) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), what, task))

    def _obey(self, decision: Outcome) -> None:
        self.free += decision.issue
        self.owed = decision.withdraw
        if decision.wake_at is not None:
            self._at(max(0.0, decision.wake_at - self.now), "tick", TaskId(-1))
        for task in decision.release:
            self.remote -= 1
            if self._kind[task] == "x":
                self._one_more_local()
                self._at(0.1, "ends", task)
            else:
                self._tool[task].recipe_ended(task)
        for tool in self._tools:
            tool.start()

    def _withdraw(self) -> None:
        while taken := min(self.owed, self.free):
            self.free -= taken
            self._obey(self.bench.withdraw(taken, self.now))


SHAPES = {
    "remotes first": "r" * 300 + "l" * 100,
    "locals first": "l" * 100 + "r" * 300,
    "a link after each three": "rrrl" * 100,
    "locals only": "l" * 60,
    "remotes only": "r" * 300,
    "recipes that go on here": "x" * 100,
    "all kinds": "rxlr" * 60,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keeps_implicit", [True, False], ids=["make", "ninja"])
@pytest.mark.parametrize("tools", [1, 2])
@pytest.mark.parametrize(("local", "probing"), [(1, 1), (4, 4), (4, 8)])
def test_unseen_work_is_bounded_and_the_build_ends(
    shape: str, keeps_implicit: bool, tools: int, local: int, probing: int
) -> None:
    build = Build(SHAPES[shape], Limits(local, probing), 200, tools, keeps_implicit)
    build.run()
    assert build.most_local <= max(probing, tools + 1)
    assert build.bench.held == ()


def test_without_the_governor_it_would_not_be_bounded() -> None:
    """The model is as bad as a real make: with a very high limit, local recipes end up with nearly all tokens."""
    build = Build(SHAPES["remotes first"], Limits(200, 200), width=200)
    build.run()
    assert build.most_local > 90


def test_remote_work_becomes_as_wide_as_the_build() -> None:
    build = Build(SHAPES["remotes first"], Limits(4, 4), width=200)
    build.run()
    assert build.most_remote >= 196


def test_probing_brings_the_cluster_back_to_work_sooner() -> None:
    strict, probing = (Build(SHAPES["remotes first"], Limits(4, limit), width=200) for limit in (4, 8))
    strict.run()
    probing.run()
    assert probing.now < 0.75 * strict.now


class Anything(RuleBasedStateMachine):
    """Recipes that start, register, end and die in any order, while the server takes tokens out at any time or never."""

    L, L_MAX, WIDTH = 3, 5, 12

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(Limits(self.L, self.L_MAX), self.WIDTH)
        self.local = self.L
        self.now = 0.0
        self.tokens = 0
        self.clients = 0
        #: implicit slots that no recipe uses
        self.idle = 0
        self.free = 0
        self.owed = 0
        self.live: dict[TaskId, int] = {}
        self.asked: dict[TaskId, int] = {}
        self.answered: set[TaskId] = set()
        self.unseen_recipes = 0
        self.numbers = itertools.count()
        self.obey(self.bench.tell(ToolStarted()), clients=1)

    def obey(self, decision: Outcome, clients: int = 0) -> None:
        self.clients += clients
        self.idle += clients
        self.free += decision.issue
        self.tokens += decision.issue
        self.owed = decision.withdraw
        assert not (decision.issue and decision.withdraw)
        for task in decision.release:
            recipe = self.asked.pop(task)
            assert task not in self.answered
            self.answered.add(task)
            self.recipe_goes_on(recipe)

    def recipe_goes_on(self, recipe: int) -> None:
        """A runner of the recipe has ended: without another runner the recipe is unseen again."""
        if recipe not in self.live.values() and recipe not in self.asked.values():
            self.unseen_recipes += 1

    @precondition(lambda self: self.free or self.idle)
    @rule(prefer_implicit=st.booleans())
    def recipe_starts(self, prefer_implicit: bool) -> None:
        if self.idle and (prefer_implicit or not self.free):
            self.idle -= 1
        else:
            self.free -= 1
        self.unseen_recipes += 1

    @precondition(lambda self: self.unseen_recipes)
    @rule(prefer_implicit=st.booleans())
    def recipe_ends(self, prefer_implicit: bool) -> None:
        self.unseen_recipes -= 1
        if self.idle < self.clients and (prefer_implicit or self.free == self.tokens):
            self.idle += 1
        else:
            self.free += 1

    @precondition(lambda self: self.clients < 3)
    @rule()
    def another_client_joins(self) -> None:
        self.obey(self.bench.tell(ToolStarted(), self.now), clients=1)

    @precondition(lambda self: self.unseen_recipes)
    @rule()
    def runner_registers(self) -> None:
        self.unseen_recipes -= 1
        task = TaskId(next(self.numbers))
        self.live[task] = task
        self.obey(self.bench.tell(RunnerRegistered(task, task), self.now))

    @precondition(lambda self: self.live or self.asked)
    @rule(data=st.data())
    def sibling_registers(self, data: st.DataObject) -> None:
        recipe = data.draw(st.sampled_from(sorted({*self.live.values(), *self.asked.values()})))
        task = TaskId(next(self.numbers))
        self.live[task] = recipe
        self.obey(self.bench.tell(RunnerRegistered(task, recipe), self.now))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def task_is_done(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.live)))
        self.asked[task] = self.live.pop(task)
        self.obey(self.bench.tell(TaskDone(task), self.now))

    @precondition(lambda self: self.live or self.asked)
    @rule(data=st.data())
    def runner_is_killed(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted({*self.live, *self.asked})))
        recipe = self.live.pop(task, None)
        recipe = self.asked.pop(task) if recipe is None else recipe
        self.recipe_goes_on(recipe)
        self.obey(self.bench.tell(RunnerGone(task), self.now))

    @precondition(lambda self: min(self.owed, self.free) > 0)
    @rule(data=st.data())
    def server_takes_tokens_out(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, min(self.owed, self.free)))
        self.free -= count
        self.tokens -= count
        self.obey(self.bench.withdraw(count, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.obey(self.bench.tell(Tick(), self.now))

    @rule()
    def runner_waits(self) -> None:
        held = self.bench.held
        decision = self.bench.tell(DescriptorsExhausted(), self.now)
        assert decision.release[:1] == held[:1]
        self.obey(decision)

    @rule()
    def build_stalls(self) -> None:
        self.obey(self.bench.tell(BuildStalled(), self.now))

    @precondition(lambda self: self.unseen_recipes and self.tokens > self.free)
    @rule()
    def recipe_dies_with_its_token(self) -> None:
        self.unseen_recipes -= 1
        self.tokens -= 1
        self.obey(self.bench.lose(1, self.now))

    @rule()
    def token_that_was_written_off_comes_back(self) -> None:
        self.free += 1
        self.tokens += 1
        self.obey(self.bench.find(1, self.now))

    @rule(local=st.integers(1, 5), more=st.integers(0, 3))
    def limits_change(self, local: int, more: int) -> None:
        self.local = local
        self.obey(self.bench.tell(LimitsChanged(Limits(local, local + more)), self.now))

    @rule(width=st.integers(1, 20))
    def width_changes(self, width: int) -> None:
        self.obey(self.bench.tell(WidthChanged(width), self.now))

    @invariant()
    def the_sum_is_right(self) -> None:
        assert self.bench.tokens.issued == self.tokens
        assert self.bench.unseen == self.free + self.idle + self.unseen_recipes
        assert set(self.bench.held) == set(self.asked)

    @invariant()
    def nothing_is_held_without_need(self) -> None:
        assert not self.asked or self.bench.unseen >= self.local

    def teardown(self) -> None:
        """From every state the build comes to an end: all unseen recipes end, and every completion is released."""
        for task in sorted(self.live):
            self.asked[task] = self.live.pop(task)
            self.obey(self.bench.tell(TaskDone(task), self.now))
        for _ in range(200):
            while self.unseen_recipes:
                self.recipe_ends(prefer_implicit=True)
            taken = min(self.owed, self.free)
            if not taken:
                break
            self.free -= taken
            self.tokens -= taken
            self.obey(self.bench.withdraw(taken, self.now))
        assert not self.asked


TestAnything = Anything.TestCase
