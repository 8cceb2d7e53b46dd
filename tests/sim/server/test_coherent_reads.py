"""The whole server: an attempt counts only if its host saw the submit host's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.model import ExecutorId, TaskId
from spraycc.scheduler.events import Outcome
from spraycc.server.coherence.inputs import Told
from spraycc.server.fleet.in_flight import InFlight
from spraycc.server.fleet.verdict import judge
from spraycc.server.host.temp_names import Temporaries
from spraycc.server.writeback.staging import Staging
from spraycc.stamps import CONTENTS, DIGEST_BYTES, FILE, MISSING, look, of_contents
from spraycc.system.toolchain import Identity
from spraycc.wire import runner as wire
from spraycc.wire.executor import MadeDirectory, Reads
from tests.sim.server.executor_peers import ended, task
from tests.sim.server.silent_watcher import SilentWatcher
from tests.sim.server.world import serving, settle


async def test_a_task_whose_host_saw_another_file_is_tried_once_more_and_then_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        header = FILE + bytes(world.workspace / "a.h")
        executor = await world.executor("e1")
        start = await executor.task()
        assert header not in [lookup for _, lookup, _ in start.stamps]
        (world.workspace / "a.h").touch()
        await executor.done(start, words=b"no a.h\n", reads=((header, MISSING),))
        start = await executor.task()
        assert look(header) in [stamp for _, lookup, stamp in start.stamps if lookup == header]
        await executor.done(start, words=b"no a.h\n", reads=((header, MISSING),))
        output, last = await runner.result()
        assert isinstance(last, wire.RunHere)
        assert output == {1: b"", 2: b""}
        assert not (world.workspace / "a.o").exists()
        runner.close()
        figures = await build.finish()
        assert (figures["local"], figures["remote"], figures["stale"], figures["retried"]) == (1, 0, 1, 2)


async def test_a_task_that_read_what_is_here_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        (world.workspace / "a.h").touch()
        runner = world.compile(build, "a")
        await settle()
        header = FILE + bytes(world.workspace / "a.h")
        executor = await world.executor("e1")
        await executor.done(await executor.task(), reads=((header, look(header)), (header + b"x", MISSING)))
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
        assert (await build.finish())["stale"] == 0


async def test_a_build_sees_what_other_hosts_changed_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event reports such a change, so only time makes the server examine the file again. In this test no time passes."""
    monkeypatch.setattr("spraycc.server.task_table.Watcher.open", SilentWatcher)
    async with serving(tmp_path, monkeypatch) as world:
        header = FILE + bytes(world.workspace / "a.h")
        executor = None
        for contents in ("", "longer"):
            (world.workspace / "a.h").write_text(contents)
            build = await world.build()
            runner = world.compile(build, "a")
            await settle()
            executor = executor or await world.executor("e1")
            await executor.done(await executor.task(), reads=((header, look(header)),))
            assert (await runner.result())[1] == wire.Exited(0, 0)
            runner.close()
            assert (await build.finish())["stale"] == 0


async def test_a_compile_of_which_it_is_not_known_what_it_read_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), reads=None)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        assert (await build.finish())["local"] == 1


async def test_another_command_of_which_that_is_not_known_is_tried_again_after_a_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt counts, and the executor refreshes at once for the next command of this kind."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        executor = None
        for is_first in (True, False):
            runner = world.runner(build, "gen", "x", wish="remote")
            await settle()
            executor = executor or await world.executor("e1")
            start = await executor.task()
            assert start.incomplete is not is_first
            if is_first:
                await executor.done(start, b"", reads=None)
                start = await executor.task()
                assert start.incomplete
            await executor.done(start, b"", reads=None, refreshed=True)
            assert (await runner.result())[1] == wire.Exited(0, 0)
            runner.close()
        figures = await build.finish()
        assert (figures["remote"], figures["stale"]) == (2, 1)


async def test_a_command_that_could_not_be_recorded_counts_if_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor refreshed first, because it knew that it can't record the command."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", reads=None, refreshed=True)
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
        assert (await build.finish())["stale"] == 0


async def test_where_no_refresh_helps_it_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        for _ in range(2):
            await executor.done(await executor.task(), b"", reads=None)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await build.finish()


async def test_what_is_known_of_an_incomplete_record_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        (world.workspace / "a.h").touch()
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        other = (FILE + bytes(world.workspace / "a.h"), MISSING)
        for _ in range(2):
            start = await executor.task()
            await executor.done(start, b"", reads=(other,), complete=False, refreshed=True)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        assert (await build.finish())["stale"] == 1


async def test_a_command_that_fails_and_of_which_that_is_not_known_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", reads=None, refreshed=True, code=1)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await build.finish()


async def test_a_host_with_another_system_file_gets_no_more_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host's file does not become the submit host's by a second attempt."""
    async with serving(tmp_path, monkeypatch) as world:
        monkeypatch.setattr("spraycc.server.tasks.toolchains.identity", lambda name: Identity("gcc 12\nthe same"))
        system = tmp_path / "system.h"
        system.write_text("ours")
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        start = await executor.task()
        other = of_contents(4, b"x" * DIGEST_BYTES)
        await executor.done(start, words=b"wrong\n", reads=((CONTENTS + bytes(system), other),))
        output, last = await runner.result()
        assert isinstance(last, wire.RunHere)
        assert output == {1: b"", 2: b""}
        runner.close()
        second = world.compile(build, "b")
        assert isinstance((await second.result())[1], wire.RunHere)
        second.close()
        figures = await build.finish()
        assert (figures["local"], figures["remote"], figures["stale"], figures["retried"]) == (2, 0, 0, 1)
        assert figures["reasons"]["here: unfit"] == 2


@pytest.mark.parametrize(
    ("complete", "is_shared", "outcome"),
    [
        (None, True, Outcome.REFUSED),
        (False, True, Outcome.REFUSED),
        (True, True, Outcome.DONE),
        (None, False, Outcome.DONE),
    ],
)
async def test_a_directory_of_other_hosts_is_emptied_only_with_a_complete_record(
    tmp_path: Path, complete: bool | None, is_shared: bool, outcome: Outcome
) -> None:
    """Some kernels mark a new directory as emptied. A parallel task may have made it meanwhile, and files in it."""
    one = task(tmp_path)
    staging = Staging((bytes(tmp_path),), b"1-1", Temporaries(), since_ns=0, is_shared=lambda _: is_shared)
    staging.take(MadeDirectory(TaskId(1), bytes(tmp_path / "d"), 0o755, emptied=True, mtime_ns=None))
    flight = InFlight(one, one.begin_attempt(ExecutorId("e1")), staging)
    flight.reads = None if complete is None else Reads(TaskId(1), complete)
    assert (await judge(flight, ended(), "host", None, Told()))[0] is outcome
