"""The figures of a build's progress, from the server to the command line that shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from spraycc.server.builds import progress
from spraycc.server.builds.build import Build
from spraycc.server.builds.expectation import Earlier, Expectation
from spraycc.server.builds.progress import LEAST_INTERVAL_S, ProgressReports
from spraycc.server.dispatcher import Dispatcher
from spraycc.wire import runner as wire
from tests.sim.server.world import CommandLine, serving, settle


async def figures_of(build: CommandLine) -> dict[str, Any]:
    message = await build.answer()
    assert isinstance(message, wire.Progress), message
    return message.figures


async def test_a_build_is_told_of_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True, local_slots=1) as world:
        build = await world.build(progress_s=1.0)
        assert await figures_of(build) == {
            "done": 0, "expected": None, "rest_s": None, "running": 0, "here": 0, "waiting": 0, "executors": 0,
            "asked": 0, "failed": 0, "pending": None,
        }  # fmt: skip
        compiles = [world.compile(build, f"f{number}") for number in range(3)]
        links = [world.link(build, f"p{number}") for number in range(2)]
        figures = await figures_of(build)
        assert (figures["done"], figures["waiting"], figures["here"], figures["running"]) == (0, 4, 1, 0)
        assert figures["asked"] > 0
        executor = await world.executor("a")
        start = await executor.task()
        figures = await figures_of(build)
        assert (figures["waiting"], figures["here"], figures["running"], figures["executors"]) == (3, 1, 1, 1)
        await executor.done(start, code=1)
        await executor.task()
        figures = await figures_of(build)
        # The runner of the first compile still runs. The compile is done.
        assert (figures["done"], figures["running"], figures["failed"]) == (1, 1, 1)
        for runner in (*compiles, *links):
            runner.close()
        await settle()
        assert (await figures_of(build))["done"] == 5
        await build.finish()


async def test_no_message_without_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(progress_s=1.0)
        await figures_of(build)
        with trio.move_on_after(60) as waited:
            await build.receive()
        assert waited.cancelled_caught
        await build.finish()


@pytest.mark.parametrize("progress_s", [0.0, -1.0, float("nan")])
async def test_no_message_unless_the_command_line_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress_s: float
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(progress_s=progress_s)
        runner = world.link(build, "p")
        with trio.move_on_after(60) as waited:
            await build.receive()
        assert waited.cancelled_caught
        runner.close()
        await settle()
        assert (await build.finish())["tasks"] == 1


async def test_a_command_line_that_is_gone_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(progress_s=1.0)
        build.close()
        await trio.sleep(10)
        other = await world.build(progress_s=1.0)
        await figures_of(other)
        await other.finish()


class Reports:
    """The messages of one build, with figures and a reader that are the test's."""

    def __init__(self, interval_s: float = 1.0, state_dir: Path | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.counted = 0
        self.reads = trio.Event()
        self.reads.set()
        self.expectation = Expectation()
        build = SimpleNamespace(id="b", control=self, expectation=self.expectation)
        self.reports = ProgressReports(cast(Build, build), interval_s, self._figures, state_dir)

    def _figures(self) -> dict[str, Any]:
        self.counted += 1
        return {"done": self.counted}

    async def send(self, item: list[Any]) -> None:
        await self.reads.wait()
        self.sent.append(item[1])


async def test_nothing_piles_up_for_a_command_line_that_does_not_read() -> None:
    world = Reports()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.reports.run)
        await trio.sleep(3.5)
        world.reads = trio.Event()
        await trio.sleep(1000)
        assert (len(world.sent), world.counted) == (3, 4)
        world.reads.set()
        await trio.sleep(1.5)
        assert [figures["done"] for figures in world.sent] == [1, 2, 3, 4, 5]
        world.reads = trio.Event()
        await trio.sleep(10)
        world.reports.close()  # while a message waits
    assert world.counted == 6


async def test_the_interval_has_a_lower_limit() -> None:
    world = Reports(interval_s=1e-9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.reports.run)
        await trio.sleep(10 * LEAST_INTERVAL_S + 0.01)
        world.reports.close()
    assert world.counted == 10


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(function: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool) -> Any:
        return function(*arguments)

    monkeypatch.setattr(progress, "run_in_thread", run)


@pytest.mark.usefixtures("inline")
async def test_an_earlier_build_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[object, ...]] = []

    def search(*arguments: object) -> Earlier:
        searches.append(arguments)
        return Earlier(20, [1.0] * 20, 9.0)

    monkeypatch.setattr(progress, "search", search)
    world = Reports(state_dir=tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.reports.run)
        for number in range(12):
            await trio.sleep(1)
            world.expectation.arrived(str(number))
        await trio.sleep(5)
        world.reports.close()
    assert searches == [(tmp_path, "b", tuple(map(str, range(10))))]
    assert world.expectation.of(12, 5, 9.0)[0] == 20


@pytest.mark.usefixtures("inline")
async def test_a_record_that_breaks_the_search_leaves_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def search(*arguments: object) -> Earlier:
        raise RuntimeError("a fault")

    monkeypatch.setattr(progress, "search", search)
    world = Reports(state_dir=tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.reports.run)
        for number in range(12):
            world.expectation.arrived(str(number))
        await trio.sleep(4.5)
        world.reports.close()
    assert [figures["done"] for figures in world.sent] == [1, 2, 3, 4]
    assert caplog.text.count("the records of earlier builds can't be searched") == 1


async def test_a_failure_ends_the_messages_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def figures(*arguments: object) -> dict[str, Any]:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Dispatcher, "progress", figures)
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(progress_s=1.0)
        runners = [world.link(build, f"p{number}") for number in range(10)]
        await trio.sleep(3)
        for runner in runners:
            runner.close()
        await settle()
        assert (await build.finish())["tasks"] == 10
    assert "the progress of a build is not sent any more" in caplog.text
