"""The whole server: executors that join, fail, are silent, or never join."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.allocation import Allocation
from spraycc.cluster.plan_actions import Limited
from spraycc.errors import ConfigError
from spraycc.executor import link as link_module
from spraycc.executor.link import Link, tls_context
from spraycc.executor.session import read_session
from spraycc.server.fleet import fleet as fleet_module
from spraycc.server.fleet import launch as launch_module
from spraycc.server.fleet.process_launcher import RETRY_S
from spraycc.stamps import look
from spraycc.status_reply import Pending
from spraycc.system.tls import TlsSocket
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    Leave,
    Ready,
)
from tests.sim.server.world import CommandLine, FakeLauncher, serving, settle


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
        asked = "4 executors are asked for, and nothing has been submitted so far"
        local = world.settings.local_slots_in_force
        assert build.notices == [
            f"no executor has connected yet: {asked}",
            f"compiling on this host meanwhile, {local} at once (--wait-for-cluster to wait)",
        ]


async def test_while_no_host_can_be_used_executors_are_asked_for_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user is told of one host each time, not of hundreds."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        (launcher,) = world.launchers
        asked_at = []
        for turn in range(6):
            asked_at.append(trio.current_time())
            for number in range(launcher.asked[-1]):
                await world.executor(f"e{turn}{number}", host=f"node{turn}{number}", captures=())
            assert len(launcher.asked) == turn + 1
            while len(launcher.asked) == turn + 1:
                await trio.sleep(1)
        pauses = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
        assert pauses == [pytest.approx(s, abs=2) for s in (60, 120, 240, 480, 600)]
        await build.status()
        assert len([notice for notice in build.notices if "can't capture" in notice]) == 6, build.notices


async def test_a_limit_of_the_site_is_told_once_in_each_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = "2 of 4 executors are submitted"
    words = "Slurm takes no more now: too many (SprayCC tries again later)"
    monkeypatch.setattr(FakeLauncher, "limited", lambda _: Limited(words, f"{words}; {state}", trio.current_time() - 5))
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        first, second = await world.build(), await world.build()
        runner = world.compile(first, "a")
        await trio.sleep(3.5)
        status = await first.status()
        assert (status["trouble"], status["trouble_age_s"]) == (f"{words}; {state}", 5.0)
        state = "3 of 4 executors are submitted"
        await trio.sleep(10)
        runner.close()
        await settle()
        for build in (first, second):
            await build.finish()
            told = [text for text in build.notices if text.startswith(words)]
            assert told == [f"{words}; 2 of 4 executors are submitted"]


async def test_without_a_grace_one_line_says_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, pending_grace_s=0.0) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        await trio.sleep(10)
        runner.close()
        await settle()
        await build.finish()
        (line,) = build.notices
        assert "(4 executors are asked for, and nothing has been submitted so far); compiling on this host" in line


async def test_a_build_that_waits_is_told_what_for_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = ""

    def pending(_: FakeLauncher) -> list[Pending]:
        age_s = trio.current_time() - began
        whole = Pending(system="Slurm", queue="", batch_jobs=4, executors=4, reason=reason, started=False, age_s=age_s)
        return [whole]

    monkeypatch.setattr(FakeLauncher, "pending", pending)
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        began = trio.current_time()
        await trio.sleep(3.5)
        reason = "Resources"
        await trio.sleep(100)
        assert (await build.status())["pending"][0]["reason"] == "Resources"
        ages = [text.partition(" ago")[0].rpartition(" s")[0].rpartition(" ")[2] for text in build.notices]
        assert [round(int(age), -1) for age in ages] == [0, 30, 60]
        assert all(text.endswith("wait: Resources") for text in build.notices)
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await runner.result())[1] == wire.Exited(0, 0)


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

        monkeypatch.setattr(launch_module, "ProcessLauncher", fail)
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


async def test_launches_without_executors_are_dropped_when_builds_change_the_way_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch of an executor stays, and so does one whose batch jobs may exist."""

    def withdraw(launcher: FakeLauncher) -> None:
        if (missing := sum(launcher.asked) - len(launcher.ids)) > 0:
            launcher.asked.clear()
            launcher.arguments[3](missing, 0.001, "")

    monkeypatch.setattr(FakeLauncher, "withdraw", withdraw)
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        busy = await world.executor("e1")
        start = await busy.task()

        async def change_way(number: int) -> None:
            other = await world.build(settings=replace(world.settings, setup=f"module load gcc/{number}"))
            runner = world.compile(other, "b")
            await trio.sleep(1)
            runner.close()
            await other.finish()

        await change_way(0)
        world.launchers[1].processes = 1
        for number in range(1, 21):
            await change_way(number)
        assert len(world.ports) == len(world.launchers) == 22
        assert [number for number, port in enumerate(world.ports) if not port.closed] == [0, 1, 21]
        assert [number for number, launcher in enumerate(world.launchers) if not launcher.closed] == [0, 1, 21]
        await busy.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)
        busy.link.close()
        world.launchers[1].processes = 0
        await settle()
        await change_way(21)
        assert [number for number, launcher in enumerate(world.launchers) if not launcher.closed] == [22]


