"""The messages of produced files: contents, times and order."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spraycc.executor import produced_files
from spraycc.executor.box import Layer
from spraycc.executor.file_piece import FilePiece
from spraycc.executor.prepare import Prepared
from spraycc.executor.produced_files import file_messages, produced_messages
from spraycc.model import TaskId
from spraycc.system.filesystems import FileSystems
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


def report(monkeypatch: pytest.MonkeyPatch, *extents: tuple[int, int], file_system: bytes = b"zfs") -> None:
    """Have lseek report these (begin, end) of data, and holes elsewhere."""
    monkeypatch.setattr(FileSystems, "_type", lambda self, directory: file_system)

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


@pytest.mark.parametrize(
    ("file_system", "is_read"),
    [(b"ext4", False), (b"xfs", False), (b"tmpfs", False), (b"zfs", True), (b"nfs4", True), (b"fuse.new", True)],
)
def test_holes_are_read_on_file_systems_that_may_report_data_as_holes(
    file: Path, monkeypatch: pytest.MonkeyPatch, file_system: bytes, is_read: bool
) -> None:
    """To read the holes of a disk image takes much longer than to send its data."""
    report(monkeypatch, (MIB, 2 * MIB), (3 * MIB, 4 * MIB), file_system=file_system)
    real = produced_files._begins_with_zeros
    read = []

    def begins_with_zeros(descriptor: int, begin: int, size: int) -> bool:
        read.append(begin)
        return real(descriptor, begin, size)

    monkeypatch.setattr(produced_files, "_begins_with_zeros", begins_with_zeros)
    assert sent(file) == (file.read_bytes(), [MIB] * 3)
    assert read == ([0, 2 * MIB, 4 * MIB] if is_read else [])


def produced(tmp_path: Path, times_ns: dict[str, int], began_ns: int, ended_ns: int) -> dict[str, int | None]:
    """The files' explicit times in the messages, in the messages' order. The command left files with these times."""
    root, upper = tmp_path / "root", tmp_path / "upper"
    root.mkdir()
    upper.mkdir()
    for name, time_ns in times_ns.items():
        (upper / name).touch()
        os.utime(upper / name, ns=(time_ns, time_ns))
    layer = Layer(bytes(root), bytes(upper), bytes(tmp_path / "work"))
    messages = produced_messages(TaskId(1), [layer], Prepared(), [], began_ns, ended_ns)
    made = [message for message in messages if isinstance(message, MadeFile)]
    return {Path(os.fsdecode(message.path)).name: message.mtime_ns for message in made}


def test_a_time_in_whole_seconds_is_the_present_time(tmp_path: Path) -> None:
    """Some file systems keep no fractions: a file is then up to a second older than its command."""
    second = 10**9
    begun, set_by_command = 1_700_000_000 * second, 1_699_999_999 * second
    times = produced(
        tmp_path, {"new": begun, "old": set_by_command, "exact": begun + 1}, begun + 600_000_000, begun + 900_000_000
    )
    assert times == {"new": None, "old": set_by_command, "exact": begun + 1}


def test_files_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    """The server gives them new times in this order, and make compares them."""
    second = 10**9
    times = produced(tmp_path, {"a": 3 * second, "b": second, "c": 2 * second}, 0, 4 * second)
    assert list(times) == ["b", "c", "a"]
