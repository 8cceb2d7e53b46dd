"""How an executor sends contents: plain, or compressed while its link is slow."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor.file_piece import FilePiece
from spraycc.executor.link import Link
from spraycc.executor.link_rate import LEAST_PIECE_BYTES
from spraycc.model import TaskId
from spraycc.system import compression
from spraycc.wire.executor import FROM_EXECUTOR, PIECE_BYTES, FileContents, MadeFile
from spraycc.wire.framing import FrameReader

CONTENTS = b"".join(b"symbol %d\n" % line for line in range(100_000))[: PIECE_BYTES // 2]


class Connection:
    """In place of a TlsSocket: keeps what was sent."""

    def __init__(self, *, is_within_host: bool = False) -> None:
        self.is_within_host = is_within_host
        self.sent = bytearray()
        self.looks = 0

    async def send(self, data: bytes) -> None:
        self.sent += data

    def tcp_info(self) -> bytes:
        self.looks += 1
        return b""

    def taken(self) -> list[Any]:
        """The messages so far; FileContents with the bytes behind it."""
        reader = FrameReader()
        reader.feed(self.sent)
        found: list[Any] = []
        while (item := reader.next_item()) is not None:
            message = FROM_EXECUTOR.unpack(item)
            found.append(message)
            if isinstance(message, FileContents):
                found.append(reader.take_raw(message.raw_bytes))
        return found


def link_of(connection: Connection, *, is_slow: bool = True) -> Link:
    link = Link(connection)  # type: ignore[arg-type]
    link.packer.is_allowed = True
    link.packer._rate.is_slow = is_slow
    return link


def piece_of(tmp_path: Path, contents: bytes) -> FilePiece:
    (tmp_path / "file").write_bytes(b"before" + contents)
    return FilePiece(TaskId(1), os.open(tmp_path / "file", os.O_RDONLY), 6, len(contents))


async def test_on_a_slow_link_a_piece_is_compressed(tmp_path: Path) -> None:
    connection = Connection()
    link = link_of(connection)
    await link.send_piece(piece_of(tmp_path, CONTENTS), link.small_file(MadeFile(TaskId(1), b"/f", 0, 0, None, b"")))
    made, message, packed = connection.taken()
    assert made == MadeFile(TaskId(1), b"/f", 0, 0, None, b"")
    assert message == FileContents(TaskId(1), len(CONTENTS), len(packed))
    assert compression.unpack(packed, len(CONTENTS)) == CONTENTS
    assert (link.packer.packed_bytes, link.packer.packed_from_bytes) == (len(packed), len(CONTENTS))
    assert connection.looks == 2  # before and after the send


@pytest.mark.parametrize("why", ["fast link", "not allowed", "same host", "incompressible", "no library"])
async def test_a_piece_goes_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    connection = Connection(is_within_host=why == "same host")
    link = link_of(connection, is_slow=why not in ("fast link", "same host"))
    link.packer.is_allowed = why != "not allowed"
    if why == "no library":
        monkeypatch.setattr(compression, "pack", lambda _: None)
    contents = random.Random(1).randbytes(100_000) if why == "incompressible" else CONTENTS
    await link.send_piece(piece_of(tmp_path, contents))
    assert connection.taken() == [FileContents(TaskId(1), len(contents)), contents]
    assert (link.packer.packed_bytes, link.packer.packed_from_bytes) == (0, 0)
    assert connection.looks == (0 if why in ("not allowed", "same host") else 2)


async def test_a_small_file_is_compressed_behind_its_message() -> None:
    connection = Connection()
    link = link_of(connection)
    made = MadeFile(TaskId(1), b"/f", 0o644, LEAST_PIECE_BYTES, 5, CONTENTS[:LEAST_PIECE_BYTES])
    await link.send_frames(link.small_file(made))
    found, message, packed = connection.taken()
    assert found == MadeFile(TaskId(1), b"/f", 0o644, LEAST_PIECE_BYTES, 5, b"")
    assert message == FileContents(TaskId(1), LEAST_PIECE_BYTES, len(packed))
    assert compression.unpack(packed, LEAST_PIECE_BYTES) == made.data


async def test_a_very_small_file_stays_in_its_message() -> None:
    connection = Connection()
    link = link_of(connection)
    made = MadeFile(TaskId(1), b"/f", 0o644, LEAST_PIECE_BYTES - 1, 5, CONTENTS[: LEAST_PIECE_BYTES - 1])
    await link.send_frames(link.small_file(made))
    assert connection.taken() == [made]


async def test_a_file_that_became_shorter_is_an_error_and_leaves_the_link_whole(tmp_path: Path) -> None:
    connection = Connection()
    link = link_of(connection)
    piece = piece_of(tmp_path, CONTENTS)
    os.truncate(tmp_path / "file", 1000)
    with pytest.raises(OSError, match="shorter"):
        await link.send_piece(piece)
    message, raw = connection.taken()
    assert message == FileContents(TaskId(1), len(CONTENTS))
    assert len(raw) == len(CONTENTS)
