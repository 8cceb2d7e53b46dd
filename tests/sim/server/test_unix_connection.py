"""A connection of the Unix socket that is closed during a send, and a connection with two writers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio

from spraycc.server.host.unix_connection import Peer
from spraycc.wire.framing import FrameReader

#: More than a socket's buffers hold.
LARGE = bytes(4 << 20)


@pytest.fixture
def ends() -> Iterator[tuple[Peer, socket.socket]]:
    ours, theirs = socket.socketpair()
    peer = Peer(ours)
    theirs.setblocking(False)
    yield peer, theirs
    ours.close()  # outside trio by now
    theirs.close()


async def read_items(sock: socket.socket, count: int) -> list[object]:
    reader = FrameReader()
    items: list[object] = []
    while len(items) < count:
        await trio.lowlevel.wait_readable(sock)
        reader.feed(sock.recv(1 << 20))
        while (item := reader.next_item()) is not None:
            items.append(item)
    return items


async def test_flushed_after_it_was_closed(ends: tuple[Peer, socket.socket]) -> None:
    """A runner is killed after an answer that did not fit into the socket, and before the coroutine that flushes it runs."""
    peer, _ = ends
    peer.send_now(["out", 1, LARGE])
    assert peer.is_behind
    peer.close()
    await peer.flush()
    await peer.send(["exit", 0, 0])
    assert not peer.is_behind


async def test_closed_while_two_flush(ends: tuple[Peer, socket.socket]) -> None:
    peer, _ = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, ["out", 1, LARGE])
        nursery.start_soon(peer.send, ["out", 2, LARGE])
        await trio.testing.wait_all_tasks_blocked()
        peer.close()


async def test_two_that_send_at_once(ends: tuple[Peer, socket.socket]) -> None:
    """Two attempts of one task send to a runner that reads slowly: both wait, and everything arrives."""
    peer, theirs = ends
    sent: list[int] = []

    async def send(number: int) -> None:
        await peer.send(["out", number, LARGE])
        sent.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, 1)
        nursery.start_soon(send, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == []
        items = await read_items(theirs, 2)
    assert sorted(sent) == [1, 2]
    assert sorted(item[1] for item in items) == [1, 2]  # type: ignore[index]
    assert all(item[2] == LARGE for item in items)  # type: ignore[index]
