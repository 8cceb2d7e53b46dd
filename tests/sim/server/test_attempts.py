"""The whole server: a task goes to an executor and back, or runs on the submit host."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.server.host.offload import Disk
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    CancelTask,
    TaskOutput,
)
from tests.sim.server.world import serving, settle


async def test_a_compile_goes_to_an_executor_and_its_file_and_words_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        assert world.asked == [4]
        executor = await world.executor("e1")
        start = await executor.task()
        assert start.argv == (b"gcc", b"-c", b"-o", b"a.o", b"a.c")
        await executor.done(start, b"object", b"a.c:1: warning\n")
        output, last = await runner.result()
        assert output == {1: b"", 2: b"a.c:1: warning\n"}
        assert last == wire.Exited(0, 0)
        assert (world.workspace / "a.o").read_bytes() == b"object"
        runner.close()
        figures = await build.finish()
        assert (figures["tasks"], figures["remote"], figures["local"], figures["retried"]) == (1, 1, 0, 0)
        assert figures["tokens_free_at_end"] == figures["tokens_issued"]
        assert figures["exit_status"] == 0


async def test_a_status_that_is_not_zero_reaches_the_runner_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", b"a.c:1: error\n", code=1)
        output, last = await runner.result()
        assert (output[2], last) == (b"a.c:1: error\n", wire.Exited(1, 0))
        runner.close()
        assert (await build.finish())["failed"] == 1


async def test_an_executor_that_is_lost_has_its_task_done_by_another_and_no_word_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        first = await world.executor("e1")
        start = await first.task()
        await first.link.send(TaskOutput(start.task, 2, b"warn"))
        first.link.close()
        second = await world.executor("e2")
        again = await second.task()
        assert (again.task, again.attempt) == (start.task, 2)
        await second.done(again, b"object", b"warning\n")
        output, last = await runner.result()
        assert (output[2], last) == (b"warning\n", wire.Exited(0, 0))
        runner.close()
        assert (await build.finish())["retried"] == 1


async def test_a_runner_that_is_killed_has_its_task_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        start = await executor.task()
        runner.close()
        assert await executor.next() == CancelTask(start.task)
        await executor.done(start, cancelled=True, contents=b"")
        other = world.compile(build, "b")
        await executor.done(await executor.task())
        assert (await other.result())[1] == wire.Exited(0, 0)
        other.close()
        figures = await build.finish()
        assert (figures["cancelled"], figures["remote"]) == (1, 1)
        assert not (world.workspace / "a.o").exists()


async def test_a_runner_that_is_killed_while_its_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is whole, the executor is free, and the task counts as cancelled."""
    times = itertools.count(0, 100)

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.sleep(10)
        return function(*arguments)

    disk = Disk(clock=lambda: next(times), cpu_clock=lambda: 0.0, in_thread=in_thread)  # each piece of work takes 100 s
    async with serving(tmp_path, monkeypatch, disk, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await trio.sleep(100)
        executor = await world.executor("e1")
        await trio.sleep(100)
        await executor.done(await executor.task())
        await settle()
        assert not (world.workspace / "a.o").exists()
        runner.close()
        await trio.sleep(100)
        assert (world.workspace / "a.o").read_bytes() == b"object"
        other = world.compile(build, "b")
        await executor.next()  # CancelTask for the first task
        await executor.done(await executor.task())
        assert (await other.result())[1] == wire.Exited(0, 0)
        other.close()
        assert (await build.finish())["cancelled"] == 1


async def test_what_an_executor_refuses_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"part", b"words", refusal="copy-up", text="it writes elsewhere")
        output, last = await runner.result()
        assert isinstance(last, wire.RunHere)
        assert output == {1: b"", 2: b""}
        assert not (world.workspace / "a.o").exists()
        runner.close()
        figures = await build.finish()
        assert (figures["local"], figures["remote"], figures["retried"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("wish", "argv"), [("local", ["gcc", "-c", "-o", "a.o", "a.c"]), ("auto", ["gcc", "--version"])]
)
async def test_what_is_to_run_here_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, argv: list[str]
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, *argv, wish=wish)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        assert (await build.finish())["local"] == 1


@pytest.mark.parametrize("place", ["output", "input"])
async def test_a_command_at_a_fifo_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        os.mkfifo(world.workspace / ("a.o" if place == "output" else "a.c"))
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        (reason,) = (await build.finish())["reasons"]
        assert "special file" in reason


async def test_a_task_of_no_build_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        runner = world.compile(None, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
