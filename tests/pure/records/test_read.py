"""Records are found by number and id, and are read whole, whatever is missing or broken in them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.records import files, read
from spraycc.records.format import EndLine, ExecutorLine, Header, SampleLine, TaskLine
from spraycc.records.timeline import chain, intervals
from spraycc.records.trace import chunks
from spraycc.ui.recorded_builds import build_row, failure_lines, list_lines, reason_lines, task_lines
from spraycc.ui.report import data, page
from tests.records import BEGAN, lines_of_a_build, write_record


def text_of(lines: list[Any]) -> str:
    """The lines with infinities in a form that every reader of JSON takes for a number."""
    return "".join(json.dumps(line) + "\n" for line in lines).replace("Infinity", "1e999")


def read_lines(tmp_path: Path, lines: list[Any]) -> read.Record:
    path = tmp_path / "x.jsonl"
    path.write_text(text_of(lines))
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
        {"executor": [], "left": 1}, {"executor": "e1", "joined": "x"}, {"executor": "e1"}, {"executor": [1], "joined": 1},
        {"executor": "e1", "left": 1e999}, {"target": "b", "here": [1]}, {"target": "b", "here": {"a": 1}},
        {"target": "b", "here": [2, 1]}, {"target": "b", "refusals": [1]}, {"target": "b", "runs": [["e", "nan", "inf", "done", 0]]},
        {"target": "b", "runs": [["e", 0, 10**400, "done", 0]]}, {"target": "b", "here": [0, 1e16]},
    ],
)  # fmt: skip
def test_a_line_with_wrong_values_is_left_out(tmp_path: Path, line: Any) -> None:
    lines = lines_of_a_build(3, 2)
    record = read_lines(tmp_path, [*lines[:-1], line, lines[-1]])
    assert (record.tasks, record.end) == (read_lines(tmp_path, lines).tasks, lines[-1])
    assert len(intervals(record)) == 3


def test_a_value_of_the_wrong_type_counts_as_missing(tmp_path: Path) -> None:
    wrong = {
        "s": "long",
        "status": "bad",
        "cwd": 7,
        "here": None,
        "rss": 10**400,
        "at": 1e308,
        "user_s": True,
        "bytes": 0.5,
    }
    record = read_lines(tmp_path, [{"target": "a", **wrong}, {"t": "x"}])
    assert record.tasks == [read.Task("a")]
    header = {"began": "x", "cap": 1.5, "argv": [], "server": [1], "build": "b"}
    end = {
        "ended": 1.0,
        "status": "x",
        "wall_s": "a",
        "dropped": [],
        "figures": {"tasks": "x", "remote": 3, "failed": 1e999},
    }
    record = read_lines(tmp_path, [header, end])
    assert record.header == {"build": "b"}
    assert record.end == {"ended": 1.0, "status": None, "wall_s": None, "figures": {"remote": 3}}


_NUMBERS = st.one_of(st.integers(), st.just(10**400), st.floats(), st.sampled_from([1e308, -1e308, 1e15]))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=3), st.sampled_from(["nan", "inf", "e1", "done"])),
    lambda values: st.lists(values, max_size=5) | st.dictionaries(st.text(max_size=2), values, max_size=2),
    max_leaves=8,
)
_KEYS = sorted({*TaskLine.__annotations__, *Header.__annotations__, *EndLine.__annotations__, "t", "joined", "left"})


@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=8), max_size=4))
def test_whatever_a_record_holds_all_readers_get_sane_values(
    tmp_path_factory: pytest.TempPathFactory, junk: list[dict[str, Any]]
) -> None:
    lines = lines_of_a_build(4, 2)
    # Each line of a real build gets values that make no sense, too.
    mixed = [{**line, **extra} for line, extra in zip(lines, [*junk, *[{}] * len(lines)], strict=False)]
    path = tmp_path_factory.mktemp("r") / "000000000000001-x.jsonl"
    path.write_text(text_of([*mixed, *junk]))
    record = read.read(path)
    row = build_row(read.Found(path, 1, "x", 0.001, False), read.read_header(path), read.read_end(path), is_open=False)
    list_lines([row], 80)
    failure_lines(record, "/w")
    reason_lines(record)
    for task in record.tasks:
        task_lines(record, task, "/w")
    json.dumps([row, asdict(record), data(record, record)], allow_nan=False)
    for chunk in [*chunks(record), page(record)]:
        assert "NaN" not in chunk


def test_only_regular_files_are_records(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines_of_a_build(3, 2, build="old"))
    directory = path.parent
    os.mkfifo(directory / "900000000000001-fifo.jsonl")
    (directory / "900000000000002-directory.jsonl").mkdir()
    (directory / "900000000000003-link.jsonl").symlink_to(path)
    (directory / "900000000000004-device.jsonl").symlink_to("/dev/zero")
    records = read.found_in([tmp_path])
    assert [found.build for found in records] == ["old"]
    for other in directory.iterdir():
        # It may have taken a record's place since the search.
        assert read.read_header(other) == (read.read_header(path) if other == path else {})
        assert (read.read_end(other) == {}) is (other != path)
        assert read.has_tasks(read.Found(other, 1, "x", 1.0, False)) is (other == path)


def test_a_line_without_end_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_LINE_BYTES", 1000)
    path = tmp_path / "x"
    path.write_bytes(b'{"target":"a"}\n{"target":"' + b"b" * 1000 + b'{"target":"c"}"}\n{"target":"d"}\n')
    assert [task.target for task in read.read(path).tasks] == ["a", "d"]
    monkeypatch.setattr(files, "_MOST_READ_BYTES", 20)
    assert [task.target for task in read.read(path).tasks] == ["a"]


def test_a_record_that_is_no_utf_8_has_no_line(tmp_path: Path) -> None:
    path = write_record(tmp_path, lines_of_a_build(3, 2))
    path.write_bytes(path.read_text().encode("utf-16"))
    assert read.read(path).is_lost
    assert not read.has_tasks(read.found_in([tmp_path])[0])


def test_builds_that_have_lost_their_tasks_are_passed_over(tmp_path: Path) -> None:
    write_record(tmp_path, lines_of_a_build(3, 2, build="old"))
    write_record(tmp_path, lines_of_a_build(0, 2, build="noop", began=BEGAN + 1))
    (tmp_path / "builds" / f"{int(BEGAN * 1000) + 2000:015d}-lost.jsonl").touch()
    records = read.found_in([tmp_path])
    chosen = read.find(records, "")
    assert chosen.build == "old"
    assert [found.build for found in read.passed_over(records, chosen)] == ["lost"]


def test_a_record_from_the_future_is_not_the_newest(tmp_path: Path) -> None:
    for build, began in (("now", BEGAN), ("future", BEGAN + 1000)):
        write_record(tmp_path, lines_of_a_build(3, 2, build=build, began=began))
    records = read.found_in([tmp_path], BEGAN + 1)
    assert [found.build for found in records] == ["now", "future"]
    before = read.before(records, records[0])
    assert before is not None
    assert before.build == "future"


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
    text = (Path(__file__).parents[3] / "docs/reference/records.md").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"')]
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


@pytest.mark.parametrize(
    ("task", "cpu_s"),
    [
        (read.Task("a.o", ran="remote", user_s=1.5, system_s=0.5, wall_s=2.5), 2.0),
        (read.Task("a.o", ran="here", user_s=1.5, system_s=0.5, wall_s=2.5), 2.0),  # in a compile slot
        (read.Task("a.o", ran="remote", wall_s=0.01), 0.0),
        (read.Task("prog", ran="here"), None),
        (read.Task("a.o", ran="here", runs=(read.Run("4", 0, 1, "lost", False),)), None),
    ],
)
def test_cpu_is_known_if_the_command_was_measured(task: read.Task, cpu_s: float | None) -> None:
    assert task.cpu_s == cpu_s
