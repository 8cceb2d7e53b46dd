"""The governor's arithmetic: tables, a make that behaves as badly as real ones, and a state machine."""

from __future__ import annotations

import heapq
import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spraycc.jobserver.governor import Decision, Governor, Limits
from spraycc.model import TaskId

A, B, C, D = (TaskId(number) for number in range(4))


def started(local: int = 2, total: int = 100, probing: int | None = None) -> Governor:
    governor = Governor(Limits(local, probing or local), total, now=0.0)
    governor.client_joined(0.0)
    return governor


def test_it_starts_with_the_local_slots_less_the_clients() -> None:
    governor = Governor(Limits(4, 4), 100, now=0.0)
    assert governor.client_joined(0.0) == Decision(issue=3)
    assert governor.unseen == 4
    assert governor.client_joined(0.0) == Decision(withdraw=1)


def test_never_wider_than_the_build() -> None:
    governor = Governor(Limits(4, 4), 3, now=0.0)
    assert governor.client_joined(0.0) == Decision(issue=2)
    assert governor.runner_registered(A, "a", 0.0) == Decision()


@pytest.mark.parametrize(("most", "issued"), [(1, 0), (3, 0), (4, 1), (None, 2)])
def test_a_build_that_stalls_gets_no_wider_than_the_user_allows(most: int | None, issued: int) -> None:
    governor = Governor(Limits(4, 4, most=most), 3, now=0.0)
    assert governor.client_joined(0.0) == Decision(issue=2)
    assert sum(governor.stalled(0.0).issue for _ in range(2)) == issued
    assert governor.issued == 2 + issued


def test_each_runner_brings_a_token() -> None:
    governor = started()
    for number in range(50):
        assert governor.runner_registered(TaskId(number), number, 0.0) == Decision(issue=1)
    assert governor.unseen == 2
    assert governor.issued == 51


def test_a_completion_is_held_until_a_free_token_is_taken_out() -> None:
    governor = started()
    governor.runner_registered(A, "a", 0.0)
    assert governor.task_done(A, 0.0) == Decision(withdraw=1)
    assert governor.held == (A,)
    assert governor.token_withdrawn(1, 0.0) == Decision(release=(A,))
    assert governor.unseen == 2


def test_a_completion_is_let_go_by_the_next_runner() -> None:
    governor = started()
    governor.runner_registered(A, "a", 0.0)
    governor.runner_registered(B, "b", 0.0)
    governor.task_done(A, 0.0)
    assert governor.runner_registered(C, "c", 0.0).release == (A,)
    # and no token was issued for it, as make has got one now
    assert governor.issued == 3


def test_a_completion_is_let_go_at_once_below_the_limit() -> None:
    governor = started(local=4, total=2)
    governor.runner_registered(A, "a", 0.0)
    assert governor.task_done(A, 0.0) == Decision(release=(A,))


def test_the_oldest_goes_first() -> None:
    governor = started()
    for task in (A, B, C):
        governor.runner_registered(task, task, 0.0)
    for task in (B, A, C):
        governor.task_done(task, 0.0)
    assert governor.held == (B, A, C)
    assert governor.token_withdrawn(2, 0.0).release == (B, A)


def test_a_runner_that_can_not_connect_takes_the_place_of_a_held_one() -> None:
    governor = started()
    for task in (A, B):
        governor.runner_registered(task, task, 0.0)
    governor.task_done(A, 0.0)
    governor.task_done(B, 0.0)
    assert governor.runner_waits(0.0).release == (A,)
    assert governor.unseen == 3
    # it has A's descriptor now: as much unseen work as before, and B stays held
    assert governor.runner_registered(C, C, 0.0).release == ()
    assert (governor.unseen, governor.held) == (2, (B,))


def test_nobody_is_held_whose_place_it_could_take() -> None:
    assert started().runner_waits(0.0) == Decision()


def test_several_runners_of_one_recipe_are_one() -> None:
    governor = started()
    assert governor.runner_registered(A, "line", 0.0) == Decision(issue=1)
    assert governor.runner_registered(B, "line", 0.0) == Decision()
    assert governor.task_done(A, 0.0) == Decision(release=(A,))
    assert governor.task_done(B, 0.0).release == ()
    # a late sibling takes the recipe over
    assert governor.runner_registered(C, "line", 0.0) == Decision(release=(B,))
    assert governor.held == ()


def test_a_runner_that_goes_is_not_answered() -> None:
    governor = started()
    governor.runner_registered(A, "a", 0.0)
    governor.task_done(A, 0.0)
    assert governor.runner_gone(A, 0.0) == Decision(withdraw=1)
    assert governor.unseen == 3
    assert governor.runner_gone(A, 0.0) == Decision(withdraw=1)


def test_when_the_last_client_has_left_everybody_is_answered() -> None:
    governor = started()
    for task in (A, B):
        governor.runner_registered(task, task, 0.0)
    for task in (A, B):
        governor.task_done(task, 0.0)
    assert governor.client_left(0.0) == Decision(withdraw=governor.issued, release=(A, B))


