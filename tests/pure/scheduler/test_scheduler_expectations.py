"""A task's expected time and memory decide its order, the hosts with room for it, and when it gets a second attempt."""

import pytest

from benchmarks.scheduling import Stragglers, durations, learned, simulate
from spraycc.model import Expectation, Placement
from spraycc.scheduler.actions import Abort, Dispatch, RunLocally
from spraycc.scheduler.events import (
    AttemptEnded,
    BuildStarted,
    ExecutorJoined,
    ExecutorLost,
    MemoryReported,
    Outcome,
    TaskArrived,
    TaskGone,
    Tick,
)
from spraycc.scheduler.tasks import MEMORY_HUNGRY_BYTES

DONE, KILLED, REFUSED, CANCELLED, MEMORY = (
    Outcome.DONE, Outcome.KILLED, Outcome.REFUSED, Outcome.CANCELLED, Outcome.OUT_OF_MEMORY,
)  # fmt: skip
GIB = 1 << 30


def task(number, *, seconds=0.0, late_s=None, memory=0, twice=True, **more):
    expected = Expectation(seconds, late_s, memory)
    return TaskArrived(number, "b", Placement.REMOTE, expected=expected, may_run_twice=twice, **more)


def joined(name, host="h", memory=0, holds_all=True):
    return ExecutorJoined(name, host=host, memory_bytes=memory, holds_all=holds_all)


def dispatches(actions):
    return [(action.task, action.executor) for action in actions if isinstance(action, Dispatch)]


@pytest.fixture
def play(start):
    """A build that waits for its executors."""
    play = start(max_executors=40, wait_for_cluster=True)
    play.do(BuildStarted("b", None))
    return play


# ---- order


@pytest.mark.parametrize(
    ("seconds", "order"),
    [
        ([0, 0, 0], [0, 1, 2]),  # nothing is known: in order of arrival
        ([1, 3, 2], [1, 2, 0]),
        ([2, 0, 2, 0, 5], [4, 0, 2, 1, 3]),  # equal times in order of arrival, unknown times last
    ],
)
def test_longest_first(play, seconds, order):
    for number, value in enumerate(seconds):
        play.do(task(number, seconds=value))
    found = dispatches(play.do(joined("x")))
    for _ in range(len(seconds) - 1):
        found += dispatches(play.do(AttemptEnded("x", found[-1][0], DONE)))
    assert [number for number, _ in found] == order


def test_the_longest_waits_for_dependencies_and_for_what_came_back(play):
    play.do(task(1, seconds=1))
    assert dispatches(play.do(joined("x"))) == [(1, "x")]
    play.do(task(2, seconds=100))
    play.do(task(3, seconds=1, priority=0))
    play.do(ExecutorLost("x"))
    assert dispatches(play.do(joined("y"))) == [(3, "y")]
    assert dispatches(play.do(AttemptEnded("y", 3, DONE))) == [(1, "y")]
    assert dispatches(play.do(AttemptEnded("y", 1, DONE))) == [(2, "y")]


def test_tasks_that_go_from_the_middle_of_the_queue(play):
    for number in range(200):
        play.do(task(number, seconds=number % 17))
    for number in range(0, 200, 3):
        play.do(TaskGone(number))
    left = sorted((n for n in range(200) if n % 3), key=lambda n: (-(n % 17), n))
    found = dispatches(play.do(joined("x")))
    while len(found) < len(left):
        found += dispatches(play.do(AttemptEnded("x", found[-1][0], DONE)))
    assert [number for number, _ in found] == left


# ---- the tail


@pytest.fixture
def late(play):
    """Task 1 has run on x for 10 s and is late. It began before y joined."""
    play.do(task(1, seconds=3, late_s=10))
    assert dispatches(play.do(joined("x", "h1"), 0)) == [(1, "x")]
    play.do(joined("z", "h1"), 5)
    play.do(joined("y", "h2"), 5)
    assert play.scheduler.next_deadline() == 10
    play.at(10, Tick(), Dispatch(1, "y", 2, second=True))  # on another host, though z is idle too
    return play


