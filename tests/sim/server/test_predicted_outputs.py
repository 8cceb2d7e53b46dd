"""The predicted capture: made only for tasks that need it, and never by the event loop on a slow disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.model import BuildId, Command, Description, Kind, Placement, TaskId
from spraycc.server.host.offload import HANGS_S, Disk
from spraycc.server.tasks import predicted_outputs
from spraycc.server.tasks.capture_roots import CaptureRoots
from spraycc.server.tasks.predicted_outputs import Predictions
from spraycc.server.tasks.task import Phase, Task
from spraycc.wire import runner as wire
from tests.sim.server.world import World, serving, settle

#: Seconds that each lstat(2) takes.
LSTAT_S = 0.3


class SlowDisk:
    """A disk with a slow lstat(2), which the server already knows. Threads do its work, and the event loop goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
        self.in_thread = False
        #: seconds that lstat has taken: in the event loop, which stood still, and in threads
        self.loop_s = 0.0
        self.thread_s = 0.0
        self.disk = Disk(clock=lambda: self.loop_s + self.thread_s, cpu_clock=lambda: 0.0, in_thread=self._run)
        self.disk._do_timed("read", self._hang)
        self._lstat, self._below = os.lstat, os.fsencode(workspace)
        monkeypatch.setattr(os, "lstat", self._slow_lstat)

    def _hang(self) -> None:
        self.thread_s += HANGS_S

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        before, self.in_thread = self.thread_s, True
        try:
            return function(*arguments)
        finally:
            self.in_thread = False
            await trio.sleep(self.thread_s - before)

    def _slow_lstat(self, path: Any, **values: Any) -> os.stat_result:
        if os.fsencode(path).startswith(self._below):
            if self.in_thread:
                self.thread_s += LSTAT_S
            else:
                self.loop_s += LSTAT_S
        return self._lstat(path, **values)


async def compile_by_prediction(world: World) -> None:
    """Two compiles: the first one waits when its executor joins, the second one comes later."""
    build = await world.build()
    executor = None
    for name in ("a", "b"):
        runner = world.compile(build, name)
        await trio.sleep(30)
        if executor is None:
            executor = await world.executor("e1", captures=("predict",))
        start = await executor.task()
        assert start.argv != (b"gcc", b"-c", b"-o", f"{name}.o".encode(), f"{name}.c".encode())
        assert [path for _, path in start.redirected] == [bytes(world.workspace / f"{name}.o")]
        await executor.done(start)
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
    await build.finish()


@pytest.mark.parametrize("capture", ["auto", "predict"])
async def test_the_loop_does_not_stand_still_if_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: str
) -> None:
    slow = SlowDisk(monkeypatch, tmp_path / "ws")
    async with serving(tmp_path, monkeypatch, slow.disk, capture=capture, wait_for_cluster=True) as world:
        slow.loop_s = slow.thread_s = 0.0
        await compile_by_prediction(world)
        assert slow.thread_s > 2 * LSTAT_S  # else no prediction has examined a file
        assert slow.loop_s == 0


async def test_runners_are_served_while_a_prediction_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowDisk(monkeypatch, tmp_path / "ws")
    async with serving(tmp_path, monkeypatch, slow.disk, capture="predict", wait_for_cluster=True) as world:
        build = await world.build()
        compile_ = world.compile(build, "a")
        await settle()
        began = trio.current_time()
        other = world.runner(build, "gcc", "--version")
        assert isinstance((await other.result())[1], wire.RunHere)
        assert trio.current_time() == began
        assert world.launchers == []  # the compile has not yet reached the point where the server asks for executors
        await trio.sleep(30)
        assert world.launchers
        for runner in (compile_, other):
            runner.close()


async def test_no_task_pays_for_a_prediction_that_nobody_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Command) -> None:
        raise AssertionError("no executor has asked for this")

    monkeypatch.setattr(predicted_outputs, "redirect", fail)
    async with serving(tmp_path, monkeypatch, capture="auto") as world:
        build = await world.build()
        executor = None
        for name in ("a", "b"):
            runner = world.compile(build, name)
            await settle()
            executor = executor or await world.executor("e1")
            await executor.done(await executor.task())
            assert (await runner.result())[1] == wire.Exited(0, 0)
            runner.close()
        await build.finish()


async def test_a_compile_that_can_not_be_predicted_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, capture="predict") as world:
        build = await world.build()
        runner = world.runner(build, "gcc", "-c", "-save-temps", "-o", "a.o", "a.c")
        await settle()
        await world.executor("e1", captures=("predict",))
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        figures = await build.finish()
        assert (figures["local"], figures["retried"]) == (1, 1)


async def test_an_executor_without_the_capture_of_a_build_runs_none_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, capture="auto") as world:
        first = await world.build()
        runner = world.compile(first, "a")
        await settle()
        executor = await world.executor("e1", captures=("predict",))
        await executor.done(await executor.task())
        runner.close()
        await first.finish()
        second = await world.build(settings=replace(world.settings, capture="overlay"))
        runner = world.compile(second, "b")
        with trio.fail_after(60):
            assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        assert (await second.finish())["retried"] == 1


# -- the first executor that needs predictions


def waiting_task(number: int, phase: Phase = Phase.WAITING, *, is_here: bool = False) -> Task:
    name = f"{number}".encode()
    command = Command((b"gcc", b"-c", b"-o", name + b".o", name + b".c"), b"/usr/bin/gcc", b"/nowhere", (), 0o022)
    description = Description(Kind.COMPILE, Placement.REMOTE, "compile")
    plan = None if is_here else CaptureRoots((b"/nowhere",), (), ())
    return Task(TaskId(number), BuildId("b"), command, description, None, plan, False, phase=phase)  # type: ignore[arg-type]


async def test_only_tasks_that_wait_for_an_executor_are_predicted_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(predicted_outputs, "redirect", lambda command, tools: made.append(command.argv[-1]))
    tasks = [waiting_task(1), waiting_task(2, Phase.HERE), waiting_task(3, is_here=True), waiting_task(4)]
    predictions = Predictions(Disk(), {task.id: task for task in tasks})
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(predictions.begin)
    assert made == [b"1.c", b"4.c"]
    assert predictions.are_needed


async def test_an_executor_that_is_lost_meanwhile_leaves_the_work_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.sleep(10)
        return function(*arguments)

    times = iter(range(0, 1000, 100))
    disk = Disk(clock=lambda: next(times), cpu_clock=lambda: 0.0, in_thread=in_thread)
    await disk.do("read", lambda: None)
    monkeypatch.setattr(predicted_outputs, "redirect", lambda command, tools: made.append(command.argv[-1]))
    tasks = [waiting_task(1), waiting_task(2)]
    predictions = Predictions(disk, {task.id: task for task in tasks})
    with trio.move_on_after(15):
        await predictions.begin()
    assert made == [b"1.c"]
    assert not predictions.are_needed
    await predictions.begin()
    assert made[-1] == b"2.c"
    assert predictions.are_needed