def test_lost_tokens_let_completions_go() -> None:
    governor = started()
    governor.runner_registered(A, "a", 0.0)
    governor.task_done(A, 0.0)
    assert governor.tokens_lost(1, 0.0).release == (A,)


def test_a_narrower_build_takes_tokens_back() -> None:
    governor = started()
    for number in range(10):
        governor.runner_registered(TaskId(number), number, 0.0)
    assert governor.set_total(5, 0.0) == Decision(withdraw=7)
    assert governor.token_withdrawn(7, 0.0) == Decision()
    assert governor.issued == 4


def test_probes_let_one_go_at_a_time_up_to_their_limit() -> None:
    governor = started(local=2, probing=4)
    for task in (A, B, C, D):
        governor.runner_registered(task, task, 0.0)
    for task in (A, B, C, D):
        assert governor.task_done(task, 1.0).wake_at == pytest.approx(1.1)
    assert governor.tick(1.05).release == ()
    first = governor.tick(1.1)
    assert first.release == (A,)
    assert first.wake_at == pytest.approx(1.2)
    assert first.wake_at is not None
    second = governor.tick(first.wake_at)
    assert second.release == (B,)
    assert second.wake_at is None  # at L_max: nothing to wake up for
    assert governor.tick(9.0).release == ()
    assert governor.unseen == 4
    # 2 beyond the limit, and 2 held
    assert second.withdraw == 4
    assert governor.token_withdrawn(1, 9.0).release == (C,)


def test_a_first_window_for_tools_that_look_late() -> None:
    governor = Governor(Limits(4, 4, first_window=16, first_window_s=1.0), 200, now=10.0)
    assert governor.client_joined(10.0) == Decision(issue=15, wake_at=11.0)
    assert governor.runner_registered(A, "a", 10.5) == Decision(issue=1, wake_at=11.0)
    assert governor.tick(11.0) == Decision(withdraw=12)


class Tool:
    """A build tool that starts its recipes in order and is always faster than the server: what it gives back it takes for its
    next recipe before anybody else can look."""

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
    """Tools on a governed pool. Times are in seconds of no clock."""

    def __init__(self, recipes: str, limits: Limits, total: int, tools: int = 1, keeps_implicit: bool = True) -> None:
        """Every tool has the ``recipes``: "r" remote (0.5 s; its runner registers after 0.01 s), "l" local and unseen (0.2 s),
        "x" remote and then 0.1 s here in the same recipe."""
        self.governor = Governor(limits, total, now=0.0)
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
            decision = self.governor.client_joined(0.0)
            self.free += decision.issue
            self.owed = decision.withdraw

    def run(self) -> None:
        """Until all recipes have ended; fails if nothing moves any more."""
        self._withdraw()
        for tool in self._tools:
            tool.start()
        while self._events:
            self.now, _, what, task = heapq.heappop(self._events)
            if what == "tick":
                self._obey(self.governor.tick(self.now))
            elif what == "registers":
                self.local -= 1
                self.remote += 1
                self.most_remote = max(self.most_remote, self.remote)
                self._at(0.5, "done", task)
                self._obey(self.governor.runner_registered(task, task, self.now))
            elif what == "done":
                self._obey(self.governor.task_done(task, self.now))
            else:
                self.local -= 1
                self._tool[task].recipe_ended(task)
            self._withdraw()
        assert [(tool.waiting, tool.running) for tool in self._tools] == [([], {})] * len(self._tools)
        assert (self.local, self.remote) == (0, 0)

    def recipe_starts(self, tool: Tool, kind: str) -> TaskId:
        task = TaskId(next(self._numbers))
        self._kind[task], self._tool[task] = kind, tool
        self._runs_here()
        self._at(0.2 if kind == "l" else 0.01, "ends" if kind == "l" else "registers", task)
        return task

    def _runs_here(self) -> None:
        self.local += 1
        self.most_local = max(self.most_local, self.local)

    def _at(self, delay: float, what: str, task: TaskId) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), what, task))

    def _obey(self, decision: Decision) -> None:
        self.free += decision.issue
        self.owed = decision.withdraw
        if decision.wake_at is not None:
            self._at(max(0.0, decision.wake_at - self.now), "tick", TaskId(-1))
        for task in decision.release:
            self.remote -= 1
            if self._kind[task] == "x":
                self._runs_here()
                self._at(0.1, "ends", task)
            else:
                self._tool[task].recipe_ended(task)
        for tool in self._tools:
            tool.start()

    def _withdraw(self) -> None:
        while taken := min(self.owed, self.free):
            self.free -= taken
            self._obey(self.governor.token_withdrawn(taken, self.now))


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
    assert build.governor.held == ()


