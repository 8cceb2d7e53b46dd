"""The reader of a record, and the environment that it needs."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from spraycc import stamps
from spraycc.executor.recorder import (
    DONE,
    FILE_BYTES,
    HEADER,
    LIBRARY_NAME,
    MAGIC,
    OPENED,
    RECORD,
    RECORD_COUNT,
    TEXT_BYTES,
    TEXT_START,
    WRITTEN,
    Accesses,
    RecordFile,
    environment,
    find_recorder,
    parse,
)

OVERFLOW, UNDESCRIBED = 1, 2
MISSING = stamps.MISSING
ONE = stamps.LAYOUT.pack(1, 11, 111, 1111, 11111)
TWO = stamps.LAYOUT.pack(1, 22, 222, 2222, 22222)
READ, WRITE, UNFINISHED = DONE, DONE | WRITTEN, 0


def now(kind: int, number: int = 0) -> bytes:
    """The stamp of a product."""
    return stamps.LAYOUT.pack(kind, number, 0, 0, 0)


TREE, ELSEWHERE, ANOTHER = now(2), now(4), now(5)

#: lookup, stamp, mark
Record = tuple[bytes, bytes, int]


def parts(records: list[Record], flags: int = 0, pending: int = 0, magic: int = MAGIC) -> tuple[bytes, bytes, bytes]:
    """The three parts of a record file with these records."""
    texts = b"".join(lookup + b"\0" for lookup, _, _ in records)
    header = HEADER.pack(magic, len(records) << 32 | len(texts), flags, pending)
    return header, b"".join(RECORD.pack(stamp, mark) for _, stamp, mark in records), texts


@pytest.mark.parametrize(
    ("records", "entries"),
    [
        pytest.param([], [], id="empty"),
        pytest.param(
            [(b"f/b", ONE, READ), (b"l/a", MISSING, READ), (b"f/a", TWO, READ)],
            [(b"f/b", ONE, False), (b"l/a", MISSING, False), (b"f/a", TWO, False)],
            id="in order",
        ),
        pytest.param(
            [(b"f/a", MISSING, READ), (b"f/b", ONE, READ), (b"f/a", TWO, READ)],
            [(b"f/a", MISSING, False), (b"f/b", ONE, False)],
            id="only the first access of a lookup",
        ),
        pytest.param(
            [(b"f/a", MISSING, WRITE), (b"f/a", ONE, READ), (b"l/a", ONE, READ), (b"n/a", ONE, READ)],
            [(b"f/a", MISSING, True)],
            id="written before read, by whatever kind of lookup",
        ),
        pytest.param(
            [(b"f/a", ONE, READ), (b"f/a", MISSING, WRITE), (b"f/a", TWO, READ), (b"l/a", TWO, READ)],
            [(b"f/a", ONE, False)],
            id="read before written",
        ),
        pytest.param(
            [(b"l/a", ONE, READ), (b"f/a", MISSING, WRITE), (b"f/a", TWO, READ)],
            [(b"l/a", ONE, False), (b"f/a", MISSING, True)],
            id="another lookup of it before written",
        ),
        pytest.param(
            [(b"l/a", MISSING, READ), (b"f/a", ANOTHER, WRITE), (b"f/a", ONE, READ)],
            [(b"l/a", MISSING, False), (b"f/a", MISSING, True)],
            id="a name that was missing and was made",
        ),
        pytest.param(
            [(b"f/a", MISSING, WRITE), (b"l/a", ONE, READ), (b"f/a", ANOTHER, WRITE)],
            [(b"f/a", MISSING, True)],
            id="the command's own file was removed",
        ),
        pytest.param(
            [
                (b"f/a/./b", ONE, READ),
                (b"f/a//b", TWO, READ),
                (b"n/a/.", ONE, READ),
                (b"l/a/", TWO, READ),
                (b"l/b/./", TWO, READ),
                (b"l/", ONE, READ),
            ],
            [
                (b"f/a/b", ONE, False),
                (b"n/a", ONE, False),
                (b"f/a", TWO, False),
                (b"f/b", TWO, False),
                (b"l/", ONE, False),
            ],
            id="tidy paths; a slash at the end has the link followed",
        ),
        pytest.param([(b"f/\xff \n", ONE, READ)], [(b"f/\xff \n", ONE, False)], id="any bytes"),
    ],
)
def test_entries(records: list[Record], entries: list[tuple[bytes, bytes, bool]]) -> None:
    assert parse(*parts(records)) == Accesses(True, entries)


MADE = [(b"f/t", TREE, WRITE)]
FILE_IN_IT: list[Record] = [(b"f/t/x", MISSING, WRITE)]


def moved(number: int) -> list[Record]:
    """Two records of the rename of the directory t to d; the first has this number."""
    return [(b"f/d", ELSEWHERE, WRITE), (b"f/t", now(5, number), WRITE)]


@pytest.mark.parametrize(
    ("records", "read"),
    [
        (MADE, {b"f/ta", b"f/t/../a", b"f/a"}),
        ([*MADE, (b"f/t", MISSING, WRITE)], {b"f/ta", b"f/t/../a", b"f/a"}),
        ([(b"f/t", MISSING, WRITE)], {b"f/t/x", b"f/t/a", b"f/t/a/b", b"f/ta", b"f/t/../a", b"f/a"}),
        ([*MADE, (b"f/t/a", ELSEWHERE, WRITE)], {b"f/t/a", b"f/t/a/b", b"f/ta", b"f/t/../a", b"f/a"}),
        ([(b"f/t/a", TREE, WRITE)], {b"f/t/x", b"f/t", b"f/ta", b"f/t/../a", b"f/a"}),
        ([*MADE, (b"f/t", ANOTHER, WRITE), (b"f/t", ELSEWHERE, WRITE)], {b"f/t", b"f/t/x", b"f/t/a", b"f/t/a/b", b"f/ta", b"f/t/../a", b"f/a"}),
    ],
    ids=["made", "made and touched", "touched", "link in it", "below", "replaced by a link"],
)  # fmt: skip
def test_below_a_directory_that_the_command_made(records: list[Record], read: set[bytes]) -> None:
    paths = (b"f/t", b"f/t/x", b"f/t/a", b"f/t/a/b", b"f/ta", b"f/t/../a", b"f/a")
    entries = parse(*parts([*records, *((path, ONE, READ) for path in paths)])).entries
    assert {lookup for lookup, _, is_write in entries if not is_write} == read


@pytest.mark.parametrize(
    ("records", "read"),
    [
        ([*MADE, *FILE_IN_IT, *moved(3)], {b"f/d/..", b"f/d/../x"}),
        ([*MADE, *moved(2), (b"f/t", TREE, WRITE), *FILE_IN_IT], {b"f/d/..", b"f/d/../x"}),
        ([*MADE, (b"f/t/l", ELSEWHERE, WRITE), *moved(3)], {b"f/d/..", b"f/d/../x", b"f/d/l/x"}),
        (moved(1), {b"f/d", b"n/d", b"f/d/x", b"f/d/l/x", b"f/d/..", b"f/d/../x"}),
        ([*MADE, *moved(99)], {b"f/d", b"n/d", b"f/d/x", b"f/d/l/x", b"f/d/..", b"f/d/../x"}),
        ([(b"f/o", TREE, WRITE), *moved(2)], {b"f/d", b"n/d", b"f/d/x", b"f/d/l/x", b"f/d/..", b"f/d/../x"}),
    ],
    ids=["with a file", "made again", "with a link", "not the command's", "no such record", "another's"],
)
def test_a_directory_that_was_moved(records: list[Record], read: set[bytes]) -> None:
    paths = (b"f/d", b"l/d", b"n/d", b"f/d/x", b"f/d/l/x", b"f/d/..", b"f/d/../x")
    entries = parse(*parts([*records, *((path, ONE, READ) for path in paths)])).entries
    assert {lookup for lookup, _, is_write in entries if not is_write} == read


SOME: list[Record] = [(b"f/a", ONE, READ), (b"f/b", TWO, READ)]


@pytest.mark.parametrize(
    "changes",
    [{"flags": OVERFLOW}, {"flags": UNDESCRIBED}, {"flags": 4}, {"pending": 1}, {"pending": -1}, {"magic": 0}],
    ids=str,
)
def test_what_the_header_says_makes_it_incomplete(changes: dict[str, int]) -> None:
    assert parse(*parts(SOME, **changes)) == Accesses(False, [(b"f/a", ONE, False), (b"f/b", TWO, False)])


def test_the_files_whose_contents_were_read() -> None:
    records = [(b"f/a", ONE, READ), (b"f/b", TWO, READ | OPENED), (b"f/a", ONE, READ | OPENED), (b"f/c", ONE, READ)]
    accesses = parse(*parts(records))
    assert accesses.entries == [(b"f/a", ONE, False), (b"f/b", TWO, False), (b"f/c", ONE, False)]
    assert accesses.opened == {b"f/a", b"f/b"}


def test_files_whose_old_contents_may_be_a_part_of_the_new() -> None:
    records = [
        (b"f/a", ONE, READ), (b"f/a", MISSING, WRITE | OPENED),  # an append
        (b"f/b", MISSING, WRITE), (b"f/b", MISSING, WRITE | OPENED),  # an append to the command's own file
        (b"f/c/./d", ONE, READ), (b"f/c//d", MISSING, WRITE | OPENED),
        (b"f/e", ONE, READ), (b"f/e", MISSING, WRITE), (b"f/e", TWO, READ | OPENED),
    ]  # fmt: skip
    accesses = parse(*parts(records))
    assert accesses.complete
    assert accesses.kept == {b"/a", b"/c/d"}
    assert accesses.entries == [
        (b"f/a", ONE, False), (b"f/b", MISSING, True), (b"f/c/d", ONE, False), (b"f/e", ONE, False)
    ]  # fmt: skip


def test_a_record_without_its_mark_makes_it_incomplete() -> None:
    for mark in (UNFINISHED, WRITTEN, WRITTEN | OPENED, 8 | DONE):
        assert parse(*parts([SOME[0], (b"f/x", TWO, mark), SOME[1]])) == Accesses(False, [(b"f/a", ONE, False)])


def test_a_killed_process_left_its_text_empty() -> None:
    header, records, texts = parts([*SOME, (b"f/c", ONE, UNFINISHED)])
    assert not parse(header, records, texts.replace(b"f/c", b"\0\0\0")).complete


def test_parts_that_do_not_fit_together_are_incomplete() -> None:
    header, records, texts = parts(SOME)
    assert not parse(header, records[: -RECORD.size], texts).complete
    assert not parse(header, records, texts[:-1]).complete
    assert not parse(header, records, texts.replace(b"f/a", b"f\0a")).complete
    assert not parse(header, records, texts.replace(b"a\0", b"ab")).complete


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    return RecordFile(bytes(tmp_path / "record"))


def fill(path: Path, header: bytes, records: bytes, texts: bytes) -> None:
    with path.open("r+b") as out:
        for offset, part in ((0, header), (HEADER.size, records), (TEXT_START, texts)):
            out.seek(offset)
            out.write(part)


def test_the_layout_is_that_of_the_library() -> None:
    assert (HEADER.size, RECORD.size, TEXT_START) == (64, 48, 12_582_976)
    assert struct.pack("=Q", MAGIC) in (b"SPYCCR01", b"10RCCYPS")


def test_a_new_file_waits_for_the_command(file: RecordFile, tmp_path: Path) -> None:
    assert file.path == bytes(tmp_path / "record")
    assert os.stat(file.path).st_size == FILE_BYTES
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert file.read() == Accesses(False, []), "the record of a command that has not loaded the library is incomplete"
    fill(tmp_path / "record", *parts([]))
    assert file.read() == Accesses(True, [])
    file.close()


def test_a_file_is_read_again_and_again(file: RecordFile, tmp_path: Path) -> None:
    fill(tmp_path / "record", *parts(SOME))
    assert file.read() == file.read() == parse(*parts(SOME))
    file.reset()
    assert file.read() == Accesses(False, [])
    fill(tmp_path / "record", *parts(SOME[1:]))
    assert file.read() == parse(*parts(SOME[1:]))
    file.close()
    assert list(tmp_path.iterdir()) == []
    file.close()


def test_a_process_of_an_earlier_task_keeps_the_earlier_file(file: RecordFile, tmp_path: Path) -> None:
    with (tmp_path / "record").open("r+b") as left_behind:
        file.reset()
        left_behind.write(parts(SOME)[0])
    assert file.read() == Accesses(False, [])
    file.close()


@pytest.mark.parametrize(
    "position",
    [RECORD_COUNT + 1 << 32, (1 << 64) - 1, 1 << 32, 7, TEXT_BYTES + 1, RECORD_COUNT << 32 | TEXT_BYTES],
    ids=hex,
)
def test_a_file_that_makes_no_sense_is_incomplete(file: RecordFile, tmp_path: Path, position: int) -> None:
    fill(tmp_path / "record", HEADER.pack(MAGIC, position, 0, 0), b"", b"")
    assert not file.read().complete
    file.close()


def test_a_file_that_the_command_has_cut_is_incomplete(file: RecordFile, tmp_path: Path) -> None:
    fill(tmp_path / "record", *parts(SOME))
    for size in (TEXT_START, HEADER.size, 10, 0):
        os.truncate(file.path, size)
        assert not file.read().complete
    file.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), (b"SPRAYCC_RECORD=/r", b"LD_PRELOAD=/lib/r.so")),
        ((b"A=1", b"B=x=y"), (b"SPRAYCC_RECORD=/r", b"LD_PRELOAD=/lib/r.so", b"A=1", b"B=x=y")),
        ((b"A=1", b"LD_PRELOAD=a.so b.so"), (b"SPRAYCC_RECORD=/r", b"A=1", b"LD_PRELOAD=/lib/r.so:a.so b.so")),
        ((b"LD_PRELOAD=",), (b"SPRAYCC_RECORD=/r", b"LD_PRELOAD=/lib/r.so:")),
        ((b"SPRAYCC_RECORD=/own",), (b"SPRAYCC_RECORD=/r", b"LD_PRELOAD=/lib/r.so", b"SPRAYCC_RECORD=/own")),
    ],
)
def test_environment(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    assert environment(before, b"/lib/r.so", b"/r") == after


def test_where_the_library_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib" / "spraycc" / LIBRARY_NAME
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.delenv("SPRAYCC_RECORDER", raising=False)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "spraycc")])
    assert find_recorder() == bytes(library)
    monkeypatch.setenv("SPRAYCC_RECORDER", str(tmp_path / "nowhere.so"))
    assert find_recorder() is None
    named = tmp_path / "named.so"
    named.touch()
    monkeypatch.setenv("SPRAYCC_RECORDER", str(named))
    assert find_recorder() == bytes(named)


@pytest.mark.parametrize("name", ["a:b.so", "a b.so", "$ORIGIN.so"])
def test_a_path_that_the_loader_would_split_is_not_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (tmp_path / name).touch()
    monkeypatch.setenv("SPRAYCC_RECORDER", str(tmp_path / name))
    assert find_recorder() is None