def test_first_result_wins(late):
    late.at(11, AttemptEnded("y", 1, DONE), Abort("x", 1))
    late.at(12, TaskGone(1))
    late.at(13, AttemptEnded("x", 1, CANCELLED))
    assert late.scheduler.snapshot()["executors"] == {"idle": 3, "busy": 0, "asked": 37, "releasing": 0}


def test_the_first_attempt_may_win_too(late):
    late.at(11, AttemptEnded("x", 1, DONE), Abort("y", 1))
    late.do(ExecutorLost("y"), 12)
    late.do(TaskGone(1), 13)
    assert late.scheduler.snapshot()["executors"]["busy"] == 0


@pytest.mark.parametrize(("winner", "loser", "late_after"), [("y", "x", 10), ("x", "y", 20)])
def test_a_second_attempt_that_loses_makes_the_next_one_wait(late, winner, loser, late_after):
    late.at(11, AttemptEnded(winner, 1, DONE), Abort(loser, 1))
    late.at(11, AttemptEnded(loser, 1, CANCELLED))
    late.do(TaskGone(1), 11)
    late.do(task(2, seconds=3, late_s=10), 12)
    began = late.now
    while not dispatches(late.do(Tick(), late.scheduler.next_deadline())):
        assert late.now < began + 100
    assert late.now == pytest.approx(began + late_after, abs=2)


def test_a_result_that_crosses_the_abort_is_nothing(late):
    late.at(11, AttemptEnded("y", 1, DONE), Abort("x", 1))
    late.at(11, AttemptEnded("x", 1, DONE))


@pytest.mark.parametrize("outcome", [KILLED, REFUSED, CANCELLED, MEMORY])
def test_one_attempt_that_fails_leaves_the_other(late, outcome):
    late.at(11, AttemptEnded("x", 1, outcome))
    late.at(12, AttemptEnded("y", 1, DONE))
    assert late.scheduler.snapshot()["total"]["answered"] == 1


def test_both_attempts_fail(late):
    late.do(ExecutorLost("x"), 11)
    late.at(12, AttemptEnded("y", 1, KILLED), Dispatch(1, "z", 3))
    late.at(13, AttemptEnded("z", 1, KILLED), RunLocally(1, "attempts"))


def test_the_last_attempts_end_decides(late):
    late.at(11, AttemptEnded("x", 1, KILLED))
    late.at(12, AttemptEnded("y", 1, REFUSED), RunLocally(1, "refused"))


def test_the_runner_dies_while_two_work_for_it(late):
    late.at(11, TaskGone(1), Abort("x", 1), Abort("y", 1))
    late.at(12, AttemptEnded("y", 1, CANCELLED))
    late.at(12, AttemptEnded("x", 1, DONE))
    assert late.scheduler.snapshot()["executors"]["busy"] == 0


def test_there_is_no_third(late):
    late.do(joined("w", "h3"), 11)
    assert dispatches(late.do(Tick(), 1000)) == []


@pytest.mark.parametrize(
    ("arrival", "first", "idle"),
    [
        (task(1, seconds=3, late_s=10, twice=False), joined("x"), joined("y")),
        (task(1, seconds=3, late_s=None), joined("x"), joined("y")),
        (task(1, seconds=3, late_s=10), joined("x", holds_all=False), joined("y")),
        (task(1, seconds=3, late_s=10), joined("x"), joined("y", holds_all=False)),
        (task(1, seconds=3, late_s=10, memory=2 * GIB), joined("x", "h", 3 * GIB), joined("y", "h", 3 * GIB)),
    ],
    ids=["may not", "unknown", "first capture", "second capture", "memory"],
)
def test_no_second_attempt(play, arrival, first, idle):
    play.do(arrival)
    play.do(first, 0)
    play.do(idle, 5)
    assert dispatches(play.do(Tick(), 100)) == []


def test_no_second_attempt_while_others_wait(play):
    play.do(task(1, seconds=3, late_s=10))
    play.do(joined("x", "h1"), 0)
    play.do(task(2), 1)
    assert dispatches(play.do(joined("y", "h2"), 20)) == [(2, "y")]
    assert dispatches(play.do(AttemptEnded("y", 2, DONE), 21)) == [(1, "y")]


