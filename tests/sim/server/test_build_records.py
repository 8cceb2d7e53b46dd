"""The record of a build, as the server writes it: docs/reference/records.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from spraycc.records import read
from spraycc.records.files import lines_of
from spraycc.records.format import EndLine, Header, TaskLine
from spraycc.records.liveness import is_open
from spraycc.records.timeline import intervals
from spraycc.wire import runner as wire
from tests.sim.server.world import World, serving, settle


def record_of(world: World, number: int = 1) -> read.Record:
    return read.read(read.find(read.found_in([world.state_dir]), str(number)).path)


async def test_a_record_has_the_attempts_and_where_they_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build(cap=7)
        first = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1", host="node7")
        await executor.done(await executor.task(), contents=b"", signal=9)
        await settle()
        await executor.done(await executor.task())
        await first.result()
        first.close()
        link = world.link(build, "p")
        assert isinstance((await link.result())[1], wire.RunHere)
        link.close()
        await settle()
        await build.finish()
        record = record_of(world)
        lines = list(lines_of(read.found_in([world.state_dir])[0].path))
    # Every line has all keys of its kind, and no other.
    kinds = {"record": Header, "target": TaskLine, "ended": EndLine}
    for line in lines:
        assert next((line.keys() == kind.__annotations__.keys() for key, kind in kinds.items() if key in line), True)
    header = record.header
    assert {key: header[key] for key in ("record", "argv", "cwd", "cluster", "executors", "cap", "tool")} == {
        "record": 2, "argv": "make", "cwd": "/", "cluster": "command", "executors": 4, "cap": 7, "tool": "make",
    }  # fmt: skip
    compiled, linked = record.tasks
    assert (compiled.target, compiled.source, compiled.ran, compiled.status) == ("a.o", "a.c", "remote", 0)
    assert [(run.executor, run.outcome, run.second) for run in compiled.runs] == [
        ("e1", "killed", False), ("e1", "done", False),
    ]  # fmt: skip
    times = [compiled.at, *(time for run in compiled.runs for time in (run.began, run.ended)), compiled.ended]
    assert times == sorted(times)
    assert (compiled.user_s, compiled.system_s, compiled.wall_s, compiled.rss) == (0.1, 0.1, 0.2, 1000)
    assert compiled.bytes == len(b"object")
    assert (linked.target, linked.ran, linked.runs) == ("p", "here", ())
    assert linked.here is not None
    assert linked.at <= linked.here.began <= linked.here.ended <= linked.ended
    (joined,) = record.executors.values()
    assert (joined.id, joined.host, joined.left) == ("e1", "node7", None)
    assert joined.joined >= 0
    assert (record.end["status"], record.end["wall_s"], record.end["figures"]["tasks"]) == (0, 1.0, 2)
    assert record.end["figures"]["run_s"] == pytest.approx(
        sum(span.ended - span.began for span in intervals(record)), abs=0.01
    )


async def test_an_attempt_on_a_lost_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        task = world.compile(build, "a")
        await settle()
        lost = await world.executor("e1")
        await lost.task()
        lost.link.close()
        await settle()
        executor = await world.executor("e2")
        await executor.done(await executor.task())
        await task.result()
        task.close()
        await settle()
        await build.finish()
        (compiled,) = record_of(world).tasks
    assert [(run.executor, run.outcome) for run in compiled.runs] == [("e1", "lost"), ("e2", "done")]
    assert compiled.runs[0].ended <= compiled.runs[1].began


@pytest.mark.parametrize(
    ("word", "status"),
    [(["done", 1], 1), (["done"], None), (["done", "x"], None), (["what"], None), (7, None)],
    ids=str,
)
async def test_a_runner_that_stays_tells_its_commands_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: object, status: int | None
) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build()
        compile_ = world.compile(build, "a")
        await settle()
        for name in ("e1", "e2"):
            await world.executor(name)
        link = world.link(build, "p")
        assert (await link.result())[1] == wire.RunHere(0, 0, 1)
        link.send_item(word)
        assert (await link.result())[1] is None
        for runner in (link, compile_):
            runner.close()
        await settle()
        await build.finish()
        (task,) = [task for task in record_of(world).tasks if task.target == "p"]
        assert (task.ran, task.status) == ("here", status)


async def test_executors_that_are_there_before_and_leave_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        first = await world.build()
        task = world.compile(first, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        await task.result()
        task.close()
        await trio.sleep(1000)
        second = await world.build()
        assert is_open(record_of(world).header)
        executor.link.close()
        await settle()
        header = record_of(world).header
        await second.finish()
        assert not is_open(header)  # the server lives on
        await first.finish()
        (e1,) = record_of(world, 1).executors.values()
        assert e1.joined < 0
        assert e1.left is not None
        (e1,) = record_of(world, 2).executors.values()
        assert e1.joined >= 0
        assert e1.left is not None


async def test_samples_are_taken_while_the_state_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        # A record's times are real. Here the intervals between samples are the virtual clock's.
        monkeypatch.setattr("time.monotonic", trio.current_time)
        build = await world.build()
        task = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await trio.sleep(10)
        record = record_of(world)  # it is written while the build runs
        assert [(s.running, s.here, s.waiting, s.executors) for s in record.samples] == [(1, 0, 0, 1)]
        assert (record.samples[0].asked, record.end) == (world.asked[0] - 1, {})
        assert record.samples[0].tokens is not None
        await executor.done(await executor.task())
        await task.result()
        task.close()
        await trio.sleep(3)
        await build.finish()
        assert [sample.running for sample in record_of(world).samples] == [1, 0]


async def test_a_build_without_tasks_does_not_hide_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        link = world.link(build, "p")
        await link.result()
        link.close()
        await settle()
        await build.finish()
        await trio.sleep(0.01)
        await (await world.build()).finish()
        records = read.found_in([world.state_dir])
        assert [found.is_empty for found in records] == [True, False]
        assert read.find(records, "").number == 2


async def test_the_servers_end_writes_the_rest_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        build.send(wire.ToolProcess(os.getpid()))
        waits = world.compile(build, "a")
        await settle()
        link = world.link(build, "p")
        await link.result()
        link.close()
        await settle()
        assert record_of(world).tasks == []
        world.server.lifetime.stop(now=True)
        await world.ended.wait()
        record = record_of(world)
        assert "p" in [task.target for task in record.tasks]
        assert record.end == {}
        waits.close()


async def test_lines_are_written_at_once_when_no_task_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first, second = world.link(build, "p"), world.link(build, "q")
        await settle()
        for link, seen in ((first, []), (second, ["p", "q"])):
            await link.result()
            link.close()
            await settle()
            assert [task.target for task in record_of(world).tasks] == seen
        await build.finish()


async def test_a_build_goes_on_when_samples_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        monkeypatch.setattr("spraycc.server.dispatcher._state_of", lambda *_: 1 / 0)
        await trio.sleep(100)
        link = world.link(build, "p")
        await link.result()
        link.close()
        await settle()
        await build.finish()
        assert [task.target for task in record_of(world).tasks] == ["p"]