def test_without_the_governor_it_would_not_be_bounded() -> None:
    """That the model is as bad as a real make: with the limit far up, nearly all tokens end at local recipes."""
    build = Build(SHAPES["remotes first"], Limits(200, 200), total=200)
    build.run()
    assert build.most_local > 90


def test_remote_work_becomes_as_wide_as_the_build() -> None:
    build = Build(SHAPES["remotes first"], Limits(4, 4), total=200)
    build.run()
    assert build.most_remote >= 196


def test_probing_brings_the_cluster_back_to_work_sooner() -> None:
    strict, probing = (Build(SHAPES["remotes first"], Limits(4, limit), total=200) for limit in (4, 8))
    strict.run()
    probing.run()
    assert probing.now < 0.75 * strict.now


class Anything(RuleBasedStateMachine):
    """Recipes that start, register, end and die in any order, with tokens taken out at any time or never."""

    L, L_MAX, TOTAL = 3, 5, 12

    def __init__(self) -> None:
        super().__init__()
        self.governor = Governor(Limits(self.L, self.L_MAX), self.TOTAL, now=0.0)
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
        self.obey(self.governor.client_joined(0.0), clients=1)

    def obey(self, decision: Decision, clients: int = 0) -> None:
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
        """A runner of it has ended: without another it is unseen again."""
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
        self.obey(self.governor.client_joined(self.now), clients=1)

    @precondition(lambda self: self.unseen_recipes)
    @rule()
    def runner_registers(self) -> None:
        self.unseen_recipes -= 1
        task = TaskId(next(self.numbers))
        self.live[task] = task
        self.obey(self.governor.runner_registered(task, task, self.now))

    @precondition(lambda self: self.live or self.asked)
    @rule(data=st.data())
    def sibling_registers(self, data: st.DataObject) -> None:
        recipe = data.draw(st.sampled_from(sorted({*self.live.values(), *self.asked.values()})))
        task = TaskId(next(self.numbers))
        self.live[task] = recipe
        self.obey(self.governor.runner_registered(task, recipe, self.now))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def task_is_done(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.live)))
        self.asked[task] = self.live.pop(task)
        self.obey(self.governor.task_done(task, self.now))

    @precondition(lambda self: self.live or self.asked)
    @rule(data=st.data())
    def runner_is_killed(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted({*self.live, *self.asked})))
        recipe = self.live.pop(task, None)
        recipe = self.asked.pop(task) if recipe is None else recipe
        self.recipe_goes_on(recipe)
        self.obey(self.governor.runner_gone(task, self.now))

    @precondition(lambda self: min(self.owed, self.free) > 0)
    @rule(data=st.data())
    def server_takes_tokens_out(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, min(self.owed, self.free)))
        self.free -= count
        self.tokens -= count
        self.obey(self.governor.token_withdrawn(count, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.1, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.obey(self.governor.tick(self.now))

    @rule()
    def runner_waits(self) -> None:
        held = self.governor.held
        decision = self.governor.runner_waits(self.now)
        assert decision.release[:1] == held[:1]
        self.obey(decision)

    @rule()
    def build_stalls(self) -> None:
        self.obey(self.governor.stalled(self.now))

    @precondition(lambda self: self.unseen_recipes and self.tokens > self.free)
    @rule()
    def recipe_dies_with_its_token(self) -> None:
        self.unseen_recipes -= 1
        self.tokens -= 1
        self.obey(self.governor.tokens_lost(1, self.now))

    @rule()
    def token_that_was_written_off_comes_back(self) -> None:
        self.free += 1
        self.tokens += 1
        self.obey(self.governor.tokens_found(1, self.now))

    @rule(local=st.integers(1, 5), more=st.integers(0, 3))
    def limits_change(self, local: int, more: int) -> None:
        self.local = local
        self.obey(self.governor.set_limits(Limits(local, local + more), self.now))

    @rule(total=st.integers(1, 20))
    def width_changes(self, total: int) -> None:
        self.obey(self.governor.set_total(total, self.now))

    @invariant()
    def the_sum_is_right(self) -> None:
        assert self.governor.issued == self.tokens
        assert self.governor.unseen == self.free + self.idle + self.unseen_recipes
        assert set(self.governor.held) == set(self.asked)

    @invariant()
    def nothing_is_held_without_need(self) -> None:
        assert not self.asked or self.governor.unseen >= self.local

    def teardown(self) -> None:
        """Whatever was going on, it comes to an end: all unseen recipes end, and every completion is let go."""
        for task in sorted(self.live):
            self.asked[task] = self.live.pop(task)
            self.obey(self.governor.task_done(task, self.now))
        for _ in range(200):
            while self.unseen_recipes:
                self.recipe_ends(prefer_implicit=True)
            taken = min(self.owed, self.free)
            if not taken:
                break
            self.free -= taken
            self.tokens -= taken
            self.obey(self.governor.token_withdrawn(taken, self.now))
        assert not self.asked


TestAnything = Anything.TestCase