def test_few_second_attempts_at_once(play):
    for number in range(20):
        play.do(task(number, seconds=3, late_s=10))
        play.do(joined(f"x{number}", "h1"), 0)
    for number in range(20):
        play.do(joined(f"y{number}", "h2"), 1)
    assert len(dispatches(play.do(Tick(), 10))) == 4  # of forty executors


def second_at(play):
    """When the scheduler begins a second attempt, and on which executor."""
    until = play.now + 1000
    while (due := play.scheduler.next_deadline()) is not None and due <= until:
        if found := [action for action in play.do(Tick(), due) if isinstance(action, Dispatch) and action.second]:
            return play.now, found[0].executor
    raise AssertionError("no second attempt")


def test_on_the_same_host_only_an_attempt_that_surely_hangs_gets_a_second(play):
    play.do(task(1, seconds=3, late_s=10))
    play.do(joined("x", "h1"), 0)
    play.do(joined("y", "h1"), 1)
    assert second_at(play) == (pytest.approx(40, abs=5), "y")


def run_before(play, host, seconds, *, count=12, expected_s=3.0):
    """Tasks have run on an executor of this host, each for this time."""
    name = f"{host}-before"
    play.do(joined(name, host))
    for number in range(1000, 1000 + count):
        assert dispatches(play.do(task(number, seconds=expected_s, late_s=100.0, twice=False))) == [(number, name)]
        play.do(AttemptEnded(name, number, DONE), play.now + seconds)
        play.do(TaskGone(number))
    play.do(ExecutorLost(name))


def test_if_all_hosts_are_slow_alike_a_task_is_late_later(play):
    for host in ("h1", "h2"):
        run_before(play, host, 9.0)
    began = play.now
    play.do(joined("x", "h1"))
    play.do(task(1, seconds=3, late_s=10))
    play.do(joined("y", "h2"))
    late_at, _ = second_at(play)
    assert late_at > began + 10 + 5


def test_on_a_host_that_is_known_to_be_slow_a_second_attempt_begins_soon(play):
    """Another host would be done by then, and the rest is long."""
    run_before(play, "h2", 3.0, count=40)
    run_before(play, "h1", 30.0)
    run_before(play, "h2", 3.0, count=40)
    began = play.now
    play.do(joined("x", "h1"))
    play.do(task(1, seconds=3, late_s=10))
    play.do(joined("y", "h2"))
    late_at, executor = second_at(play)
    assert executor == "y"
    assert late_at < began + 8


def test_a_slow_host_gets_no_second_attempt_from_a_slower_one(play):
    run_before(play, "h2", 3.0, count=40)
    run_before(play, "slower", 60.0)
    run_before(play, "h2", 3.0, count=40)
    play.do(joined("x", "h2"))
    play.do(task(1, seconds=3, late_s=10))
    play.do(joined("y", "slower"))
    began = play.now
    late_at, _ = second_at(play)
    assert late_at > began + 30


# ---- memory


def test_no_second_memory_hungry_unit_where_there_is_no_room(play):
    """Other units overtake the waiting memory-hungry unit. It gets the host when the first memory-hungry unit is done."""
    for name in ("x", "y", "z"):
        play.do(joined(name, "h", 8 * GIB))
    assert dispatches(play.do(task(1, seconds=9, memory=5 * GIB))) == [(1, "z")]
    assert dispatches(play.do(task(2, seconds=8, memory=5 * GIB))) == []
    assert dispatches(play.do(task(3, seconds=7, memory=5 * GIB))) == []
    assert dispatches(play.do(task(4, seconds=1))) == [(4, "y")]
    assert dispatches(play.do(AttemptEnded("z", 1, DONE))) == [(2, "z")]
    assert dispatches(play.do(joined("w", "other", 8 * GIB))) == [(3, "w")]


