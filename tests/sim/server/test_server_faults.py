"""An internal fault affects only the task, build or executor in which it occurs, and not the server."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.cluster.driver import ClusterError, Trouble
from spraycc.model import BuildId, Command, Description, ExecutorId, Kind, Placement, TaskId
from spraycc.scheduler import actions, events
from spraycc.server.builds.build import Builds
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.fleet.fleet import Fleet
from spraycc.server.host import subprocesses, supervise
from spraycc.server.host.offload import Disk
from spraycc.server.host.unix_connection import Peer
from spraycc.server.task_table import TaskTable
from spraycc.server.tasks.capture_roots import CaptureRoots
from spraycc.server.tasks.durations import TaskHistory
from spraycc.server.tasks.task import Stay, Task
from spraycc.settings import Settings
from spraycc.wire.framing import FrameReader
from spraycc.wire.runner import FROM_SERVER, Output, RunHere
from tests.system.harness.waiting import HANG_S


class Runner:
    """In place of a runner's connection."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.pidfd: int | None = None
        self.is_behind = False
        self.sent: list[Any] = []
        self.dismissed = False

    def send_now(self, *items: Any) -> None:
        self.sent += items

    def open_pidfd(self) -> None:
        pass

    def dismiss(self) -> None:
        self.dismissed = True


class Link:
    """In place of an executor's connection."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.started: list[int] = []
        self.given_up = False

    def start(self, task: Task, attempt: int) -> None:
        if self.fails:
            raise RuntimeError("a fault of ours")
        self.started.append(task.id)

    def give_up(self) -> None:
        self.given_up = True


def arrive(
    dispatcher: Dispatcher, number: int, placement: Placement = Placement.REMOTE, peer: Runner | Peer | None = None
) -> Any:
    runner = peer or Runner()
    command = Command((b"gcc",), b"/usr/bin/gcc", b"/w", (), 0o022)
    description = Description(Kind.COMPILE, placement, "compile")
    plan = CaptureRoots((b"/w",), (), ())
    dispatcher.tasks.known[TaskId(number)] = Task(
        TaskId(number), BuildId("b"), command, description, runner, plan, live=False  # type: ignore[arg-type]
    )  # fmt: skip
    dispatcher.post(events.TaskArrived(TaskId(number), BuildId("b"), placement))
    return runner


@pytest.fixture(autouse=True)
def no_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts none of the executors that the scheduler asks for."""
    monkeypatch.setattr(Fleet, "ask", lambda self, count: None)


async def make_dispatcher(tmp_path: Path, nursery: trio.Nursery) -> Dispatcher:
    state = tmp_path / "state"
    builds, history = Builds(tmp_path, nursery), TaskHistory(state, b"/w")
    tasks = TaskTable(builds, history, Disk())
    dispatcher = Dispatcher(nursery, Settings(capture="overlay"), builds, tasks, state, b"/w")
    dispatcher.post(events.BuildStarted(BuildId("b"), None))
    return dispatcher


async def test_an_executor_that_can_not_be_given_a_task_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)
        bad, good = Link(fails=True), Link(fails=False)
        dispatcher.fleet.links[ExecutorId("bad")] = bad  # type: ignore[assignment]
        dispatcher.post(events.ExecutorJoined(ExecutorId("bad")))
        runner = arrive(dispatcher, 1)
        assert bad.given_up
        assert (runner.dismissed, runner.sent) == (False, [])
        assert "a fault of ours" in caplog.text
        # The connection of the bad executor ends, and the task goes to the good one.
        del dispatcher.fleet.links[ExecutorId("bad")]
        dispatcher.post(events.ExecutorLost(ExecutorId("bad")))
        dispatcher.fleet.links[ExecutorId("good")] = good  # type: ignore[assignment]
        dispatcher.post(events.ExecutorJoined(ExecutorId("good")))
        assert good.started == [1]


async def test_a_runner_that_can_not_be_answered_helps_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)

        def fail(task: Task, **_: object) -> None:
            raise RuntimeError("a fault of ours")

        with monkeypatch.context() as patch:
            patch.setattr(Task, "run_here", fail)
            assert arrive(dispatcher, 1, Placement.HERE_NOW).dismissed
        # The fault affects no other runner.
        other = arrive(dispatcher, 2, Placement.HERE_NOW)
        assert (other.dismissed, len(other.sent)) == (False, 1)