async def test_executors_in_an_allocation_leave_when_only_a_build_outside_is_open(
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
        await settle()
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await idle.next()  # the build in the allocation is open
        await build.finish()
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


async def test_a_compile_does_not_wait_for_the_cluster_when_its_command_line_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compile's make may live on (nohup, a background make), so the compile must end."""
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await trio.sleep(300)
        build.close()
        with trio.fail_after(10):
            assert isinstance((await runner.result())[1], wire.RunHere)
            runner.close()
            await settle()
            later = world.compile(build, "b", wish="remote")
            assert isinstance((await later.result())[1], wire.RunHere)
        assert world.asked == [4]


async def test_a_build_whose_command_line_is_gone_asks_for_no_executors_while_its_tool_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        read, write = os.pipe()
        monkeypatch.setattr(os, "pidfd_open", lambda _: os.dup(read))  # readable when the tool has ended
        build.send(wire.ToolProcess(os.getpid()))
        runner = world.compile(build, "a")
        await settle()
        build.close()
        with trio.fail_after(10):
            assert isinstance((await runner.result())[1], wire.RunHere)
            second = world.compile(build, "b")
            assert isinstance((await second.result())[1], wire.RunHere)
        watcher = CommandLine(world.door)
        await watcher.hello()
        (open_build,) = (await watcher.status())["builds"]
        assert open_build["id"].encode() == build.build
        os.close(write)
        await settle()
        assert (await watcher.status())["builds"] == []
        assert world.asked == [4]
        os.close(read)


async def test_settings_that_start_executors_in_another_way_are_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(launcher: FakeLauncher, count: int) -> None:
        launcher.asked.append(count)
        settings, _, _, failed = launcher.arguments
        if settings.setup is None:
            failed(count, 600.0, "no such queue (correct `queues`)")

    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        monkeypatch.setattr(FakeLauncher, "ask", refuse)
        build = await world.build()
        waits = world.compile(build, "a")
        await settle()
        assert world.asked == [4]
        status = await build.status()
        assert status["trouble"] == "no such queue (correct `queues`)"
        assert build.notices == [
            "no such queue (correct `queues`)",
            "waiting for the cluster (--wait-for-cluster): executors are asked for again in 600 s",
        ]
        other = await world.build(settings=replace(world.settings, setup="module load gcc"))
        await settle()
        assert world.asked == [4]
        assert len(world.launchers) == 2
        assert (await other.status())["trouble"] == ""
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await waits.result())[1] == wire.Exited(0, 0)


async def test_executors_asked_for_in_another_way_are_withdrawn_and_their_refusal_is_no_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        (old,) = world.launchers
        assert old.asked == [4]
        await world.build(settings=replace(world.settings, setup="module load gcc"))
        await settle()
        assert old.withdrawals == 1
        old.arguments[3](4, 600.0, "")
        await trio.sleep(1)
        assert len(world.launchers) == 2
        assert world.asked == [4]