@pytest.mark.parametrize(
    ("memory", "total", "reported", "goes"),
    [
        (MEMORY_HUNGRY_BYTES - 1, GIB, None, True),  # not memory-hungry: the scheduler does not check
        (3 * GIB, 8 * GIB, None, True),
        (4 * GIB, 8 * GIB, None, False),  # 4 + 3.5 of 7.2
        (4 * GIB, 0, None, True),  # the host's memory is unknown
        (3 * GIB, 8 * GIB, 2 * GIB, False),  # other programs use the memory
        (3 * GIB, 8 * GIB, 3 * GIB, True),
    ],
)
def test_room(play, memory, total, reported, goes):
    play.do(joined("x", "h", total))
    play.do(joined("y", "h", total))
    play.do(task(1, memory=7 * GIB // 2))
    if reported is not None:
        play.do(MemoryReported("x", reported))
    assert bool(dispatches(play.do(task(2, memory=memory)))) is goes


def test_an_empty_host_takes_everything(play):
    play.do(joined("x", "h", GIB))
    play.do(MemoryReported("x", 1000))
    assert dispatches(play.do(task(1, memory=50 * GIB))) == [(1, "x")]


def test_out_of_memory_goes_where_there_is_more_and_then_here(play):
    play.do(joined("large", "l", 32 * GIB))
    play.do(joined("small", "s", 4 * GIB))
    assert dispatches(play.do(task(1))) == [(1, "small")]
    play.do(joined("small2", "s2", 4 * GIB))
    assert dispatches(play.do(AttemptEnded("small", 1, MEMORY))) == [(1, "large")]
    assert RunLocally(1, "memory") in play.do(AttemptEnded("large", 1, MEMORY))


def test_the_only_host_with_enough_memory_is_lost(play):
    play.do(joined("large", "l", 32 * GIB))
    play.do(task(1))
    play.do(joined("small", "s", 4 * GIB))
    play.do(task(2, memory=20 * GIB))
    assert dispatches(play.do(AttemptEnded("small", 2, MEMORY))) == []  # the task waits until the large host is empty
    assert RunLocally(2, "memory") in play.do(ExecutorLost("large"))


# ---- whole builds, on a virtual clock


def test_fill():
    """4,000 units of a C++ project: with known times the build is as short as possible."""
    seconds = durations(4000)
    known = learned(seconds)
    for executors, target in ((80, 1.05), (200, 1.08)):
        in_order = simulate(seconds, executors).over_bound
        longest_first = simulate(seconds, executors, known).over_bound
        assert longest_first <= target < in_order


def test_the_tail_of_a_build_with_stragglers():
    seconds = durations(2000)
    known = learned(seconds)
    slow = Stragglers(0.002, 20.0)
    once = simulate(seconds, 100, known, stragglers=slow, may_run_twice=False)
    twice = simulate(seconds, 100, known, stragglers=slow)
    assert twice.makespan_s < 0.8 * once.makespan_s
    assert 0 < twice.second_won <= twice.second < 20


ALL_HOSTS_SLOW = {"three times": lambda host, now: 3.0, "from 30 s on": lambda host, now: 3.0 if now > 30 else 1.0}


@pytest.mark.parametrize("slowness", ALL_HOSTS_SLOW.values(), ids=ALL_HOSTS_SLOW)
@pytest.mark.parametrize("window", [None, 100])
def test_few_second_attempts_if_all_hosts_are_slow_alike(slowness, window):
    seconds = durations(2000)
    result = simulate(seconds, 100, learned(seconds), window=window, slowness=slowness)
    assert result.second <= 2  # 5 to 18 without the model, and none of them won


def test_few_second_attempts_if_durations_vary_a_lot():
    """As on hosts that others use, too."""
    seconds = durations(300)
    known = learned(seconds)
    results = [simulate(seconds, 20, known, window=20, noise=0.7, seed=seed, per_host=4) for seed in range(8)]
    assert sum(result.second for result in results) <= 16  # of 2,400 tasks; 40 to 50 without the model


def test_tasks_on_one_very_slow_host_run_elsewhere_again():
    seconds = durations(300)
    known = learned(seconds)

    def run(twice):
        return simulate(
            seconds, 20, known, slowness=lambda host, now: 10.0 if host == 0 else 1.0, may_run_twice=twice, per_host=4
        )

    once, twice = run(False), run(True)
    assert twice.makespan_s < 0.5 * once.makespan_s
    assert twice.second_won >= 0.8 * twice.second > 0
