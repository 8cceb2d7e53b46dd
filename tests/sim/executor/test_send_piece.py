"""An executor's pieces of files on the link: whole, and with zeros in place of bytes that can't be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor.file_piece import FilePiece
from spraycc.executor.link import Link
from spraycc.model import TaskId
from spraycc.wire.executor import FROM_EXECUTOR, FileContents, Pong
from spraycc.wire.framing import FrameReader

T = TaskId(1)


class Wire:
    """In place of a connection within one host: keeps what was sent."""

    is_within_host = True

    def __init__(self) -> None:
        self.sent = bytearray()

    async def send(self, data: Any) -> None:
        self.sent += data


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, Wire, FrameReader]]:
    wire = Wire()
    reader = FrameReader()
    yield Link(wire), wire, reader  # type: ignore[arg-type]


async def test_a_piece_is_its_frame_and_its_bytes(tmp_path: Path) -> None:
    contents = bytes(range(256)) * 4096
    (tmp_path / "f").write_bytes(contents)
    async with linked() as (link, wire, reader):
        with (tmp_path / "f").open("rb") as file:
            await link.send_piece(FilePiece(T, file.fileno(), 1000, 700_000))
        reader.feed(wire.sent)
        assert FROM_EXECUTOR.unpack(reader.next_item()) == FileContents(T, 700_000)
        assert reader.take_raw(1 << 30) == contents[1000:701_000]


async def test_a_file_that_is_too_short_leaves_the_link_usable(tmp_path: Path) -> None:
    """The announced bytes must follow: otherwise the server would take the next frames for contents."""
    (tmp_path / "f").write_bytes(b"short")
    async with linked() as (link, wire, reader):
        with (tmp_path / "f").open("rb") as file, pytest.raises(OSError, match="995 bytes shorter"):
            await link.send_piece(FilePiece(T, file.fileno(), 0, 1000))
        await link.send(Pong(3, {}))
        reader.feed(wire.sent)
        assert FROM_EXECUTOR.unpack(reader.next_item()) == FileContents(T, 1000)
        assert reader.take_raw(1000) == b"short" + bytes(995)
        assert FROM_EXECUTOR.unpack(reader.next_item()) == Pong(3, {})
