"""A build's jobserver on a real FIFO and the virtual clock: when each runner is answered, and how many tokens are issued.

The test plays make: it takes tokens out of the FIFO and writes them back. A table stands for the host's processes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.build_tools import RECIPE_STARTERS
from spraycc.jobserver.events import Event, Limits, TaskDone
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.governor import Decision, Governor
from spraycc.model import BuildId, TaskId
from spraycc.server.builds import token_pool as pool_module
from spraycc.server.builds.token_pool import TokenPool
from spraycc.server.builds.token_watch import MOST_ROUNDS, SAMPLE_S, SAMPLES, STALLED_S, STUCK_S
from spraycc.server.host import process_tree
from spraycc.server.host.process_end import HostProcesses
from spraycc.server.host.process_tree import Process, Recipe

#: The build's tool.
TOP = 100
#: A round of samples.
ROUND_S = SAMPLES * SAMPLE_S
PROBING = Limits(local=2, probing=4)
STRICT = Limits(local=2, probing=2)


class TableOfProcesses(HostProcesses):
    """The processes that the test has added. The real code finds recipes among them."""

    def __init__(self) -> None:
        self.processes: dict[int, Process] = {}
        #: when all processes were read
        self.read_at: list[float] = []
        self.lookups = 0
        self.error: OSError | None = None
        #: CPU time that each process uses in a second, in clock ticks
        self.ticks_a_second = 0.0
        self._ended: dict[int, trio.Event] = {}

    def add(self, pid: int, parent: int, name: bytes = b"sh", *, state: str = "S") -> int:
        """Adds a process that has started; returns its process id."""
        self.processes[pid] = Process(pid, parent, name, state, 1, 0, pid, name.decode() in RECIPE_STARTERS)
        return pid

    def end(self, *pids: int) -> None:
        """These processes have ended, and their parents have waited for them."""
        for pid in pids:
            del self.processes[pid]
            if pid in self._ended:
                self._ended.pop(pid).set()

    def recipe_of(self, runner: int, top: int) -> Recipe:
        self.lookups += 1
        return process_tree.recipe_of(runner, top, self.processes.get)

    def top_tool(self, tool: int, top: int) -> int:
        return process_tree.top_tool(tool, top, self.processes.get)

    async def read_all(self) -> dict[int, Process]:
        await trio.lowlevel.checkpoint()
        self.read_at.append(trio.current_time())
        if self.error is not None:
            raise self.error
        ticks = int(trio.current_time() * self.ticks_a_second)
        return {pid: replace(process, ticks=ticks) for pid, process in self.processes.items()}

    async def wait_ended(self, pid: int) -> None:
        if pid in self.processes:
            await self._ended.setdefault(pid, trio.Event()).wait()


class Build:
    """A build with its pool, and the make that uses it."""

    def __init__(self, pool: TokenPool, fifo: JobserverFifo, host: TableOfProcesses) -> None:
        self.pool = pool
        self.fifo = fifo
        self.host = host
        self.path = fifo.path
        #: make's own descriptor of the FIFO
        self._tool = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        #: (task, when), in the order in which runners were answered
        self.answered: list[tuple[int, float]] = []
        #: tokens that make and its recipes have
        self.taken = 0

    # -- as make does

    def take(self, most: int = 1000) -> int:
        """Take free tokens; return their number."""
        if not most:
            return 0
        with suppress(BlockingIOError):
            count = len(os.read(self._tool, most))
            self.taken += count
            return count
        return 0

    def give(self, count: int = 1) -> None:
        """Write tokens back."""
        assert count <= self.taken
        self.taken -= count
        os.write(self._tool, b"+" * count)

    def lose(self, count: int) -> None:
        """The holders of ``count`` tokens are killed."""
        assert count <= self.taken
        self.taken -= count

    def close_tool(self) -> None:
        """No process of the build has the FIFO open any more."""
        os.close(self._tool)
        self._tool = -1

    # -- as runners do

    def run_task(self, task: int, recipe: int | None = None, *, parent: int = TOP, foreign: bool = False) -> None:
        """A recipe's runner registers. Without ``recipe`` it is a new recipe, with a token that make takes for it."""
        if recipe is None:
            recipe = self.host.add(1000 + task, parent)
        runner = self.host.add(2000 + task, recipe, b"spraycc-run")
        self.pool.runner_registered(TaskId(task), runner, foreign)

    def run_remote(self, *tasks: int) -> None:
        """make takes a token for each and starts a recipe, whose runner registers."""
        for task in tasks:
            assert self.take(1) == 1, f"no token for task {task}"
            self.run_task(task)

    def run_unseen(self, *pids: int, state: str = "S") -> None:
        """make starts recipes without a runner: the first one on its own slot, the others on tokens."""
        assert self.take(len(pids) - 1) == len(pids) - 1
        for pid in pids:
            self.host.add(pid, TOP, b"cc1", state=state)

    def finish(self, *tasks: int) -> None:
        """The results of these tasks arrive."""
        for task in tasks:
            self.pool.finish(TaskId(task), lambda task=task: self._answer(task))  # type: ignore[misc]

    def _answer(self, task: int) -> None:
        self.answered.append((task, trio.current_time()))

    @property
    def tasks_answered(self) -> list[int]:
        return [task for task, _ in self.answered]

    def check_account(self) -> None:
        """Checks that make has each issued token that is not free, and that the governor's count agrees with the FIFO."""
        status = self.pool.status()
        assert status["issued"] == status["free"] + self.taken
        assert status["held"] == self.taken
        assert status["held"] + status["clients"] == status["recipes"] + status["unaccounted"]