async def test_a_runner_that_reads_late_learns_that_it_runs_the_command(tmp_path: Path) -> None:
    """Output of an attempt fills the socket, and the coroutine that passed it on has ended with its executor."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    peer = Peer(ours)
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)
        peer.send_now(FROM_SERVER.pack(Output(1, bytes(4 << 20))))
        assert peer.is_behind
        arrive(dispatcher, 1, Placement.HERE_NOW, peer)
        reader, last = FrameReader(), None
        with trio.fail_after(HANG_S):
            while not isinstance(last, RunHere):
                await trio.lowlevel.wait_readable(theirs)
                reader.feed(theirs.recv(1 << 20))
                while (item := reader.next_item()) is not None:
                    last = FROM_SERVER.unpack(item)
    peer.close()
    theirs.close()


@pytest.mark.parametrize(
    ("placement", "is_seen", "stay"),
    [
        (Placement.HERE_HEAVY, True, Stay.NO),
        (Placement.HERE_HEAVY, False, Stay.TELL),
        (Placement.HERE_NOW, False, Stay.NO),
    ],
)
async def test_a_slot_is_held_until_its_commands_end(
    tmp_path: Path, placement: Placement, is_seen: bool, stay: Stay
) -> None:
    """Without a descriptor for the process, only the runner can tell. It stays for that."""
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)
        runner = Runner()
        runner.pidfd = 3 if is_seen else None
        arrive(dispatcher, 1, placement, runner)
        [item] = runner.sent
        assert FROM_SERVER.unpack(item) == RunHere(0, 0, stay.value)


async def test_an_executor_that_nobody_knows_has_the_runner_help_itself(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)
        dispatcher.post(events.ExecutorJoined(ExecutorId("unknown")))
        assert arrive(dispatcher, 1).dismissed


async def test_all_actions_have_an_end_where_they_fail(tmp_path: Path) -> None:
    """If an action fails, its error handling does no further harm."""
    async with trio.open_nursery() as nursery:
        dispatcher = await make_dispatcher(tmp_path, nursery)
        for action in (
            actions.Abort(ExecutorId("x"), TaskId(9)),
            actions.Release(ExecutorId("x")),
            actions.SetWidth(BuildId("x"), 3),
            actions.RunLocally(TaskId(9), "x"),
        ):
            dispatcher._give_up(action)


async def test_what_has_a_fault_begins_anew() -> None:
    runs = []

    async def work() -> None:
        runs.append(trio.current_time())
        if len(runs) < 3:
            raise RuntimeError("a fault of ours")

    await supervise.keep_going("work", work)
    assert [b - a for a, b in itertools.pairwise(runs)] == [supervise.PAUSE_S] * 2


async def test_what_has_nothing_but_faults_ends() -> None:
    runs = []

    async def work() -> None:
        runs.append(1)
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        await supervise.keep_going("work", work)
    assert len(runs) == supervise.MOST_FAULTS


async def test_faults_are_forgotten() -> None:
    runs = []

    async def work() -> None:
        runs.append(1)
        await trio.sleep(supervise.FORGET_S + 1)
        if len(runs) < 3 * supervise.MOST_FAULTS:
            raise RuntimeError("a fault of ours")

    await supervise.keep_going("work", work)
    assert len(runs) == 3 * supervise.MOST_FAULTS


@pytest.mark.parametrize("what", ["memfd_create", "thread"])
async def test_a_command_that_can_not_be_started_now(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    if what == "thread":
        monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)  # trio starts processes in one
    else:
        monkeypatch.setattr(os, "memfd_create", fail)
    with pytest.raises(ClusterError) as caught:
        await subprocesses.run_command(["true"], b"", {}, 10)
    assert caught.value.kind is Trouble.UNREACHABLE  # the server tries again soon


async def test_a_fault_of_the_history_costs_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = TaskHistory(tmp_path / "state", b"/w")

    def fail() -> None:
        raise RuntimeError("a fault of ours")

    assert history._store is not None
    history._store.load = fail  # type: ignore[method-assign,assignment]
    with caplog.at_level(logging.WARNING), trio.fail_after(10):
        await history.run()
        await history.loaded()
    assert "kept in memory only" in caplog.text
