"""Contents of large files behind their messages: in any pieces, of attempts that ended, from peers that lie or are silent."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from spraycc.model import ExecutorId, TaskId
from spraycc.scheduler.events import AttemptEnded, ExecutorLost, Outcome
from spraycc.server.fleet import contents
from spraycc.server.fleet.credentials import Credentials, make_credentials
from spraycc.wire import executor as wire
from tests.sim.server.executor_peers import Server, ended, send, send_contents, serving, task

E1 = ExecutorId("e1")
MIB = 1 << 20


@pytest.fixture(scope="module")
def session() -> Credentials:
    return make_credentials()


async def begin(server: Server, directory: Path, size: int, announced: int = MIB) -> Any:
    """A task that has announced a file of this size, and the first piece of it."""
    stream = await server.ready()
    server.hub.links[E1].start(task(directory), 1)
    await send(stream, made(directory, size), wire.FileContents(TaskId(1), announced))
    return stream


def made(directory: Path, size: int) -> wire.MadeFile:
    return wire.MadeFile(TaskId(1), os.fsencode(directory / "big"), 0o644, size, None, b"")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", [contents.LARGE_BYTES, contents.LARGE_BYTES + 1, 5 * MIB + 7])
async def test_contents_arrive_whole(session: Credentials, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[E1].start(task(tmp_path), 1)
        await send(stream, made(tmp_path, size))
        for at in range(0, size, MIB):
            await send_contents(stream, data[at : at + MIB])
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(1), Outcome.DONE)
    assert (tmp_path / "big").read_bytes() == data


async def test_other_messages_between_pieces_keep_their_place(session: Credentials, tmp_path: Path) -> None:
    async with serving(session) as server:
        stream = await begin(server, tmp_path, 3 * MIB)
        await stream.send_all(b"a" * MIB)
        await send(stream, wire.Pong(7, {"tasks": 1}), wire.FileHole(TaskId(1), MIB))
        await send_contents(stream, b"b" * MIB)
        await send(stream, ended())
        link = server.hub.links[E1]
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(1), Outcome.DONE)
        assert (link.answered_ping, link.counters) == (7, {"tasks": 1})
    assert (tmp_path / "big").read_bytes() == b"a" * MIB + bytes(MIB) + b"b" * MIB


async def test_contents_of_an_aborted_attempt_are_received_and_dropped(session: Credentials, tmp_path: Path) -> None:
    async with serving(session) as server:
        stream = await begin(server, tmp_path, 2 * MIB)
        link = server.hub.links[E1]
        await stream.send_all(bytes(MIB // 2))
        await trio.testing.wait_all_tasks_blocked()
        link.abort(TaskId(1))
        await stream.send_all(bytes(MIB // 2))
        await send_contents(stream, bytes(MIB))
        await send(stream, ended(cancelled=True))
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(1), Outcome.CANCELLED)
        link.start(task(tmp_path, 2), 1)
        await send(stream, ended(2))
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(2), Outcome.DONE)
    assert list(tmp_path.iterdir()) == []


async def test_contents_of_no_task_are_received_and_dropped(session: Credentials, tmp_path: Path) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        await send_contents(stream, bytes(MIB))
        server.hub.links[E1].start(task(tmp_path), 1)
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(1), Outcome.DONE)


@pytest.mark.parametrize(
    "messages",
    [
        [wire.FileContents(TaskId(1), wire.PIECE_BYTES + 1)],
        [wire.FileContents(TaskId(1), 0)],
        [wire.FileContents(TaskId(1), -1)],
        [wire.FileContents(TaskId(1), 10, 10)],
        [wire.FileContents(TaskId(1), 10, -1)],
        [wire.FileContents(TaskId(1), 2)],
        [wire.FileContents(TaskId(1), 1), wire.FileContents(TaskId(1), 1)],
    ],
)
async def test_sizes_that_can_t_be_end_the_connection(
    session: Credentials, tmp_path: Path, messages: list[wire.FileContents]
) -> None:
    """The file has one byte."""
    before = open_files()
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[E1].start(task(tmp_path), 1)
        await send(stream, made(tmp_path, 1))
        for message in messages:
            await send(stream, message)
            await stream.send_all(b"x")
        assert await server.hub.events.receive() == ExecutorLost(E1)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


async def test_contents_before_any_file_end_the_connection(session: Credentials, tmp_path: Path) -> None:
    async with serving(session) as server:
        stream = await server.ready()
        server.hub.links[E1].start(task(tmp_path), 1)
        await send_contents(stream, b"x")
        assert await server.hub.events.receive() == ExecutorLost(E1)


@pytest.mark.parametrize("sent", [0, 1, MIB // 2])
async def test_a_connection_that_ends_in_the_middle_leaves_nothing(
    session: Credentials, tmp_path: Path, sent: int
) -> None:
    before = open_files()
    async with serving(session) as server:
        stream = await begin(server, tmp_path, 3 * MIB)
        await stream.send_all(bytes(sent))
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(stream)
        assert await server.hub.events.receive() == ExecutorLost(E1)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


async def test_an_executor_is_silent_only_while_no_contents_come(session: Credentials, tmp_path: Path) -> None:
    """A slow link: the executor can't answer a ping before its piece is sent."""
    async with serving(session) as server:
        stream = await begin(server, tmp_path, MIB)
        link = server.hub.links[E1]
        for _ in range(10):
            await trio.sleep(15.0)
            await stream.send_all(bytes(1000))
            await trio.testing.wait_all_tasks_blocked()
            link.beat(1, heartbeat_s=5.0, lost_after_s=20.0)
        await trio.testing.wait_all_tasks_blocked()
        assert list(server.hub.links) == [E1]
        await trio.sleep(21.0)
        link.beat(2, heartbeat_s=5.0, lost_after_s=20.0)
        assert await server.hub.events.receive() == ExecutorLost(E1)
    assert list(tmp_path.iterdir()) == []


async def test_a_sender_on_a_slow_link_hears_the_server(session: Credentials, tmp_path: Path) -> None:
    """The executor takes a silent server for lost, and its own Ping waits behind the contents."""
    heard: list[float] = []

    async def listen(stream: Any) -> None:
        while await stream.receive_some():
            heard.append(trio.current_time())

    async with serving(session) as server:
        stream = await begin(server, tmp_path, MIB)
        link = server.hub.links[E1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, stream)
            began = trio.current_time()
            for number in range(60):
                await trio.sleep(1.0)
                await stream.send_all(bytes(1000))
                if number % 5 == 4:
                    link.beat(number, heartbeat_s=5.0, lost_after_s=20.0)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        times = [began, *heard, trio.current_time()]
        assert max(after - before for before, after in itertools.pairwise(times)) < 15.0


async def test_those_that_announce_much_and_send_nothing_keep_nobody_waiting(
    session: Credentials, tmp_path: Path
) -> None:
    async with serving(session) as server:
        for number in range(30):
            name = b"silent-%d" % number
            stream = await server.ready(name)
            link = server.hub.links[ExecutorId(name.decode())]
            link.start(task(tmp_path, number + 2), 1)
            path = os.fsencode(tmp_path / "never")
            await send(
                stream,
                wire.MadeFile(TaskId(number + 2), path, 0o644, 2 * MIB, None, b""),
                wire.FileContents(TaskId(number + 2), MIB),
            )
        stream = await begin(server, tmp_path, MIB)
        await stream.send_all(b"x" * MIB)
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(E1, TaskId(1), Outcome.DONE)
    assert (tmp_path / "big").read_bytes() == b"x" * MIB