@asynccontextmanager
async def building(
    tmp_path: Path,
    limits: Limits = STRICT,
    width: int = 10,
    *,
    starts_recipes: bool = True,
    fixed: bool = False,
) -> AsyncIterator[Build]:
    """An open build whose tool is a make, or a script."""
    host = TableOfProcesses()
    fifo = JobserverFifo.create(os.fsencode(tmp_path / "fifo"))
    pool = TokenPool(BuildId("b"), fifo, limits, width, starts_recipes=starts_recipes, fixed=fixed, host=host)
    build = Build(pool, fifo, host)
    host.add(TOP, 1, b"make" if starts_recipes else b"sh")
    pool.tool_started(TOP)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run)
            yield build
            pool.close()  # this ends run()
    finally:
        pool.close()
        if build._tool >= 0:
            build.close_tool()


async def settle() -> None:
    """Waits until the pool has done everything that it can do now."""
    await trio.testing.wait_all_tasks_blocked()


# -- how many tokens there are


async def test_it_begins_with_this_hosts_slots_the_tools_own_included(tmp_path: Path) -> None:
    async with building(tmp_path, Limits(4, 8)) as build:
        assert build.take() == 3
        build.check_account()


async def test_a_registered_runner_brings_a_token_up_to_the_width(tmp_path: Path) -> None:
    async with building(tmp_path, STRICT, width=5) as build:
        free = []
        for task in range(1, 5):
            build.run_remote(task)
            free.append(build.pool.free())
        # make's own slot and four tokens are the width of five.
        assert free == [1, 1, 1, 0]
        assert build.pool.issued == 4
        build.check_account()


async def test_a_wider_build_gets_tokens_at_once_and_a_narrower_one_pays_as_they_come_back(tmp_path: Path) -> None:
    async with building(tmp_path, STRICT, width=2) as build:
        build.run_remote(1)
        assert build.pool.issued == 1
        build.pool.set_width(4)
        assert build.pool.free() == 1
        build.run_remote(2)
        build.run_remote(3)
        assert build.pool.issued == 3
        build.pool.set_width(2)
        build.pool.set_width(2)  # which changes nothing
        await settle()
        assert build.pool.issued == 3
        for left in (2, 1, 1):
            build.give()
            await settle()
            assert build.pool.issued == left
        assert build.pool.free() == 1
        build.check_account()


async def test_a_width_of_nothing_is_the_tools_own_slot(tmp_path: Path) -> None:
    async with building(tmp_path, STRICT) as build:
        build.pool.set_width(0)
        assert build.pool.issued == 0


async def test_more_room_on_this_host_lets_more_unseen_recipes_run(tmp_path: Path) -> None:
    async with building(tmp_path, STRICT) as build:
        build.pool.set_limits(local=4, probing=4)
        assert build.take() == 3
        build.pool.set_limits(local=2, probing=2)
        build.give(3)
        await settle()
        assert build.pool.free() == 1
        build.check_account()


