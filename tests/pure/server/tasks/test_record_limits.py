"""The limits of records: which files go, how often the state is noted, and what a full record still has."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from spraycc.records import files, read
from spraycc.records.format import KEPT, KEPT_BYTES, MOST_BYTES, SAMPLES, Header, Room
from spraycc.records.liveness import this_process
from spraycc.server.tasks import log as log_module
from spraycc.server.tasks.log import Record, interval_s, outdated

HEADER: Header = {"record": 2, "build": "b1", "argv": "make", "cwd": "/w", "began": 7.0}


def lines_of(state: Path) -> list[dict[str, Any]]:
    (path,) = (state / "builds").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_newest_of_each_kind_are_kept() -> None:
    with_tasks = [(f"{number:015}-a.jsonl", 10) for number in range(0, 60, 2)]
    empty = [(f"{number:015}-b-empty.jsonl", 10) for number in range(1, 61, 2)]
    kept = {name for name, _ in (*with_tasks, *empty)} - set(outdated([*with_tasks, *empty, ("other", 1)], 1.0))
    # The record that is about to be written may become of either kind.
    assert kept == {name for name, _ in (*with_tasks[-(KEPT - 1) :], *empty[-(KEPT - 1) :])}


def test_large_records_go_before_there_are_many() -> None:
    count = KEPT_BYTES // MOST_BYTES
    files = [(f"{number}-a.jsonl", MOST_BYTES) for number in range(count + 1)]
    # The record that is about to be written may become as large.
    assert sorted(outdated(files, 1.0)) == ["0-a.jsonl", "1-a.jsonl"]


def test_names_from_the_future_go_first() -> None:
    future = [(f"{10**14 + number}-a.jsonl", 10) for number in range(KEPT)]
    assert outdated([("000000000005000-b.jsonl", 10), *future], 7.0) == [
        "100000000000001-a.jsonl",
        "100000000000000-a.jsonl",
    ]


@pytest.mark.parametrize(
    "name", ["²²-x.jsonl", "x.jsonl", "1.jsonl", "-a.jsonl", "1" * 16 + "-a.jsonl", "1-\x1b.jsonl"]
)
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    assert outdated([(name, KEPT_BYTES)], 1.0) == []
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds" / name).touch()
    assert read.found_in([tmp_path]) == []


def test_records_of_open_builds_are_kept_when_the_clock_was_set_back(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    first: Header = {
        **HEADER, "build": "first", "began": 9e9, "server": this_process(), "directory": str(directory),
    }  # fmt: skip
    open_record = Record(tmp_path, first, time.monotonic())
    for number in range(3 * KEPT):
        Record(tmp_path, {**HEADER, "build": f"b{number}", "began": 7.0 + number}, time.monotonic()).close()
    names = [found.build for found in read.found_in([tmp_path], 7.0 + 3 * KEPT)]
    assert names == [*(f"b{number}" for number in reversed(range(2 * KEPT, 3 * KEPT))), "first"]
    directory.rmdir()
    open_record.close()
    Record(tmp_path, {**HEADER, "build": "last", "began": 1000.0}, time.monotonic()).close()
    assert "first" not in [found.build for found in read.found_in([tmp_path])]


def test_samples_become_rarer() -> None:
    assert [interval_s(count) for count in (0, SAMPLES - 1, SAMPLES, 2 * SAMPLES, 3 * SAMPLES)] == [1, 1, 2, 4, 8]


def test_a_sample_is_written_when_the_state_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    record = Record(tmp_path, HEADER, 100.0)
    for running in (1, 1, 2, 2, 3):
        now[0] += 1
        record.sample({"running": running})
    now[0] += 0.1  # too soon
    record.sample({"running": 4})
    record.end(0, 5.0, {})
    assert [(line["t"], line["running"]) for line in lines_of(tmp_path) if "t" in line] == [(1, 1), (3, 2), (5, 3)]


def small_rooms(monkeypatch: pytest.MonkeyPatch, lines: int = 3, size_bytes: int = 10**6) -> None:
    for name in ("TASKS_ROOM", "FAILED_ROOM", "EXECUTORS_ROOM", "SAMPLES_ROOM"):
        monkeypatch.setattr(log_module, name, Room(lines, size_bytes))


def test_a_full_record_has_the_failed_tasks_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_rooms(monkeypatch)
    monkeypatch.setattr(log_module, "line_of", lambda status, _: {"target": f"t{status}", "status": status})
    record = Record(tmp_path, HEADER, time.monotonic())
    for number in range(5):
        record.executor_left(f"e{number}")
    for status in (0, 0, 0, 0, 1, 0, 2):
        record.note(status)  # type: ignore[arg-type]
    record.end(2, 1.5, {"tasks": 9})
    *others, end = lines_of(tmp_path)
    assert [line["target"] for line in others if "target" in line] == ["t0", "t0", "t0", "t1", "t2"]
    assert sum("executor" in line for line in others) == 3
    assert (end["dropped"], end["status"], end["figures"]) == (4, 2, {"tasks": 9})


def test_the_size_of_a_record_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_rooms(monkeypatch, 1000, 1000)
    record = Record(tmp_path, HEADER, time.monotonic())
    for number in range(100):
        record.executor_joined(f"e{number}", "host", "77")
    record.end(0, 1.0, {})
    _, *lines, end = next((tmp_path / "builds").glob("*.jsonl")).read_bytes().splitlines(keepends=True)
    assert 900 < sum(map(len, lines)) <= 1000
    assert len(lines) + json.loads(end)["dropped"] == 100


def test_lines_are_collected(tmp_path: Path) -> None:
    record = Record(tmp_path, HEADER, time.monotonic())
    record.executor_joined("e1", "host", "")
    assert len(lines_of(tmp_path)) == 1
    record.flush()
    assert len(lines_of(tmp_path)) == 2
    for _ in range(2000):  # more than 64 KiB
        record.executor_joined("e1", "host", "")
    assert len(lines_of(tmp_path)) > 500
    record.close()
    assert len(lines_of(tmp_path)) == 2002
    record.executor_left("e1")
    record.flush()
    assert len(lines_of(tmp_path)) == 2002


def test_a_record_without_tasks_has_a_name_that_says_so(tmp_path: Path) -> None:
    record = Record(tmp_path, HEADER, time.monotonic())
    assert not read.found_in([tmp_path])[0].is_empty
    record.executor_left("e")
    record.end(0, 1.0, {})
    (found,) = read.found_in([tmp_path])
    assert (found.is_empty, found.build, found.began) == (True, "b1", 7.0)


class Disk:
    """Takes this many more bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 10**9
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("truncates", [True, False])
def test_a_full_disk_costs_whole_lines_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncates: bool
) -> None:
    disk = Disk(monkeypatch)
    if not truncates:
        monkeypatch.setattr(os, "ftruncate", lambda *_: disk.write(-1, b"x") if disk.room == 0 else None)
    record = Record(tmp_path, HEADER, time.monotonic())
    disk.room = 50  # the first of the lines, and a part of the second
    for name in ("e1", "e2", "e3"):
        record.executor_left(name)
    record.flush()
    record.executor_left("e4")
    record.flush()
    disk.room = 10**9
    record.executor_left("e5")
    record.end(3, 1.0, {"tasks": 7})
    (path,) = (tmp_path / "builds").glob("*.jsonl")
    whole = list(files.lines_of(path))
    assert [line.get("executor") for line in whole] == [None, "e1", "e5", None]
    assert (whole[-1]["status"], whole[-1]["dropped"]) == (3, 3)
    torn = [line for line in path.read_bytes().splitlines() if not line.endswith(b"}")]
    assert len(torn) == (0 if truncates else 1)


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    disk.room = 0
    record = Record(tmp_path, HEADER, time.monotonic())
    record.executor_left("e")
    record.flush()
    assert next((tmp_path / "builds").iterdir()).read_bytes() == b""
    disk.room = 10**9
    record.end(0, 1.0, {})
    header, end = lines_of(tmp_path)
    assert (header["build"], end["dropped"]) == ("b1", 1)


def test_a_directory_that_cannot_be_made_costs_the_record_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "builds").touch()
    record = Record(tmp_path, HEADER, time.monotonic())
    record.executor_left("e")
    record.end(0, 1.0, {})
    assert (tmp_path / "builds").read_text() == ""


def test_a_fault_of_ours_costs_a_line_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(tmp_path, HEADER, time.monotonic())
    monkeypatch.setattr(log_module, "line_of", lambda *_: 1 / 0)
    record.note(None)  # type: ignore[arg-type]
    record.end(0, 1.0, {})
    record.sample({})
    assert [line.get("dropped") for line in lines_of(tmp_path)] == [None, 1]
