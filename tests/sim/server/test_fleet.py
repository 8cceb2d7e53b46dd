"""The whole server: executors that join, fail, are silent, or never join."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.allocation import Allocation
from spraycc.errors import ConfigError
from spraycc.executor import link as link_module
from spraycc.executor.link import Link, tls_context
from spraycc.executor.session import read_session
from spraycc.server.fleet import fleet as fleet_module
from spraycc.server.fleet.process_launcher import RETRY_S
from spraycc.stamps import look
from spraycc.system.tls import TlsSocket
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    Leave,
    Ready,
)
from tests.sim.server.world import FakeLauncher, serving, settle


async def test_an_executor_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        silent = await world.executor("e1")
        await silent.task()
        idle = await world.executor("e2")
        silent.is_silent = True
        began = trio.current_time()
        await idle.task()
        waited_s = trio.current_time() - began
        assert world.settings.lost_after_s < waited_s <= world.settings.lost_after_s + 2 * world.settings.heartbeat_s


async def test_executors_that_answer_are_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.task()
        await trio.sleep(600)
        assert [e["id"] for e in (await build.status())["executors"]] == ["e1"]


async def test_without_an_executor_compiles_run_here_after_the_grace_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        began = trio.current_time()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        assert trio.current_time() - began == pytest.approx(world.settings.pending_grace_s)
        runner.close()
        await settle()
        await build.finish()
        assert any("no executor has connected yet (4 asked of 'command')" in text for text in build.notices)


async def test_who_waits_for_the_cluster_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        with trio.move_on_after(300) as waited:
            await runner.result()
        assert waited.cancelled_caught
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await runner.result())[1] == wire.Exited(0, 0)


async def test_executors_that_can_not_be_started_are_told_of_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        tries: list[float] = []

        def fail(*_: object) -> None:
            tries.append(trio.current_time())
            raise ConfigError("`hosts` names no host")

        monkeypatch.setattr(fleet_module, "ProcessLauncher", fail)
        build = await world.build()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        other = world.compile(build, "b")
        await trio.sleep(30)
        assert len(tries) >= 2
        assert tries[1] - tries[0] >= RETRY_S
        assert any("executors can't be started: `hosts` names no host" in text for text in [
            *build.notices, (await build.status())["trouble"]])  # fmt: skip
        runner.close()
        other.close()
        assert all(port.closed for port in world.ports)


@pytest.mark.parametrize(
    ("captures", "refusals", "words"),
    [
        ((), {"overlay": "EPERM"}, "can't capture outputs by overlay: EPERM"),
        (("overlay",), {"recorder": "it is too new"}, "can't record which files commands read (it is too new)"),
        (("overlay",), {"workspace": "/w is not a directory on this host"}, "/w is not a directory on this host"),
    ],
)
async def test_an_executor_that_can_t_be_used_is_asked_to_leave_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captures: tuple[str, ...], refusals: dict[str, str], words: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        executor.link.close()
        session = read_session(str(next(world.state_dir.glob("session-*.json"))))
        connection = TlsSocket(world.ports[-1].connect(), tls_context(session.certificate), server_side=False)
        await link_module._shake_hands(connection, session, "e2")
        link = Link(connection)
        seen = tuple(look(lookup) for lookup in session.landmarks)
        await link.send(Ready("0", "node7", 1, captures, refusals, landmarks=seen))
        assert isinstance(await link.receive(), Leave)
        trouble = (await build.status())["trouble"]
        assert "node7" in trouble
        assert words in trouble
        link.close()


async def test_builds_with_other_ways_of_starting_executors_get_a_session_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        old = await world.executor("e1")
        start = await old.task()
        other = await world.build(settings=replace(world.settings, setup="module load gcc", executors=6))
        second = world.compile(other, "b")
        await settle()
        assert len(world.launchers) == len(world.ports) == 2
        new = await world.executor("e2")
        await new.done(await new.task())
        assert (await second.result())[1] == wire.Exited(0, 0)
        # The executors of the first session go on serving.
        await old.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)


async def test_executors_in_an_allocation_leave_when_a_build_outside_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once if they are idle, after their tasks if they are busy. If they connect late, they get no task."""
    allocation = Allocation("slurm", "1", (("node", 3),))
    inside: dict[str, Any] = {"cluster": "slurm-step", "executors": None, "allocation": allocation}
    async with serving(tmp_path, monkeypatch, **inside) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        busy = await world.executor("e1")
        start = await busy.task()
        idle = await world.executor("e2")
        session = read_session(str(next(world.state_dir.glob("session-*.json"))))
        connection = TlsSocket(world.ports[0].connect(), tls_context(session.certificate), server_side=False)
        await link_module._shake_hands(connection, session, "e3")
        late = Link(connection)

        outside = await world.build(settings=replace(world.settings, cluster="ssh", executors=3, allocation=None))
        with trio.fail_after(10):
            assert isinstance(await idle.next(), Leave)
        idle.link.close()
        second = world.compile(outside, "b")
        await settle()
        assert [sum(launcher.asked) for launcher in world.launchers] == [3, 1]
        seen = tuple(look(lookup) for lookup in session.landmarks)
        await late.send(Ready("0", "node", 1, ("overlay",), {}, landmarks=seen))
        assert isinstance(await late.receive(), Leave)
        late.close()
        await busy.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)
        assert isinstance(await busy.next(), Leave)
        busy.link.close()
        new = await world.executor("e4")
        await new.done(await new.task())
        assert (await second.result())[1] == wire.Exited(0, 0)


async def test_an_executor_of_another_host_proves_what_it_reads_for_a_build_without_a_cluster_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        remote = await world.executor("e1")
        start = await remote.task()
        assert start.prove
        local_build = await world.build(settings=replace(world.settings, cluster="local"))
        await remote.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)
        second = world.compile(local_build, "b")
        start = await remote.task()
        assert start.prove
        assert start.same
        await remote.done(start)
        assert (await second.result())[1] == wire.Exited(0, 0)


async def test_a_task_that_was_to_stay_on_the_submit_host_is_not_given_to_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, cluster="local", executors=1) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        local = await world.executor("e1")
        start = await local.task()
        assert not start.prove
        waiting = world.compile(build, "b")
        await settle()
        other = await world.build(settings=replace(world.settings, cluster="command", executors=2))
        await settle()
        assert len(world.ports) == 2
        remote = await world.executor("e2")
        assert (await waiting.result())[1] == wire.RunHere(False)
        remote_task = world.compile(other, "c")
        start_remote = await remote.task()
        assert start_remote.prove
        assert start_remote.outputs[-1].endswith(b"/c.o")
        await remote.done(start_remote)
        assert (await remote_task.result())[1] == wire.Exited(0, 0)
        await local.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)


async def test_a_fault_of_a_launcher_does_not_end_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_launcher: object, _count: int) -> None:
        raise RuntimeError("out of luck")

    async with serving(tmp_path, monkeypatch) as world:
        monkeypatch.setattr(FakeLauncher, "ask", fail)
        build = await world.build()
        task = world.compile(build, "a")
        assert isinstance((await task.result())[1], wire.RunHere)
        assert "out of luck" in (await build.status())["trouble"]