async def test_a_fixed_pool_keeps_its_tokens_and_holds_nobody(tmp_path: Path) -> None:
    async with building(tmp_path, Limits(4, 4), width=4, fixed=True) as build:
        assert build.take() == 3
        build.pool.set_width(100)
        build.pool.set_limits(1, 1)
        build.run_task(1)
        build.run_task(2)
        build.finish(1, 2)
        await settle()
        assert not build.pool.holds
        assert build.tasks_answered == [1, 2]
        assert build.pool.issued == 3
        # All recipes may run unseen, so the server need not know which process belongs to which recipe.
        assert build.host.lookups == 0


async def test_a_ninja_begins_with_a_wide_window_for_a_second(tmp_path: Path) -> None:
    limits = Limits(2, 4, first_window=8, first_window_s=1.0)
    async with building(tmp_path, limits, width=20) as build:
        assert build.pool.free() == 7
        await trio.sleep(0.99)
        assert build.pool.free() == 7
        await trio.sleep(0.02)
        assert build.pool.free() == 1


# -- completions that are held


async def test_a_completion_is_answered_at_once_where_a_token_is_free(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1)
        assert build.pool.free() == 1
        build.finish(1)
        assert build.tasks_answered == [1]
        # The pool takes the free token out instead. make takes the token that it gives back for its next recipe.
        assert build.pool.free() == 0
        build.check_account()


async def test_a_completion_is_held_until_a_token_is_seen_free(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1, 2)
        build.run_unseen(500, 501)  # the limit of unseen recipes
        build.finish(1, 2)
        assert build.pool.held == 2
        assert build.pool.status()["completions_held"] == 2
        await trio.sleep(STALLED_S - 1)
        assert build.answered == []
        build.host.end(501)
        build.give()
        await settle()
        assert build.answered == [(1, STALLED_S - 1)]
        assert build.pool.free() == 0
        build.give()
        await settle()
        assert build.tasks_answered == [1, 2]
        assert build.pool.status()["completions_held_in_all"] == 2
        build.check_account()


async def test_probes_let_held_completions_go_one_by_one_up_to_the_limit(tmp_path: Path) -> None:
    async with building(tmp_path, PROBING) as build:
        build.run_remote(1, 2, 3)
        build.run_unseen(500, 501)
        await trio.sleep(1)
        build.finish(1, 2, 3)
        await trio.sleep(5)
        # Unseen recipes: 2 at the beginning, 3 and 4 after the probes.
        assert build.tasks_answered == [1, 2]
        assert [when for _, when in build.answered] == pytest.approx([1.1, 1.2])
        assert build.pool.held == 1
        build.check_account()


