"""Records are found by number and id, and are read whole, whatever is missing or broken in them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.records import read
from spraycc.records.format import EndLine, ExecutorLine, Header, SampleLine, TaskLine
from spraycc.records.timeline import chain, intervals
from tests.records import BEGAN, lines_of_a_build, write_record


def read_lines(tmp_path: Path, lines: list[Any]) -> read.Record:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read.read(path)


def test_a_record_is_read_whole(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines_of_a_build(100, 8))
    record = read.read(path)
    assert len(record.tasks) == 100
    assert (len(record.executors), record.host_of("e1"), record.host_of("e8")) == (8, "node001", "node002")
    assert record.end["status"] == 0
    assert record.has_times
    retried = next(task for task in record.tasks if len(task.runs) == 2)
    assert [run.outcome for run in retried.runs] == ["killed", "done"]
    assert retried.run == retried.runs[1]
    assert record.samples[0].t == 1.0


def test_a_record_of_version_1_is_read(tmp_path: Path) -> None:
    header = {"build": "b1", "argv": "make", "began": 5.0}
    task = {
        "target": "a.o", "argv": "gcc -c a.c", "cwd": "/w", "kind": "compile", "placement": "remote",
        "reason": "compile", "ran": "remote", "why": "", "refusals": [], "attempts": 1, "stale": 0, "executor": "x",
        "status": 0, "s": 1.5,
    }  # fmt: skip
    record = read_lines(tmp_path, [header, task])
    assert not record.has_times
    assert (record.tasks[0].target, record.tasks[0].s, record.tasks[0].runs) == ("a.o", 1.5, ())
    assert (chain(record), intervals(record)) == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        [], 5, "x", {"target": 5}, {"target": "b", "runs": 7}, {"target": "b", "runs": [["e", 1]]}, {"executor": "e"},
        {"executor": [], "left": 1}, {"executor": "e1", "joined": "x"}, {"t": None}, {"t": "x"}, {"ended": None},
    ],
)  # fmt: skip
def test_a_line_with_wrong_values_is_left_out(tmp_path: Path, line: Any) -> None:
    lines = lines_of_a_build(3, 2)
    record = read_lines(tmp_path, [*lines[:-1], line, lines[-1]])
    assert (record.tasks, record.end) == (read_lines(tmp_path, lines).tasks, lines[-1])
    assert len(intervals(record)) == 3


def test_a_value_of_the_wrong_type_counts_as_missing(tmp_path: Path) -> None:
    record = read_lines(tmp_path, [{"target": "a", "s": "long", "status": "bad", "cwd": 7, "here": None}])
    assert record.tasks == [read.Task("a")]


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_a_cut_or_overwritten_record_is_read(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    path = write_record(tmp_path_factory.mktemp("r"), lines_of_a_build(5, 2))
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    record = read.read(path)
    intervals(record)
    chain(record)
    assert read.read_end(path) in (record.end, {})


def test_builds_are_found_by_number_and_id(tmp_path: Path) -> None:
    for number in range(3):
        write_record(tmp_path, lines_of_a_build(3, 2, build=f"aa{number}", began=BEGAN + number))
    write_record(tmp_path, lines_of_a_build(0, 2, build="bb0", began=BEGAN + 9))
    records = read.found_in([tmp_path, tmp_path / "none"])
    assert [(found.number, found.build, found.is_empty) for found in records] == [
        (1, "bb0", True), (2, "aa2", False), (3, "aa1", False), (4, "aa0", False),
    ]  # fmt: skip
    assert records[3].began == BEGAN
    assert read.find(records, "").build == "aa2"
    assert read.find(records, "1").build == "bb0"
    assert read.find(records, "aa0").number == 4
    assert read.find(records, "b").number == 1
    write_record(tmp_path, lines_of_a_build(3, 2, build="7777", began=BEGAN - 1))
    records = read.found_in([tmp_path])
    assert read.find(records, "7777").number == 5
    with pytest.raises(read.RecordError, match=r"no build '7'"):  # a number, not the begin of an id
        read.find(records, "7")
    with pytest.raises(read.RecordError, match="several builds have an id that begins with 'aa': give more of it"):
        read.find(records, "aa")
    with pytest.raises(read.RecordError, match=r"no build '6': give a number or an id .* \(1 to 5, or an id\)"):
        read.find(records, "6")


def test_without_records_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(read.RecordError, match="no build was recorded for this workspace on this host"):
        read.find([], "")
    with pytest.raises(read.RecordError, match="none is recorded"):
        read.find([], "1")
    write_record(tmp_path, lines_of_a_build(0))
    with pytest.raises(read.RecordError, match="no build with tasks was recorded"):
        read.find(read.found_in([tmp_path]), "")


def test_a_build_that_has_no_task_yet_does_not_hide_the_one_before(tmp_path: Path) -> None:
    write_record(tmp_path, lines_of_a_build(3, 2, build="old"))
    path = write_record(tmp_path, lines_of_a_build(0, 2, build="new", began=BEGAN + 1, finished=False))
    path.rename(str(path).replace("-empty", ""))
    assert read.find(read.found_in([tmp_path]), "").build == "old"


def test_the_build_before_has_the_same_command_line_and_directory(tmp_path: Path) -> None:
    for number, argv in enumerate(["make", "make", "make all", "make"]):
        write_record(
            tmp_path, lines_of_a_build(3 * (number != 1), 2, build=f"b{number}", began=BEGAN + number, argv=argv)
        )
    records = read.found_in([tmp_path])
    before = read.before(records, records[0])
    assert before is not None
    assert before.build == "b0"
    assert read.before(records, records[1]) is None


def test_the_example_of_the_documentation_has_every_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/records.md").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("    {")]
    header, joined, sample, *tasks, end = lines
    for line, kind in ((header, Header), (sample, SampleLine), *((task, TaskLine) for task in tasks), (end, EndLine)):
        assert line.keys() == kind.__annotations__.keys()
    assert joined.keys() == ExecutorLine.__annotations__.keys() - {"left"}
    record = read_lines(tmp_path, lines)
    assert [task.ran for task in record.tasks] == ["remote", "here"]
    assert [link.by for link in chain(record)] == ["first", "input"]


def test_tasks_have_an_attribute_for_each_key() -> None:
    assert {each.name for each in fields(read.Task)} == TaskLine.__annotations__.keys()
    assert {each.name for each in fields(read.Sample)} == SampleLine.__annotations__.keys()


def test_header_and_end_are_read_alone(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines_of_a_build(20, 2, status=2))
    assert read.read_header(path)["build"] == "0123abcd"
    assert read.read_end(path)["status"] == 2
    assert read.read_end(write_record(tmp_path, lines_of_a_build(20, 2, build="c", finished=False))) == {}
    assert (read.read_header(tmp_path / "none"), read.read_end(tmp_path / "none")) == ({}, {})
    assert len(read.read(path, most_tasks=7).tasks) == 7
