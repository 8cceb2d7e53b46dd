"""The messages of one produced file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spraycc.executor import produced_files
from spraycc.executor.file_piece import FilePiece
from spraycc.executor.produced_files import file_messages
from spraycc.model import TaskId
from spraycc.wire.executor import FileHole, MadeFile

MIB = 1024 * 1024


def sent(path: Path) -> tuple[bytes, list[int]]:
    """The contents as the server gets them, and the sizes of the holes."""
    contents, holes = b"", []
    for message in file_messages(TaskId(1), bytes(path), bytes(path), path.stat(), None):
        if isinstance(message, MadeFile):
            contents += message.data
        elif isinstance(message, FileHole):
            contents += bytes(message.size_bytes)
            holes.append(message.size_bytes)
        elif isinstance(message, FilePiece):
            piece, at = bytearray(message.size_bytes), 0
            while at < len(piece):
                at += message.read(at, memoryview(piece)[at:])
            contents += piece
    return contents, holes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A hole, data, a hole, data, and a hole, of a MiB each."""
    path = tmp_path / "file"
    with path.open("wb") as out:
        for place in (1, 3):
            out.seek(place * MIB)
            out.write(os.urandom(MIB))
        out.truncate(5 * MIB)
    if path.stat().st_blocks * 512 >= path.stat().st_size:
        pytest.skip("the file system of the temporary directory makes no holes")
    return path


def report(monkeypatch: pytest.MonkeyPatch, *extents: tuple[int, int]) -> None:
    """Have lseek report these (begin, end) of data, and holes elsewhere."""

    def lseek(descriptor: int, at: int, whence: int) -> int:
        if whence == os.SEEK_HOLE:
            return next((end for begin, end in extents if begin <= at < end), at)
        assert whence == os.SEEK_DATA
        for begin, end in extents:
            if at < end:
                return max(at, begin)
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    monkeypatch.setattr(os, "lseek", lseek)


def test_holes_stay_holes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(monkeypatch, (MIB, 2 * MIB), (3 * MIB, 4 * MIB))
    assert sent(file) == (file.read_bytes(), [MIB] * 3)


@pytest.mark.parametrize(
    ("extents", "holes"),
    [
        ([], []),
        ([(MIB, 2 * MIB)], [MIB]),
        ([(3 * MIB, 4 * MIB)], [MIB]),
        ([(MIB, 2 * MIB), (3 * MIB, 4 * MIB - 1)], [MIB, MIB]),
        ([(MIB + 1, 2 * MIB), (3 * MIB, 4 * MIB)], [MIB, MIB]),
    ],
)
def test_data_that_is_reported_as_a_hole_is_sent(
    file: Path, monkeypatch: pytest.MonkeyPatch, extents: list[tuple[int, int]], holes: list[int]
) -> None:
    # The bytes beside a reported hole decide whether it is one, so they must not be zeros by chance.
    with file.open("r+b") as out:
        for place in (MIB, 4 * MIB - 1):
            out.seek(place)
            out.write(b"x")
    report(monkeypatch, *extents)
    assert sent(file) == (file.read_bytes(), holes)


def test_only_the_beginning_of_a_large_hole_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(monkeypatch)
    monkeypatch.setattr(produced_files, "_CHECKED_BYTES", MIB)
    assert sent(file) == (bytes(5 * MIB), [5 * MIB])
    monkeypatch.setattr(produced_files, "_CHECKED_BYTES", MIB + 4096)
    assert sent(file) == (file.read_bytes(), [])