async def test_only_the_last_runner_of_a_recipe_is_held(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.take(1)
        recipe = build.host.add(500, TOP)
        build.run_task(1, recipe)
        build.run_task(2, recipe)
        build.take()
        assert build.pool.status()["recipes"] == 1
        build.finish(2)
        assert build.tasks_answered == [2]
        build.finish(1)
        assert build.tasks_answered == [2]
        # A late sibling counts in the place of the first runner.
        build.run_task(3, recipe)
        assert build.tasks_answered == [2, 1]
        build.check_account()


async def test_a_runner_that_goes_while_it_is_held_is_not_answered_any_more(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1, 2)
        build.take()
        build.finish(1, 2)
        build.pool.runner_gone(TaskId(1))
        build.give(2)
        await settle()
        assert build.tasks_answered == [2]
        build.finish(1)  # its result comes too late, and nothing is held for it
        assert build.tasks_answered == [2, 1]
        build.check_account()


async def test_a_runner_without_a_descriptor_has_the_oldest_held_one_let_go(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1, 2)
        build.take()
        build.finish(1, 2)
        build.pool.release_one()
        assert build.tasks_answered == [1]


async def test_at_the_close_all_are_answered_and_the_fifo_is_gone(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1, 2)
        build.take()
        build.finish(1, 2)
        build.pool.close()
        assert build.tasks_answered == [1, 2]
        assert not os.path.exists(build.path)
        # Later events cause no error, and the pool writes nothing.
        build.pool.runner_gone(TaskId(1))
        build.pool.set_width(50)
        build.pool.close()
        assert build.pool.free() == 0


# -- processes and recipes


async def test_all_runners_of_a_make_with_a_jobserver_of_its_own_share_one_slot(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.take(1)
        make = build.host.add(300, build.host.add(299, TOP), b"make")
        for task in (1, 2, 3):
            build.run_task(task, parent=make, foreign=True)
        assert build.pool.status()["recipes"] == 1
        build.run_task(4, parent=make)
        assert build.pool.status()["recipes"] == 2


async def test_whose_jobserver_a_makeflags_names_is_found_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def is_foreign(makeflags: bytes, path: bytes) -> bool:
        asked.append(makeflags)
        return b"3,4" in makeflags

    monkeypatch.setattr(pool_module, "is_foreign", is_foreign)
    async with building(tmp_path) as build:
        assert build.pool.is_foreign(b"-j --jobserver-auth=3,4")
        assert build.pool.is_foreign(b"-j --jobserver-auth=3,4")
        assert not build.pool.is_foreign(b"")
        assert asked == [b"-j --jobserver-auth=3,4", b""]
        for number in range(1000):  # a build with a new MAKEFLAGS for each runner must not fill the memory
            build.pool.is_foreign(b"%d" % number)
        assert build.pool.is_foreign.cache_info().currsize <= 1000


async def test_a_make_that_was_reset_is_told_from_ours(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        assert not build.pool.is_foreign(b" -j --jobserver-auth=fifo:" + build.path)
        assert build.pool.is_foreign(b" -j --jobserver-auth=fifo:/tmp/GMfifo1")


async def test_each_make_of_a_script_beyond_the_first_counts_until_it_ends(tmp_path: Path) -> None:
    async with building(tmp_path, starts_recipes=False) as build:
        first = build.host.add(300, TOP, b"make")
        second = build.host.add(400, TOP, b"make")
        below = build.host.add(410, build.host.add(409, second), b"make")
        await settle()
        build.run_task(1, parent=first)
        assert build.pool.status()["clients"] == 1
        build.run_task(2, parent=below)  # the uppermost make counts
        assert build.pool.status()["clients"] == 2
        build.run_task(3, parent=second)
        assert build.pool.status()["clients"] == 2
        # Two makes of their own slots, and one recipe more.
        assert build.pool.status()["limit"] == 3
        await settle()
        build.host.end(second)
        await settle()
        assert build.pool.status()["clients"] == 1
        # After the last make ends, the script may start another make, which takes its place.
        build.host.end(first)
        await settle()
        assert build.pool.status()["clients"] == 1
        third = build.host.add(500, TOP, b"make")
        build.run_task(4, parent=third)
        assert build.pool.status()["clients"] == 1


# -- tokens that die with their holders


async def test_lost_tokens_are_replaced_after_two_looks_at_the_processes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1)
        build.pool.finish(TaskId(1), lambda: None)
        build.pool.runner_gone(TaskId(1))
        build.host.end(1001, 2001)
        assert build.taken == build.pool.issued == 1
        build.lose(1)
        await trio.sleep(2 * ROUND_S - 0.01)
        assert build.pool.free() == 0
        assert build.pool.lost == 0
        await trio.sleep(0.02)
        assert (build.pool.free(), build.pool.lost) == (1, 1)
        assert "1 tokens are lost, as their holders have ended" in caplog.text
        build.check_account()
        # No token is replaced twice.
        await trio.sleep(100)
        assert build.pool.lost == 1
        build.check_account()


async def test_a_token_that_is_in_use_is_not_lost(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.take()
        build.host.add(500, TOP, b"cc1", state="R")
        build.host.add(501, TOP, b"cc1", state="R")
        await trio.sleep(STUCK_S - 1)
        assert build.host.read_at
        assert build.pool.lost == 0
        assert build.pool.issued == 1


async def test_where_none_was_missing_the_processes_are_read_at_growing_distances(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1)
        build.run_unseen(500, 501, state="R")
        for task in range(2, 120):  # one remote recipe follows another: the build makes progress
            await trio.sleep(1.0)
            build.pool.runner_gone(TaskId(task - 1))
            build.host.end(1000 + task - 1, 2000 + task - 1)
            build.run_task(task)
        assert build.pool.lost == 0
        rounds = [time_s / ROUND_S for time_s in build.host.read_at]
        assert rounds[:7] == [1, 2, 4, 8, 16, 16 + MOST_ROUNDS, 16 + 2 * MOST_ROUNDS]


async def test_where_all_tokens_are_free_the_processes_are_hardly_ever_read(tmp_path: Path) -> None:
    """make's own slot looks like an unseen recipe. So the pool reads the processes, but rarely."""
    async with building(tmp_path, Limits(4, 4)) as build:
        await trio.sleep(600)
        assert build.pool.free() == 3
        assert len(build.host.read_at) <= 4 + 600 / (MOST_ROUNDS * ROUND_S)


async def test_a_token_that_counted_as_lost_and_comes_back_is_taken_out_again(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.take()
        await trio.sleep(2 * ROUND_S + 0.1)  # only make is running, so the token seems to be lost
        assert (build.pool.lost, build.pool.issued) == (1, 1)
        build.give()
        await trio.sleep(SAMPLE_S)
        assert (build.pool.lost, build.pool.issued, build.pool.free()) == (0, 1, 1)
        build.check_account()


async def test_what_came_back_by_the_end_is_not_lost(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.take()
        await trio.sleep(2 * ROUND_S + 0.1)
        assert build.pool.lost == 1
        build.give()
        build.pool.recount()
        assert (build.pool.lost, build.pool.issued, build.pool.free()) == (0, 2, 2)


async def test_tokens_that_nobody_can_give_back_are_replaced_at_the_first_look(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        build.take()
        build.lose(1)
        build.close_tool()
        await trio.sleep(ROUND_S + 0.1)
        assert (build.pool.lost, build.pool.free()) == (1, 1)
        assert "no process has the jobserver open" in caplog.text
        assert build.host.read_at == []


async def test_nothing_is_written_off_where_processes_can_not_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        build.take()
        build.host.error = OSError(errno.EMFILE, "Too many open files")
        await trio.sleep(STALLED_S - 1)
        assert build.pool.lost == 0
        assert "its processes can't be counted" in caplog.text


# -- a build that makes no progress


def stall(build: Build, state: str = "S") -> None:
    """Two unseen recipes wait for the result of a third recipe. Task 1 has ended and is held at the strict limit."""
    build.run_remote(1)
    build.run_unseen(500, 501, state=state)
    build.finish(1)
    assert build.answered == []


async def test_a_build_that_sleeps_gets_one_recipe_more_and_another_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        stall(build)
        await trio.sleep(STALLED_S + SAMPLE_S + 0.1)
        assert build.answered == [(1, STALLED_S + SAMPLE_S)]
        assert "nothing moves; one recipe more" in caplog.text
        build.host.end(2001)  # make starts the next recipe on that token, which waits too
        assert build.pool.free() == 0
        await trio.sleep(STALLED_S + ROUND_S + SAMPLE_S)
        assert build.take() == 1
        # A runner that registers shows progress: the bound is in force again.
        build.host.add(502, TOP)
        build.run_task(9, 502)
        assert build.pool.status()["limit"] == 2
        assert build.pool.lost == 0


@pytest.mark.parametrize("why", ["a process that has a CPU or wants one", "CPU time"])
async def test_a_build_that_works_gets_one_recipe_more_only_after_a_long_time(tmp_path: Path, why: str) -> None:
    async with building(tmp_path) as build:
        stall(build, "R" if why.startswith("a process") else "S")
        build.host.ticks_a_second = 1000.0 if why == "CPU time" else 0.0
        await trio.sleep(STUCK_S - 0.1)
        assert build.answered == []
        await trio.sleep(STALLED_S + ROUND_S)
        assert build.tasks_answered == [1]


async def test_a_build_whose_processes_can_not_be_told_counts_as_one_that_works(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        stall(build)
        build.host.error = OSError(errno.ENFILE, "Too many open files in system")
        await trio.sleep(STUCK_S - 0.1)
        assert build.answered == []


async def test_a_build_that_leaves_a_token_free_waits_for_none(tmp_path: Path) -> None:
    """For example one long link is left. With more tokens, too many recipes would follow it for the submit host."""
    async with building(tmp_path) as build:
        build.host.add(500, TOP, b"sh")
        await trio.sleep(600)
        assert build.pool.status()["limit"] == 2
        assert (build.pool.issued, build.pool.free()) == (1, 1)


@pytest.mark.parametrize("cap", [1, 2])
async def test_a_build_that_stalls_gets_no_more_recipes_than_the_user_allows(tmp_path: Path, cap: int) -> None:
    """With ``-j1`` a recipe may rely on being the only one that runs."""
    async with building(tmp_path, replace(STRICT, cap=cap), width=cap) as build:
        build.run_unseen(*range(500, 500 + cap))
        await trio.sleep(600)
        assert (build.pool.issued, build.pool.lost) == (cap - 1, 0)


@pytest.mark.parametrize(("most", "in_the_end"), [(3, 3), (None, 5)])
async def test_a_stalled_build_that_is_narrower_than_the_user_allows_gets_one_recipe_more_at_a_time(
    tmp_path: Path, most: int | None, in_the_end: int
) -> None:
    """Each recipe waits for the next one, like recipes that wait until five of them run."""
    async with building(tmp_path, replace(STRICT, cap=most), width=2) as build:
        build.run_unseen(500, 501)
        recipes = [2]
        for second in range(600):
            await trio.sleep(1.0)
            if recipes[-1] < 5 and build.take():
                build.host.add(510 + second, TOP, b"cc1")
                recipes.append(recipes[-1] + 1)
        assert recipes == list(range(2, in_the_end + 1))


# -- faults of ours


async def assert_unbounded(build: Build) -> None:
    """The pool has issued tokens for the whole width, and holds no runner."""
    assert build.pool.issued == 9
    assert not build.pool.holds
    build.pool.runner_registered(TaskId(77), TOP)
    build.finish(77)
    assert build.tasks_answered[-1] == 77
    build.pool.set_width(20)
    build.pool.runner_gone(TaskId(77))
    assert build.pool.status()["held"] == build.taken


async def test_a_fault_of_the_governor_costs_the_bound_and_answers_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1, 2)
        build.take()
        build.finish(1)
        assert build.answered == []

        def fail(governor: Governor, event: Event, now: float) -> Decision:
            if isinstance(event, TaskDone):
                raise RuntimeError("a fault of ours")
            return handle(governor, event, now)

        handle = Governor.handle
        monkeypatch.setattr(Governor, "handle", fail)
        build.finish(2)
        assert build.tasks_answered == [1, 2]
        assert "no longer governed" in caplog.text
        await assert_unbounded(build)
        # The watch ends by itself; processes are not read any more.
        read = len(build.host.read_at)
        await trio.sleep(100)
        assert len(build.host.read_at) <= read + 2


async def test_a_fault_of_the_watch_costs_the_bound_and_answers_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1)
        build.take()
        build.finish(1)

        async def fail() -> Any:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(build.host, "read_all", fail)
        await trio.sleep(ROUND_S + 0.1)
        assert build.tasks_answered == [1]
        assert "no longer governed" in caplog.text
        await assert_unbounded(build)


async def test_the_log_has_the_account_after_each_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the debug level the server logs each decision, so that a developer can check the account later."""
    with caplog.at_level(logging.DEBUG, "spraycc.server.builds.token_pool"):
        async with building(tmp_path, PROBING) as build:
            build.run_remote(1, 2, 3)
            build.take()
            build.finish(1, 2, 3)
            await trio.sleep(1)
            build.give(2)
            await settle()
            build.pool.set_width(6)
            status = build.pool.status()
            messages = [record.getMessage() for record in caplog.records]
    found = [json.loads(message.removeprefix("tokens of build b: ")) for message in messages if "tokens of" in message]
    assert [entry[0] for entry in found] == [
        *("begin", "ToolStarted", "RunnerRegistered", "RunnerRegistered", "RunnerRegistered"),
        *("TaskDone", "TaskDone", "TaskDone", "Tick", "Tick", "TokensChanged", "WidthChanged"),
    ]
    assert found[-1][-1] == [status[key] for key in ("issued", "clients", "recipes", "completions_held")]


# -- a FIFO without room


async def test_where_the_kernel_has_no_room_the_build_is_as_wide_as_the_fifo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user has more pipes than fs.pipe-user-pages-soft allows: a new FIFO has one page, and can't grow."""

    def one_page(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return os.sysconf("SC_PAGE_SIZE") + 1

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", one_page)
        async with building(tmp_path, Limits(4, 8)) as build:
            assert build.pool.issued == 1
            build.run_remote(1)
            assert build.pool.issued == 1
            build.finish(1)
            assert build.tasks_answered == [1]
            build.check_account()
            patch.undo()
            build.pool.set_width(20)  # now the FIFO has room
            assert build.pool.issued == 3


async def test_a_task_that_ends_after_the_close_is_answered_at_once(tmp_path: Path) -> None:
    async with building(tmp_path) as build:
        build.run_remote(1)
        build.take()
        build.pool.close()
        build.finish(1)
        assert build.tasks_answered == [1]
