"""The scheduler in a world of runners and executors that do everything they may do, in any order.

The world does not trust the scheduler's state. It keeps its own account of each task, from events and actions only, and
rejects an action that the real server could not carry out.
"""

import dataclasses
from collections import Counter

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spraycc.model import Expectation, Placement
from spraycc.scheduler.actions import Abort, AskExecutors, Withdraw
from spraycc.scheduler.core import Scheduler
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildEnded,
    BuildLeft,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    ExecutorsUnwanted,
    MemoryMeasured,
    MemoryReported,
    Outcome,
    PolicyChanged,
    SchedulingPolicy,
    SubmissionFailed,
    TaskArrived,
    TaskGone,
    Tick,
)
from spraycc.scheduler.tasks import MEMORY_HUNGRY_BYTES
from tests.examples import examples

#: (most executors, compile slots): some have no executors, most have no compile slots
PLACES = st.tuples(st.integers(1, 5), st.just(0)) | st.tuples(st.integers(0, 5), st.integers(1, 3))
POLICIES = st.builds(
    lambda places, **others: SchedulingPolicy(max_executors=places[0], compile_slots=places[1], **others),
    places=PLACES,
    memory_bytes=st.sampled_from([0, 3 * MEMORY_HUNGRY_BYTES]),
    local_slots=st.integers(1, 3),
    light_slots=st.integers(1, 3),
    executors_are_here=st.booleans(),
    max_attempts=st.integers(1, 4),
    pending_grace_s=st.sampled_from([0.0, 5.0]),
    wait_for_cluster=st.sampled_from([False, False, True]),
    release_delay_s=st.sampled_from([0.0, 60.0]),
    fall_back_limit=st.sampled_from([0, 2, 30]),
    initial_executors=st.none() | st.integers(1, 3),
    way=st.sampled_from(["a queue", "a queue", "another"]),
)
BUILDS = st.sampled_from(["a", "b", "c", "outside"])
EXPECTATIONS = st.builds(
    Expectation,
    seconds=st.sampled_from([0.0, 1.0, 7.0]),
    late_s=st.sampled_from([None, 2.0, 2.0, 14.0]),
    memory_bytes=st.sampled_from([0, 0, MEMORY_HUNGRY_BYTES, 3 * MEMORY_HUNGRY_BYTES]),
)
#: host -> its memory; the memory of "none-said" is unknown
HOSTS = {
    "none-said": 0,
    "small": MEMORY_HUNGRY_BYTES,
    "middle": 4 * MEMORY_HUNGRY_BYTES,
    "large": 10 * MEMORY_HUNGRY_BYTES,
}
#: selects one of the things that a rule can apply to (modulo their number)
PICK = st.integers(0, 50)


@dataclasses.dataclass
class Runner:
    """The world's account of one task."""

    arrival: TaskArrived
    number: int
    #: "waits", "remote", "here" (on the submit host) or "answered"; "" once it has ended
    where: str = "waits"
    #: the task was refused or had all its attempts, by the policy of that time: it must not be dispatched again
    must_run_locally: bool = False
    #: it ran out of memory
    out_of_memory: bool = False
    attempts: int = 0
    #: the attempts that ended because the executor's host was not fit
    misfits: int = 0
    #: executors that run the task, and the time when the first of them began
    on: set = dataclasses.field(default_factory=set)
    began: float = 0.0
    #: results that the server wrote
    written: int = 0
    why: str = ""


