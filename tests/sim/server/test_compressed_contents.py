"""Compressed contents from an executor: they are restored, or the executor's own connection ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spraycc.model import ExecutorId, TaskId
from spraycc.scheduler.events import AttemptEnded, ExecutorLost, Outcome
from spraycc.server.fleet import contents
from spraycc.server.fleet.credentials import Credentials, make_credentials
from spraycc.system import compression
from spraycc.wire import executor as wire
from spraycc.wire.framing import FrameReader
from tests.sim.server.executor_peers import Server, ended, send, send_contents, serving, task


@pytest.fixture(scope="module")
def session() -> Credentials:
    return make_credentials()


def piece(number: int, size: int = wire.PIECE_BYTES) -> bytes:
    """Contents that become smaller. Pieces of different numbers differ."""
    return b"".join(b"symbol %d.%d\n" % (number, line) for line in range(1 + size // 10))[:size]


async def send_packed(stream: Any, packed: bytes, size: int, number: int = 1) -> None:
    """Send a compressed piece of the file of task ``number``."""
    await send(stream, wire.FileContents(TaskId(number), size, len(packed)))
    await stream.send_all(packed)


async def start_large_file(server: Server, stream: Any, path: Path, size: int) -> None:
    server.hub.links[ExecutorId("e1")].start(task(path.parent), 1)
    await send(stream, wire.MadeFile(TaskId(1), os.fsencode(path), 0o644, size, None, b""))


@pytest.mark.parametrize("last", [1, 1000, contents.LARGE_BYTES, wire.PIECE_BYTES])
async def test_compressed_and_plain_pieces_make_the_file(session: Credentials, tmp_path: Path, last: int) -> None:
    pieces = [piece(0), piece(1), piece(2, 300_000), piece(3), piece(4, last)]
    async with serving(session) as server:
        stream = await server.ready()
        await start_large_file(server, stream, tmp_path / "big", sum(map(len, pieces)))
        for number, data in enumerate(pieces):
            packed = compression.pack(data)
            if number == 1 or packed is None:
                await send_contents(stream, data)
            else:
                await send_packed(stream, packed, len(data))
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.DONE)
        assert (tmp_path / "big").read_bytes() == b"".join(pieces)


def _damaged(packed: bytes) -> tuple[bytes, int]:
    return packed[: len(packed) // 2] + bytes(len(packed) - len(packed) // 2), wire.PIECE_BYTES


def _of_another_size(packed: bytes) -> tuple[bytes, int]:
    return packed, wire.PIECE_BYTES - 1


def _with_bytes_behind(packed: bytes) -> tuple[bytes, int]:
    return packed + b"x", wire.PIECE_BYTES


def _no_compressed_bytes(packed: bytes) -> tuple[bytes, int]:
    return b"not a frame of Zstandard", wire.PIECE_BYTES


def _small_and_damaged(packed: bytes) -> tuple[bytes, int]:
    return b"not a frame of Zstandard", 1000


@pytest.mark.parametrize(
    "spoil", [_damaged, _of_another_size, _with_bytes_behind, _no_compressed_bytes, _small_and_damaged]
)
async def test_a_wrong_compressed_piece_ends_its_own_connection_only(
    session: Credentials, tmp_path: Path, spoil: Callable[[bytes], tuple[bytes, int]]
) -> None:
    packed = compression.pack(piece(0))
    assert packed is not None
    async with serving(session) as server:
        stream, other = await server.ready(), await server.ready(b"e2")
        await start_large_file(server, stream, tmp_path / "big", 4 * wire.PIECE_BYTES)
        wrong, size = spoil(packed)
        await send_packed(stream, packed, wire.PIECE_BYTES)
        await send_packed(stream, wrong, size)
        assert await server.hub.events.receive() == ExecutorLost(ExecutorId("e1"))
        assert list(server.hub.links) == ["e2"]
        assert list(tmp_path.iterdir()) == []
        server.hub.links[ExecutorId("e2")].start(task(tmp_path, 2), 1)
        await send(other, ended(2))
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e2"), TaskId(2), Outcome.DONE)


async def test_compressed_pieces_of_an_unwanted_attempt_are_received(session: Credentials, tmp_path: Path) -> None:
    packed = compression.pack(piece(0))
    assert packed is not None
    async with serving(session) as server:
        stream = await server.ready()
        await start_large_file(server, stream, tmp_path / "big", 3 * wire.PIECE_BYTES)
        await send_packed(stream, packed, wire.PIECE_BYTES)
        server.hub.links[ExecutorId("e1")].abort(TaskId(1))
        await send_packed(stream, packed, wire.PIECE_BYTES)
        await send_packed(stream, packed, wire.PIECE_BYTES, number=77)
        await send(stream, ended(cancelled=True))
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.CANCELLED)
        assert list(tmp_path.iterdir()) == []


async def test_a_server_that_fails_to_unpack_has_the_command_run_here_and_wants_nothing_packed(
    session: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = compression.pack(piece(0))
    assert packed is not None
    assert compression.is_installed()
    monkeypatch.setattr(compression, "_failed", False)
    monkeypatch.setitem(sys.modules, "zstandard", None)  # an import of it fails
    async with serving(session) as server:
        stream = await server.ready()
        await start_large_file(server, stream, tmp_path / "big", 2 * wire.PIECE_BYTES)
        reader = FrameReader()
        while (item := reader.next_item()) is None:
            reader.feed(await stream.receive_some(4096))
        first = wire.TO_EXECUTOR.unpack(item)
        assert isinstance(first, wire.StartTask)
        assert first.may_pack
        for _ in range(2):
            await send_packed(stream, packed, wire.PIECE_BYTES)
        await send(stream, ended())
        assert await server.hub.events.receive() == AttemptEnded(ExecutorId("e1"), TaskId(1), Outcome.REFUSED)
        server.hub.links[ExecutorId("e1")].start(task(tmp_path, 2), 1)
        while (item := reader.next_item()) is None:
            reader.feed(await stream.receive_some(4096))
        second = wire.TO_EXECUTOR.unpack(item)
        assert isinstance(second, wire.StartTask)
        assert not second.may_pack
