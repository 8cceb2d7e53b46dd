"""The whole server: how it ends, and the leftovers of a killed server."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest
import trio
import trio.testing

import spraycc
from spraycc.server import server as server_module
from spraycc.server.fleet import fleet as fleet_module
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    Leave,
)
from tests.sim.server.world import CommandLine, serving, settle


async def test_an_idle_server_ends_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        await trio.sleep(300)
        assert not world.ended.is_set()
        await build.finish()
        began = trio.current_time()
        await world.ended.wait()
        waited_s = trio.current_time() - began
        assert world.settings.idle_shutdown_s - 2 <= waited_s <= world.settings.idle_shutdown_s + 2


async def test_executors_that_nobody_uses_are_released_and_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        await runner.result()
        runner.close()
        await build.finish()
        began = trio.current_time()
        assert await executor.next() == Leave()
        assert trio.current_time() - began == pytest.approx(world.settings.release_delay_s)
        executor.link.close()
        await world.ended.wait()


async def test_a_server_that_does_not_linger_ends_with_its_last_build_and_its_executors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, lingers=False) as world:
        await trio.sleep(5)
        assert not world.ended.is_set()  # no build has come yet
        first, second = await world.build(), await world.build()
        runner = world.compile(first, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        await runner.result()
        runner.close()
        await first.finish()
        first.close()
        await trio.sleep(5)
        assert not world.ended.is_set()  # the second build is open
        await second.finish()
        second.close()
        with trio.fail_after(0.5):
            assert await executor.next() == Leave()
            executor.link.close()
            await world.ended.wait()


async def test_a_server_that_does_not_linger_does_not_wait_long_for_its_first_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, lingers=False) as world:
        with trio.fail_after(11):
            await world.ended.wait()


async def test_a_server_of_a_probe_ends_with_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if `spraycc doctor` was killed. The probe leaves no record."""
    async with serving(tmp_path, monkeypatch, for_probe=True) as world:
        probe = await world.build(probe=True)
        await trio.sleep(20)
        assert not world.ended.is_set()
        probe.close()
        with trio.fail_after(1):
            await world.ended.wait()
    assert list(world.state_dir.rglob("*.jsonl")) == []


async def test_a_build_makes_a_probes_server_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, for_probe=True) as world:
        probe, build = await world.build(probe=True), await world.build()
        for each in (probe, build):
            await each.finish()
            each.close()
        await trio.sleep(20)
        assert not world.ended.is_set()
    assert len(list(world.state_dir.rglob("*.jsonl"))) == 1


async def test_a_server_whose_socket_is_gone_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        (world.run_dir / "socket").unlink()
        await trio.sleep(10)
        assert not world.ended.is_set()  # connected peers are still served
        await build.finish()
        with trio.fail_after(5):
            await world.ended.wait()


async def test_a_server_that_is_to_stop_ends_after_its_last_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        peer = CommandLine(world.door)
        await peer.hello()
        peer.send(wire.Stop(if_idle=True))
        assert isinstance(await peer.answer(), wire.Refused)
        peer.send(wire.Stop())
        await trio.sleep(100)
        assert not world.ended.is_set()
        await build.finish()
        with trio.fail_after(5):
            await world.ended.wait()
        assert await peer.answer() is None
        peer.close()


async def test_a_server_that_is_to_stop_now_has_its_executors_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.task()
        build.send(wire.Stop(now=True))
        assert await executor.next() == Leave()
        began = trio.current_time()
        await world.ended.wait()
        # This executor does not leave, so the server waits for the longest permitted time.
        assert trio.current_time() - began <= fleet_module.LEAVE_S + 0.1
        assert (await runner.result())[1] is None
        runner.close()
        build.close()


async def test_a_server_that_ends_opens_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build, waiting = await world.build(), CommandLine(world.door)
        await waiting.hello()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        build.send(wire.Stop(now=True))
        while not isinstance(await executor.next(), Leave):
            pass
        # This executor does not leave, so the server is still there.
        late = CommandLine(world.door)
        late.send(wire.Hello(wire.RUNNER_PROTOCOL, spraycc.__version__))
        assert await late.answer() is None
        waiting.send(wire.OpenBuild(None, (b"make",), b"/", asdict(world.settings)))
        assert await waiting.answer() is None
        assert not world.ended.is_set()
        for peer in (build, waiting, late):
            peer.close()


async def test_a_server_clears_away_what_a_killed_one_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state" / "server"
    state.mkdir(parents=True)
    (state / "session-old.json").touch()
    for number in range(server_module.EXECUTOR_LOGS + 5):
        path = state / f"executor-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    async with serving(tmp_path, monkeypatch):
        assert not (state / "session-old.json").exists()
        logs = {path.name for path in state.glob("executor-*.log")}
        assert len(logs) == server_module.EXECUTOR_LOGS
        assert "executor-4.log" not in logs


async def test_builds_that_go_on_without_their_server_keep_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second server starts and ends meanwhile. Runners of both count the same slots."""
    builds, slots = tmp_path / "run" / "builds", tmp_path / "run" / "slots"
    for name in ("alive", "dead", "ninja", "old-ninja"):
        (builds / name).mkdir(parents=True)
    for name in ("alive", "dead"):
        os.mkfifo(builds / name / "fifo")
    os.utime(builds / "old-ninja", (0, 0))
    slots.mkdir()
    for number in range(4):
        (slots / str(number)).touch()
    first = (slots / "0").stat().st_ino
    tool = os.open(builds / "alive" / "fifo", os.O_RDWR)
    try:
        async with serving(tmp_path, monkeypatch, local_slots=3) as world:
            build = await world.build()
            assert {path.name for path in builds.iterdir()} == {"alive", "ninja", build.build.decode()}
            assert sorted(path.name for path in slots.iterdir()) == ["0", "1", "2"]
            await build.finish()
        assert {path.name for path in builds.iterdir()} == {"alive", "ninja"}
        assert (slots / "0").stat().st_ino == first
    finally:
        os.close(tool)
    (builds / "ninja").rmdir()
    async with serving(tmp_path, monkeypatch):
        pass
    assert not builds.exists()
    assert not slots.exists()
