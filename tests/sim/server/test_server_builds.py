"""The whole server: builds, their width, their links and their records."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from spraycc.server.builds.token_watch import STUCK_S
from spraycc.wire import runner as wire
from tests.sim.server.world import CommandLine, serving, settle


async def test_links_run_here_and_no_more_at_once_than_there_are_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runners = []
        for number in range(3):
            runners.append(world.link(build, f"p{number}"))
            await settle()  # else the order of arrival is not fixed
        for runner in runners[:2]:
            assert isinstance((await runner.result())[1], wire.RunHere)
        with trio.move_on_after(60) as waited:
            await runners[2].result()
        assert waited.cancelled_caught
        runners[0].close()
        assert isinstance((await runners[2].result())[1], wire.RunHere)
        for runner in runners[1:]:
            runner.close()
        await settle()
        assert (await build.finish())["local"] == 3


async def test_the_record_of_a_build_has_the_link_whose_end_was_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.link(build, "p")
        assert isinstance((await runner.result())[1], wire.RunHere)
        await build.finish()
        runner.close()
        await settle()
        (record,) = world.state_dir.glob("builds/*.jsonl")
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        assert [(line["target"], line["ran"]) for line in lines if "target" in line] == [("p", "here")]
        assert "ended" in lines[-1]


async def test_a_link_that_stays_gives_its_slot_up_before_it_may_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If completions may be held, the runner stays as the link's parent and asks the server before it ends."""
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build()
        compile_ = world.compile(build, "a")
        await settle()
        for name in ("e1", "e2"):
            await world.executor(name)
        first = world.link(build, "p")
        await settle()
        second = world.link(build, "q")
        assert (await first.result())[1] == wire.RunHere(0, 0, 1)
        first.send(wire.Done())
        assert (await second.result())[1] == wire.RunHere(0, 0, 1)
        # make has taken no token, so there is room, and the first link may end.
        assert (await first.result())[1] is None
        for runner in (first, second, compile_):
            runner.close()
        await settle()
        assert (await build.finish())["local"] == 2


async def test_a_build_is_as_wide_as_there_are_executors_and_its_fifo_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build()
        assert os.path.exists(build.fifo)
        world.compile(build, "a")
        await settle()
        widths = [(await build.status())["builds"][0]["width"]]
        for name in ("e1", "e2", "e3"):
            await world.executor(name)
            widths.append((await build.status())["builds"][0]["width"])
        assert widths[1:] == [1, 2, 3]
        await build.finish()
        assert not os.path.exists(build.fifo)


async def test_a_build_whose_command_line_is_gone_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        build.close()
        await settle()
        other = CommandLine(world.door)
        await other.hello()
        assert (await other.status())["builds"] == []
        assert not os.path.exists(build.fifo)
        other.close()


async def test_a_build_without_a_jobserver_has_no_fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(jobserver=False)
        assert build.fifo == b""
        runner = world.runner(build, "gcc", "--version")
        await runner.result()
        runner.close()
        await settle()
        assert (await build.finish())["tokens_issued"] == 0


async def test_a_make_that_bears_no_withdrawal_gets_a_fixed_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        widths = []
        for cap in (None, 3, 1):
            build = await world.build(cap, live_tokens=False)
            widths.append((await build.status())["builds"][0]["tokens"]["issued"] + 1)
            await build.finish()
        assert widths == [8, 3, 1]


async def test_a_command_that_runs_at_once_brings_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        before = (await build.status())["builds"][0]["tokens"]
        runner = world.runner(build, "gcc", "-fsyntax-only", "a.c")
        assert isinstance((await runner.result())[1], wire.RunHere)
        assert (await build.status())["builds"][0]["tokens"] == before
        runner.close()
        await build.finish()


@pytest.mark.parametrize("live_tokens", [True, False])
async def test_a_build_that_the_user_wants_one_recipe_wide_stays_so_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live_tokens: bool
) -> None:
    """With ``-j1``, for both kinds of make, a recipe may rely on being the only one that runs."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(1, live_tokens=live_tokens)
        await trio.sleep(3 * STUCK_S)
        assert (await build.status())["builds"][0]["tokens"]["issued"] == 0
        await build.finish()