class World(RuleBasedStateMachine):
    @initialize(policy=POLICIES, warm=st.booleans())
    def begin(self, policy, warm):
        """``warm``: executors have joined, and one task runs that may become late."""
        if warm:
            policy = dataclasses.replace(
                policy, max_executors=5, max_attempts=4, executors_are_here=False, initial_executors=None,
                compile_slots=0,
            )  # fmt: skip
        self.policy = policy
        self.scheduler = Scheduler(policy)
        self.now = 0.0
        self.runners = {}  # task -> Runner, only tasks that have not ended
        self.executors = {}  # executor -> its task, or None
        self.unfit = {}  # executor -> the needs that it is not fit for
        self.needs = {}  # task -> its needs, also for ended tasks
        self.host_of = {}  # executor -> its host
        self.holds_all = set()  # executors whose capture holds every effect
        self.second = set()  # executors that run a second attempt
        self.memory_of = {}  # task -> its expected memory
        self.releasing = set()
        self.idle_since = {}
        self.ends_at = {}  # executor -> the time when its batch job's run time is nearly over
        self.asked = 0
        self.wanted = 0  # executors that were asked for and not withdrawn since
        self.unwanted_since: float | None = 0.0  # time since when no build wants executors; None while a build does
        self.open = {}  # build -> cap
        self.left = set()  # builds whose command line is gone
        self.widths = {}
        self.told = set()
        self.given_up = set()  # builds whose tasks no longer go to executors
        self.numbers = 0
        self.builds_of = {}  # task -> its build, also for ended tasks
        self.way_changes = False  # the present event changes how executors are started
        self.unused = False  # the present event released an executor that was idle during a build
        self.failed = False  # an event failed half-way
        self.late = False  # a deadline has passed, and the scheduler has had no event since
        if warm:
            self.build_opens("a", None)
            self.tasks_arrive(
                "a", Placement.REMOTE, 1, False, Expectation(1.0, 2.0, 2 * MEMORY_HUNGRY_BYTES), True, 1, ""
            )
            for host in ("large", "large", "middle", "middle", "small"):
                self.executor_joins(host=host)

    # ---- the scheduler's side

    def send(self, event):
        self.failed = True
        self.late = False
        actions = self.scheduler.handle(event, self.now)
        for action in actions:
            getattr(self, "on_" + type(action).__name__)(action)
        self.check_demand(actions)
        self.check_unwanted()
        if not self.connected() and self.policy.max_executors:
            for runner in self.queued():
                runner.must_run_locally = runner.arrival.build in self.left
        self.scheduler.validate()
        due = self.scheduler.next_deadline()
        assert due is None or due > self.now
        self.failed = False
        return actions

    def on_Dispatch(self, action):
        runner = self.runners[action.task]
        assert runner.arrival.placement is Placement.REMOTE
        assert self.executors[action.executor] is None
        assert action.executor not in self.releasing
        assert self.now < self.ends_at[action.executor]
        assert runner.arrival.needs not in self.unfit[action.executor]
        runner.attempts += 1
        assert action.attempt == runner.attempts <= self.policy.max_attempts + runner.misfits
        if self.policy.executors_are_here:
            assert self.cpus_taken() < self.policy.max_executors + self.policy.compile_slots
        self.check_memory(runner, action.executor)
        if action.second:
            self.check_second(runner, action.executor)
            self.second.add(action.executor)
        else:
            assert runner.where == "waits"
            assert not runner.must_run_locally
            self.check_order(runner, self.unfit[action.executor])
            runner.began = self.now
        self.executors[action.executor] = action.task
        runner.on.add(action.executor)
        runner.where = "remote"

    def check_memory(self, runner, executor):
        """On a host with other tasks, a memory-hungry task has room, as far as the memory is known."""
        host = self.host_of[executor]
        mine = runner.arrival.expected.memory_bytes
        others = [self.memory_of[t] for e, t in self.executors.items() if t is not None and self.host_of[e] == host]
        if mine >= MEMORY_HUNGRY_BYTES and HOSTS[host] and others:
            assert mine + sum(others) <= HOSTS[host]

    def check_second(self, runner, executor):
        """A second attempt needs a late task, a capture that holds all effects and an empty queue; few run at once."""
        assert runner.arrival.may_run_twice
        assert runner.arrival.needs not in self.unfit[executor]
        # On a host that is known to be slow a task is late when it would be done elsewhere.
        assert self.now >= runner.began + min(1.0, runner.arrival.expected.late_s)
        (first,) = runner.on
        assert {first, executor} <= self.holds_all
        assert len(self.second) * 10 < len(self.connected())
        assert all(r.attempts for r in self.queued())

    def check_order(self, chosen, unfit):
        """No task without an attempt was due before the chosen task: such a task may go to every fit executor."""
        busy = self.shares()
        rank = (chosen.arrival.priority, busy[chosen.arrival.build])
        for runner in self.queued():
            hungry = runner.arrival.expected.memory_bytes >= MEMORY_HUNGRY_BYTES
            if runner.attempts or runner is chosen or runner.arrival.needs in unfit or hungry:
                continue
            assert rank <= (runner.arrival.priority, busy[runner.arrival.build])
            if (runner.arrival.build, runner.arrival.priority) == (chosen.arrival.build, chosen.arrival.priority):
                order = [(-r.arrival.expected.seconds, r.number) for r in (chosen, runner)]
                assert order == sorted(order) or chosen.attempts > 1

    def on_RunLocally(self, action):
        runner = self.runners[action.task]
        assert runner.where == "waits"
        placement = runner.arrival.placement
        if placement is not Placement.HERE_NOW:
            policy = self.policy
            quota = "light" if placement is Placement.HERE_LIGHT else "heavy"
            quota = "compile" if action.why in ("local", "compile-slot") else quota
            slots = {"light": policy.light_slots, "heavy": policy.local_slots, "compile": policy.compile_slots}
            assert self.here()[quota] < slots[quota]
            if policy.executors_are_here:
                assert self.cpus_taken() < policy.max_executors + policy.compile_slots
        if placement is not Placement.REMOTE:
            assert action.why == "placement"
        elif action.why == "local":
            assert not self.policy.max_executors
            assert not runner.must_run_locally
            self.check_memory_here(runner)
            self.check_order(runner, ())
        elif action.why == "compile-slot":
            assert self.policy.max_executors
            assert not runner.arrival.must_be_remote
            assert not runner.must_run_locally
            assert not runner.out_of_memory
            self.check_memory_here(runner)
            self.check_no_fit_executor_idles(runner)
        elif action.why == "no-executor":
            assert self.policy.max_executors
            assert not self.connected()
            assert runner.arrival.build not in self.left
            assert not runner.arrival.must_be_remote
            assert not self.policy.wait_for_cluster
            assert runner.arrival.build in self.told or runner.arrival.build not in self.open
        elif action.why == "unfit":
            assert self.connected()
            assert all(runner.arrival.needs in self.unfit[executor] for executor in self.connected())
            assert not runner.must_run_locally
        elif action.why == "memory":
            assert runner.out_of_memory
        elif action.why == "left":
            assert runner.arrival.build in self.left
        else:
            assert runner.must_run_locally
        runner.where, runner.why = "here", action.why

    def check_memory_here(self, runner):
        """Beside other tasks in compile slots, a memory-hungry task has room, as far as the memory is known."""
        mine, total = runner.arrival.expected.memory_bytes, self.policy.memory_bytes
        others = [r.arrival.expected.memory_bytes for r in self.in_compile_slots()]
        if mine >= MEMORY_HUNGRY_BYTES and total and others:
            assert mine + sum(others) <= total

    def check_no_fit_executor_idles(self, runner):
        """A task takes a compile slot only if no idle executor can take it at once."""
        if self.policy.executors_are_here or runner.arrival.expected.memory_bytes >= MEMORY_HUNGRY_BYTES:
            return
        idle = [e for e in self.connected() if self.executors[e] is None and self.now < self.ends_at[e]]
        assert all(runner.arrival.needs in self.unfit[executor] for executor in idle)

    def on_Abort(self, action):
        assert self.executors[action.executor] == action.task
        runner = self.runners.get(action.task)
        assert runner is None or runner.where == "answered"
        if runner is not None:
            runner.on.remove(action.executor)

    def on_AskExecutors(self, action):
        assert action.count > 0
        self.asked += action.count
        self.wanted += action.count
        assert self.asked + len(self.connected()) <= self.policy.max_executors

    def on_Release(self, action):
        assert self.executors[action.executor] is None
        assert action.executor not in self.releasing
        surplus = len(self.connected()) > self.policy.max_executors
        patience_s = max(10, self.policy.release_delay_s)
        others_idle = len(self.connected()) - len(self.busy()) > 1
        unused = self.now >= self.idle_since[action.executor] + patience_s and others_idle
        over = self.now >= self.ends_at[action.executor]
        assert not self.open or surplus or unused or over
        self.unused |= bool(self.open) and not surplus and not over
        self.releasing.add(action.executor)

    def on_Withdraw(self, action):
        """The executors may still join or be reported as failed, now or later. Other rules do that."""
        assert self.asked
        self.wanted = 0

    def check_demand(self, actions):
        """A build that releases an idle executor does not need more: all its pending requests are withdrawn."""
        kinds = [type(action) for action in actions]
        assert kinds.count(Withdraw) <= 1
        if Withdraw in kinds and AskExecutors in kinds:  # executors are started in another way from now on
            assert self.way_changes
            assert kinds.index(Withdraw) < kinds.index(AskExecutors)
        assert not (self.unused and self.wanted)
        self.unused = False

    def check_unwanted(self):
        """Requests that no build has wanted for the release delay are withdrawn, whoever is connected."""
        tasks = (r for r in self.runners.values() if r.where in ("waits", "remote") and not r.must_run_locally)
        outside = {r.arrival.build for r in tasks if r.arrival.placement is Placement.REMOTE} - self.open.keys()
        if self.open.keys() - self.left or outside - self.left:
            self.unwanted_since = None
            return
        if self.unwanted_since is None:
            self.unwanted_since = self.now
        assert not self.wanted or self.now < self.unwanted_since + self.policy.release_delay_s

    def on_SetWidth(self, action):
        assert action.width != self.widths.get(action.build)
        assert 1 <= action.width <= (self.open[action.build] or action.width)
        self.widths[action.build] = action.width

    def on_NoExecutorYet(self, action):
        assert action.build in self.open
        assert action.build not in self.told
        assert action.asked == self.asked
        self.told.add(action.build)

    def on_WaitsForRetry(self, action):
        assert self.policy.wait_for_cluster
        assert self.policy.max_executors
        assert not self.asked
        assert not self.connected()
        assert action.build in self.open.keys() - self.left
        assert any(r.where == "waits" and r.arrival.build == action.build for r in self.runners.values())
        assert action.retry_s > 0

    def on_GiveUp(self, action):
        assert action.build not in self.given_up
        assert action.fell_back > self.policy.fall_back_limit
        assert self.runners[action.task].must_run_locally or self.runners[action.task].out_of_memory
        self.given_up.add(action.build)
        for runner in self.queued():
            if runner.arrival.build == action.build:
                runner.must_run_locally = not runner.arrival.must_be_remote

    # ---- the world's account

    def connected(self):
        return self.executors.keys() - self.releasing

    def here(self):
        placed = (
            r for r in self.runners.values() if r.where == "here" and r.arrival.placement is not Placement.HERE_NOW
        )
        compiles = ("local", "compile-slot")
        return Counter(
            "compile" if r.why in compiles else "light" if r.arrival.placement is Placement.HERE_LIGHT else "heavy"
            for r in placed
        )

    def in_compile_slots(self):
        return [r for r in self.runners.values() if r.where == "here" and r.why in ("local", "compile-slot")]

    def cpus_taken(self):
        return self.here().total() + len(self.busy())

    def busy(self):
        return [executor for executor, task in self.executors.items() if task is not None]

    def queued(self):
        return [
            runner
            for runner in self.runners.values()
            if runner.where == "waits" and runner.arrival.placement is Placement.REMOTE and not runner.must_run_locally
        ]

    def busy_executors(self):
        return Counter(self.builds_of[task] for task in self.executors.values() if task is not None)

    def shares(self):
        return self.busy_executors() + Counter(r.arrival.build for r in self.in_compile_slots())

    # ---- runners

    @rule(build=BUILDS, cap=st.none() | st.integers(1, 6))
    def build_opens(self, build, cap):
        is_used = any(runner.arrival.build == build for runner in self.runners.values())
        if build != "outside" and build not in self.open and not (build in self.left and is_used):
            self.forget(build)
            self.left.discard(build)
            self.open[build] = cap
            self.widths.pop(build, None)
            self.told.discard(build)
            self.send(BuildStarted(build, cap))

    @precondition(lambda self: self.open)
    @rule(pick=PICK)
    def build_closes(self, pick):
        build = sorted(self.open)[pick % len(self.open)]
        del self.open[build]
        self.left.add(build)
        self.send(BuildEnded(build))
        # A build that is reopened before its last task has ended would still be the same build. Real ids are never reused.
        for task in [task for task, runner in self.runners.items() if runner.arrival.build == build]:
            self.gone(task)
        for executor in [e for e, task in self.executors.items() if task is not None and self.builds_of[task] == build]:
            self.end(executor, Outcome.CANCELLED)

    @precondition(lambda self: self.open.keys() - self.left)
    @rule(pick=PICK)
    def command_line_goes(self, pick):
        builds = sorted(self.open.keys() - self.left)
        self.left.add(build := builds[pick % len(builds)])
        self.send(BuildLeft(build))

    @rule(
        build=BUILDS,
        placement=st.sampled_from([Placement.REMOTE, Placement.REMOTE, *Placement]),
        priority=st.integers(0, 1),
        must=st.sampled_from([False, False, True]),
        expected=EXPECTATIONS,
        twice=st.sampled_from([True, True, False]),
        count=st.integers(1, 4),
        needs=st.sampled_from(["", "", "a compiler", "another"]),
    )
    def tasks_arrive(self, build, placement, priority, must, expected, twice, count, needs):
        for _ in range(count):
            self.numbers += 1
            arrival = TaskArrived(self.numbers, build, placement, priority, must, needs, expected, twice,
                                  build_is_over=build in self.left - self.open.keys())  # fmt: skip
            self.needs[self.numbers] = needs
            self.memory_of[self.numbers] = expected.memory_bytes
            self.builds_of[self.numbers] = build
            self.forget(build)
            self.runners[self.numbers] = Runner(
                arrival, self.numbers, must_run_locally=build in self.given_up and not must
            )
            self.send(arrival)

    def forget(self, build):
        """Forgets a closed build without tasks, so that its id can be used again."""
        left = (
            build in self.open
            or self.busy_executors()[build]
            or any(r.arrival.build == build for r in self.runners.values())
        )
        if not left:
            self.given_up.discard(build)

    def gone(self, task):
        on = self.runners.pop(task).on
        actions = self.send(TaskGone(task))
        assert {action.executor for action in actions if isinstance(action, Abort)} == on

    @precondition(lambda self: self.runners)
    @rule(pick=PICK)
    def runner_ends(self, pick):
        self.gone(sorted(self.runners)[pick % len(self.runners)])

    def came_back(self, runner, *, refused=False):
        runner.where = "waits"
        given_up = runner.arrival.build in self.given_up and not runner.arrival.must_be_remote
        runner.must_run_locally = refused or given_up or runner.attempts - runner.misfits >= self.policy.max_attempts

    # ---- executors

    @precondition(lambda self: self.asked)
    @rule(
        lasts_s=st.sampled_from([None, None, 0.0, 5.0, 70.0]),
        host=st.sampled_from(sorted(HOSTS)),
        holds_all=st.sampled_from([True, True, False]),
    )
    def executor_joins(self, lasts_s=None, host="large", holds_all=True):
        self.numbers += 1
        self.asked -= 1
        self.wanted = max(0, self.wanted - 1)
        executor = f"e{self.numbers}"
        self.executors[executor] = None
        self.idle_since[executor] = self.now
        self.ends_at[executor] = float("inf") if lasts_s is None else self.now + lasts_s
        self.unfit[executor] = set()
        self.host_of[executor] = host
        if holds_all:
            self.holds_all.add(executor)
        self.send(ExecutorJoined(executor, lasts_s, host, HOSTS[host], holds_all))

    @precondition(lambda self: self.executors)
    @rule(pick=PICK, share=st.sampled_from([0.0, 0.5, 1.0]))
    def memory_is_reported(self, pick, share):
        executor = sorted(self.executors)[pick % len(self.executors)]
        self.send(MemoryReported(executor, int(share * HOSTS[self.host_of[executor]])))

    @precondition(lambda self: self.executors)
    @rule(pick=PICK)
    def executor_is_unwanted(self, pick):
        executor = sorted(self.executors)[pick % len(self.executors)]
        self.ends_at[executor] = min(self.ends_at[executor], self.now)
        self.send(ExecutorsUnwanted((executor,)))

    def attempt_over(self, executor):
        """The runner of the executor's task, if it waits for this attempt and no other attempt is left."""
        task = self.executors[executor]
        self.second.discard(executor)
        runner = self.runners.get(task)
        if runner is None or executor not in runner.on:
            return None, False
        runner.on.remove(executor)
        return runner, not runner.on

    def lose(self, executor):
        runner, is_last = self.attempt_over(executor)
        del self.executors[executor]
        self.releasing.discard(executor)
        if is_last:
            self.came_back(runner)
        asked, late = self.asked, self.late
        self.send(ExecutorLost(executor))
        # The scheduler asks for a replacement. If all others are busy and none was pending, the build may use more.
        may_grow = not asked and len(self.busy()) == len(self.connected())
        assert self.asked <= asked + 1 or may_grow or late

    @precondition(lambda self: self.executors)
    @rule(pick=PICK)
    def executor_is_lost(self, pick):
        self.lose(sorted(self.executors)[pick % len(self.executors)])

    def end(self, executor, outcome):
        task = self.executors[executor]
        runner, is_last = self.attempt_over(executor)
        self.executors[executor] = None
        self.idle_since[executor] = self.now
        if outcome is Outcome.UNFIT:
            self.unfit[executor].add(self.needs[task])
        if runner is not None:
            runner.out_of_memory |= outcome is Outcome.OUT_OF_MEMORY
            runner.misfits += outcome is Outcome.UNFIT
            if outcome is Outcome.DONE:
                runner.where = "answered"
                runner.written += 1
                assert runner.written == 1
            elif is_last:
                self.came_back(runner, refused=outcome is Outcome.REFUSED)
        self.send(AttemptEnded(executor, task, outcome))
        assert runner is None or runner.where != "answered" or not runner.on  # the other attempt was aborted

    @precondition(lambda self: self.busy())
    @rule(pick=PICK, outcome=st.sampled_from([*Outcome, Outcome.OUT_OF_MEMORY]))
    def attempt_ends(self, pick, outcome):
        self.end(sorted(self.busy())[pick % len(self.busy())], outcome)

    @precondition(lambda self: self.executors and self.numbers)
    @rule(pick=PICK, task=PICK, outcome=st.sampled_from(Outcome))
    def an_old_end_arrives(self, pick, task, outcome):
        executor = sorted(self.executors)[pick % len(self.executors)]
        task %= self.numbers
        if self.executors[executor] != task and not self.late:
            before = self.scheduler.snapshot()
            self.send(AttemptEnded(executor, task, outcome))
            assert self.scheduler.snapshot() == before

    @precondition(lambda self: self.asked)
    @rule(count=st.integers(1, 5), retry_s=st.sampled_from([1.0, 10.0, 30.0, 60.0]))
    def submission_fails(self, count, retry_s):
        count = min(count, self.asked)
        self.asked -= count
        self.wanted = min(self.wanted, self.asked)
        self.send(SubmissionFailed(count, retry_s))

    @rule(room=st.integers(0, 3), share=st.sampled_from([None, 0.0, 0.5, 1.0]))
    def memory_is_measured(self, room, share):
        available_bytes = None if share is None else int(share * self.policy.memory_bytes)
        self.send(MemoryMeasured(room, available_bytes))

    # ---- time and settings

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 4.9, 30.0]))
    def time_passes(self, seconds):
        """The server sends its Tick in time."""
        due = self.scheduler.next_deadline()
        if due is not None and self.now + seconds >= due:
            self.now = max(self.now, due)
            self.send(Tick())
        else:
            self.now += seconds

    @precondition(lambda self: self.scheduler.next_deadline() is not None)
    @rule(seconds=st.sampled_from([0.0, 0.5, 60.0]))
    def the_tick_is_late(self, seconds):
        """Another event reaches the scheduler after the deadline, and before the Tick."""
        self.now = max(self.now, self.scheduler.next_deadline() + seconds)
        self.late = True

    @precondition(lambda self: self.scheduler.next_deadline() is not None)
    @rule()
    def deadline(self):
        due = self.scheduler.next_deadline()
        assert due is not None
        self.now = max(self.now, due)
        self.send(Tick())

    @rule(policy=POLICIES)
    def policy_changes(self, policy):
        # Earlier requests can't be taken back: the new limit applies to requests from now on.
        self.way_changes = policy.way != self.policy.way
        self.policy = policy
        for runner in self.queued():
            runner.must_run_locally = runner.attempts - runner.misfits >= policy.max_attempts
        self.send(PolicyChanged(policy))
        self.way_changes = False

    # ---- invariants

    @invariant()
    def accounts_agree(self):
        snapshot = self.scheduler.snapshot()
        total, where = snapshot["total"], Counter(runner.where for runner in self.runners.values())
        assert total["queued"] + total["waiting_here"] == where["waits"]
        assert total["remote"] == where["remote"]
        assert total["here_compile"] == len(self.in_compile_slots())
        assert total["here_heavy"] + total["here_light"] + total["here_compile"] + total["here_now"] == where["here"]
        assert total["answered"] == where["answered"]
        assert snapshot["executors"] == {
            "idle": len(self.connected()) - len(self.busy()),
            "busy": len(self.busy()),
            "asked": self.asked,
            "releasing": len(self.releasing),
        }
        assert {build: self.widths[build] for build in self.open} == {
            build: counts["width"] for build, counts in snapshot["builds"].items() if counts["open"]
        }

    # ---- the end: all executors and runners answer, so everything ends

    def drain(self, cluster_answers):
        for _ in range(50 + 20 * len(self.runners)):
            for executor in sorted(self.busy()):
                if executor in self.executors:
                    self.end(executor, Outcome.DONE)
            for task in [task for task, runner in self.runners.items() if runner.where in ("here", "answered")]:
                self.gone(task)
            for executor in sorted(self.releasing):
                self.lose(executor)
            if cluster_answers and self.asked:
                self.executor_joins()
            elif self.asked:
                self.submission_fails(self.asked, 30.0)
            if not self.runners and not self.busy():
                return
            if self.scheduler.next_deadline() is not None:
                self.deadline()
        raise AssertionError(f"these never ended: {self.runners}, {self.scheduler.snapshot()}")

    def teardown(self):
        if self.failed:
            return  # a second failure would hide the first one
        hopeless = bool(self.numbers % 2)
        if hopeless:
            for task in [task for task, runner in self.runners.items() if runner.arrival.must_be_remote]:
                self.gone(task)
            policy = dataclasses.replace(self.policy, wait_for_cluster=False)
            self.policy = policy
            self.send(PolicyChanged(policy))
            for executor in sorted(self.executors):
                self.lose(executor)
        self.drain(cluster_answers=not hopeless)
        for build in sorted(self.open):
            del self.open[build]
            self.left.add(build)
            self.send(BuildEnded(build))
        assert self.scheduler.snapshot()["builds"] == {}
        # All executors are released, also those that are still to join.
        for _ in range(100):
            if self.asked:
                self.executor_joins()
            for executor in sorted(self.releasing):
                self.lose(executor)
            if self.scheduler.next_deadline() is not None:
                self.deadline()
        assert not self.executors
        assert self.scheduler.next_deadline() is None


TestWorld = World.TestCase
#: all phases except "explain", which traces every line and would take minutes for this machine
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
TestWorld.settings = settings(max_examples=examples(300), stateful_step_count=40, phases=PHASES)
