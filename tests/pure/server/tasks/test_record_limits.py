"""The limits of records: which files go, how often the state is noted, and what a full record still has."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from spraycc.records import read
from spraycc.records.format import KEPT, KEPT_BYTES, MOST_BYTES, SAMPLES, Header
from spraycc.server.tasks import log as log_module
from spraycc.server.tasks.log import Record, interval_s, outdated

HEADER: Header = {"record": 2, "build": "b1", "argv": "make", "cwd": "/w", "began": 7.0}


def lines_of(state: Path) -> list[dict[str, Any]]:
    (path,) = (state / "builds").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_newest_of_each_kind_are_kept() -> None:
    with_tasks = [(f"d/{number:03}-a.jsonl", 10) for number in range(0, 60, 2)]
    empty = [(f"d/{number:03}-b-empty.jsonl", 10) for number in range(1, 61, 2)]
    kept = {path for path, _ in (*with_tasks, *empty)} - set(outdated([*with_tasks, *empty, ("d/other", 1)]))
    assert kept == {path for path, _ in (*with_tasks[-(KEPT - 1) :], *empty[-KEPT:])}


def test_large_records_go_before_there_are_many() -> None:
    count = KEPT_BYTES // MOST_BYTES
    files = [(f"d/{number}-a.jsonl", MOST_BYTES) for number in range(count + 1)]
    # The record that is about to be written may become as large.
    assert sorted(outdated(files)) == ["d/0-a.jsonl", "d/1-a.jsonl"]


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


def test_a_full_record_says_how_much_is_missing_and_has_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "MOST_LINES", 3)
    record = Record(tmp_path, HEADER, time.monotonic())
    for number in range(5):
        record.executor_left(f"e{number}")
    record.end(2, 1.5, {"tasks": 9})
    *others, end = lines_of(tmp_path)
    assert len(others) == 4
    assert (end["dropped"], end["status"], end["figures"]) == (2, 2, {"tasks": 9})


def test_the_size_of_a_record_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MOST_BYTES", 1000)
    record = Record(tmp_path, HEADER, time.monotonic())
    for number in range(100):
        record.executor_joined(f"e{number}", "host", "77")
    record.end(0, 1.0, {})
    (path,) = (tmp_path / "builds").glob("*.jsonl")
    assert len(path.read_bytes()) - len(path.read_bytes().splitlines()[-1]) <= 1001
    assert read.read_end(path)["dropped"] > 80


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


def test_a_disk_that_is_full_ends_the_record_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(tmp_path, HEADER, time.monotonic())

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    record.executor_left("e")
    record.flush()
    record.executor_left("e")
    record.end(0, 1.0, {})
    assert len(lines_of(tmp_path)) == 1


def test_a_directory_that_cannot_be_made_costs_the_record_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "builds").touch()
    record = Record(tmp_path, HEADER, time.monotonic())
    record.executor_left("e")
    record.end(0, 1.0, {})
    assert (tmp_path / "builds").read_text() == ""


def test_a_fault_of_ours_ends_the_record_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(tmp_path, HEADER, time.monotonic())
    monkeypatch.setattr(log_module, "line_of", lambda *_: 1 / 0)
    record.note(None)  # type: ignore[arg-type]
    record.end(0, 1.0, {})
    record.sample({})
    assert len(lines_of(tmp_path)) == 1