async def test_executors_are_withdrawn_while_a_launch_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = trio.Event()

    async def pack(_: Path) -> None:
        await go.wait()

    async with serving(tmp_path, monkeypatch, release_delay_s=60.0, idle_shutdown_s=600.0) as world:
        monkeypatch.setattr(launch_module, "ready_pack", pack)
        watcher = CommandLine(world.door)
        await watcher.hello()
        for again in (False, True):
            build = await world.build()
            runner = world.compile(build, "a")
            await settle()
            assert (await watcher.status())["scheduler"]["executors"]["asked"] == 4
            runner.close()
            await build.finish()
            await trio.sleep(61)
            assert (await watcher.status())["scheduler"]["executors"]["asked"] == 0, again
        assert world.launchers == []
        go.set()
        await settle()
        assert [launcher.asked for launcher in world.launchers] == [[]]
        world.compile(await world.build(), "b")
        await settle()
        assert [launcher.asked for launcher in world.launchers] == [[4]]


async def test_executors_asked_for_after_a_withdrawal_wait_for_the_launch_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = trio.Event()

    async def pack(_: Path) -> None:
        await go.wait()

    async with serving(tmp_path, monkeypatch, release_delay_s=0.0) as world:
        monkeypatch.setattr(launch_module, "ready_pack", pack)
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        runner.close()
        await build.finish()
        await trio.sleep(1)
        world.compile(await world.build(), "b")
        await trio.sleep(1)
        go.set()
        await settle()
        assert [launcher.asked for launcher in world.launchers] == [[4]]


async def test_a_refusal_is_told_once_and_a_later_build_is_told_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        world.launchers[0].arguments[3](4, 600.0, "no such queue")
        assert isinstance((await first.result())[1], wire.RunHere)
        first.close()
        await build.finish()
        later = await world.build()
        second = world.compile(later, "b")
        assert isinstance((await second.result())[1], wire.RunHere)
        second.close()
        await later.finish()
        assert build.notices == later.notices == ["no such queue; compiling on this host meanwhile"]


async def test_executors_leave_when_what_is_pending_has_been_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = trio.Event()

    async def withdrawn(launcher: FakeLauncher) -> None:
        assert launcher.withdrawals
        await cancelled.wait()

    monkeypatch.setattr(FakeLauncher, "withdrawn", withdrawn)
    async with serving(tmp_path, monkeypatch, release_delay_s=60.0) as world:
        build = await world.build()
        compiles = [world.compile(build, name) for name in "ab"]
        await settle()
        executors = [await world.executor(name) for name in ("e1", "e2")]
        for executor in executors:
            await executor.done(await executor.task())
        for runner in compiles:
            await runner.result()
            runner.close()
        await build.finish()
        await trio.sleep(61)
        assert world.launchers[0].withdrawals == 1
        watcher = CommandLine(world.door)
        await watcher.hello()
        assert (await watcher.status())["scheduler"]["executors"]["releasing"] == 2
        with pytest.raises(trio.WouldBlock):
            executors[0].take_now()
        cancelled.set()
        for executor in executors:
            assert isinstance(await executor.next(), Leave)


@pytest.mark.parametrize("answers", [True, False])
async def test_the_server_s_end_cancels_what_is_pending_before_executors_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    story: list[str] = []

    async def withdrawn(launcher: FakeLauncher) -> None:
        story.append(f"{launcher.withdrawals} withdrawn")
        await trio.sleep(2 if answers else 60)
        story.append("cancelled")

    monkeypatch.setattr(FakeLauncher, "withdrawn", withdrawn)
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.task()
        world.server.lifetime.stop(now=True)
        began = trio.current_time()
        assert isinstance(await executor.next(), Leave)
        assert story == ["1 withdrawn", "cancelled"][: 1 + answers]
        assert trio.current_time() - began == pytest.approx(2 if answers else fleet_module.CANCEL_S)


async def test_the_settings_of_the_newest_open_build_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=3) as world:
        older = await world.build()
        newer = await world.build(settings=replace(world.settings, local_slots=7))
        assert (await older.status())["server"]["local_slots"] == 7
        await newer.finish()
        assert (await older.status())["server"]["local_slots"] == 3
        await older.finish()


async def test_the_widest_open_build_says_how_many_executors_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, executors=None, wait_for_cluster=True) as world:
        wide = await world.build(settings=replace(world.settings, jobs=150))
        narrow = await world.build(settings=replace(world.settings, jobs=4))
        runners = [world.compile(narrow, str(number)) for number in range(2)]
        await settle()
        (launcher,) = world.launchers
        assert sum(launcher.asked) == 150
        await wide.finish()
        assert world.server._dispatcher.settings.jobs == 4
        for runner in runners:
            runner.close()
        await settle()
        await narrow.finish()
