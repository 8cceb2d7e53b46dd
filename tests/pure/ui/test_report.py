"""The page of a build, as text and as data. tests/system/report opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from spraycc.records.read import Executor, Record, Run, Sample, Span, Task, read
from spraycc.scheduler.events import Outcome
from spraycc.server.tasks.task import LOST
from spraycc.ui.findings import OUTCOMES
from spraycc.ui.report import UNIT_S, data, is_report, natural, page
from spraycc.ui.report_tables import MOST_ROWS
from tests.records import lines_of_a_build, write_record

HOSTILE = "</script><script>alert(1)</script>\"'`&amp;<!--\x00\x1b[31m\u202e\udcff\u2028@DATA@"


def record_of(tmp_path: Path, *arguments: Any, **more: Any) -> Record:
    return read(write_record(tmp_path, lines_of_a_build(*arguments, **more)))


def unpacked(text: str) -> dict[str, Any]:
    """The data in a page."""
    [packed] = re.findall(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', text)
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def hostile() -> Record:
    """A build in which each name is hostile."""
    task = Task(
        HOSTILE, source=HOSTILE, argv=f"gcc {HOSTILE}", cwd=HOSTILE, kind=HOSTILE, reason=HOSTILE, why=HOSTILE, ran="remote",
        refusals=(HOSTILE,), executor=HOSTILE, status=0, runs=(Run(HOSTILE, 0, 1, HOSTILE, False),), s=1,
    )  # fmt: skip
    header = dict.fromkeys(("build", "argv", "cwd", "host", "release", "cluster", "tool"), HOSTILE)
    return Record({"record": 2, **header}, [task], {HOSTILE: Executor(HOSTILE, HOSTILE, HOSTILE)}, [], {"ended": 1.0})


def test_the_page_holds_the_data(tmp_path: Path) -> None:
    record = record_of(tmp_path, 50, 4)
    assert unpacked(page(record)) == json.loads(json.dumps(data(record)))


def test_the_policy_allows_this_script_and_this_style_only(tmp_path: Path) -> None:
    text = page(record_of(tmp_path, 5, 2))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for rule, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        [content] = re.findall(pattern, text, re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_the_page_names_no_address(tmp_path: Path) -> None:
    text = page(record_of(tmp_path, 5, 2))
    assert not re.findall(r"https?:|//\w+\.\w+|url\(|@import|\bsrc=|href=", text)


def test_hostile_names_stay_in_the_data() -> None:
    text = page(hostile(), hostile())
    text.encode()  # no half of a surrogate pair
    plain = page(Record({"argv": "make"}, [], {}, [], {}))
    for mark in ("<script", "</script", "<!--", "<style", "\"'", "\x00", "\x1b", "\u202e", "\u2028"):
        assert text.count(mark) == plain.count(mark), mark
    [title] = re.findall(r"<title>(.*?)</title>", text)
    assert "&lt;/script&gt;" in title
    assert title.isprintable()
    found = unpacked(text)
    assert found["commands"] == [f"gcc {HOSTILE}"]
    assert found["texts"][found["tasks"]["target"][0]] == f"{HOSTILE}/{HOSTILE}"


def test_runs_are_sorted_by_lane_then_by_begin(tmp_path: Path) -> None:
    record = record_of(tmp_path, 300, 12)
    found = data(record)
    runs = found["runs"]
    keys = list(zip(runs["lane"], runs["begin"], strict=True))
    assert keys == sorted(keys)
    assert len(keys) == sum(len(task.runs) + (task.here is not None) for task in record.tasks)
    # Each run of a task is on the lane of its executor, at its time.
    texts, lanes = found["texts"], found["lanes"]
    for number, task in enumerate(runs["task"]):
        lane, begin = runs["lane"][number], runs["begin"][number] * UNIT_S
        if lane < found["here_lanes"]:
            assert record.tasks[task].here is not None
        else:
            on = [run for run in record.tasks[task].runs if abs(run.began - begin) < UNIT_S]
            assert [run.executor for run in on] == [texts[lanes["executor"][lane]]]


def test_lanes_are_grouped_by_host(tmp_path: Path) -> None:
    found = data(record_of(tmp_path, 10, 40))
    hosts = [found["texts"][text] for text in found["lanes"]["host"]]
    assert hosts == ["submit", *(f"node{1 + number // 4:03}" for number in range(40))]


def test_commands_at_once_on_the_submit_host_get_lanes() -> None:
    tasks = [Task(f"t{i}", ran="here", at=i, s=3, here=Span(i, i + 3)) for i in range(6)]
    found = data(Record({"record": 2, "host": "submit"}, tasks, {"e1": Executor("e1")}, [], {"ended": 9.0}))
    assert found["here_lanes"] == 3
    assert found["runs"]["lane"] == [0, 0, 1, 1, 2, 2]


def test_an_executor_that_the_record_does_not_introduce_has_a_lane() -> None:
    task = Task("a.o", ran="remote", executor="e7", s=1, runs=(Run("e7", 0, 1, "done", False),))
    found = data(Record({"record": 2}, [task], {}, [], {}))
    assert found["texts"][found["lanes"]["executor"][1]] == "e7"


def test_states_of_runs() -> None:
    runs = (Run("e1", 0, 1, "killed", False), Run("e2", 1, 2, "cancelled", True), Run("e3", 1, 2, "done", False))
    tasks = [
        Task("a", ran="remote", s=2, runs=runs, status=1),
        Task("b", ran="here", at=2, s=1, here=Span(2, 3), status=0),
    ]
    found = data(Record({"record": 2}, tasks, {}, [], {}))
    words = [found["texts"][number] for number in found["runs"]["outcome"]]
    assert list(zip(words, found["runs"]["state"], strict=True)) == [
        ("ran on the submit host", 0), ("killed by a signal", 2), ("cancelled", 2), ("done", 1),
    ]  # fmt: skip


def test_numbers_beyond_all_bounds_are_valid_json() -> None:
    task = Task("a", ran="remote", s=1e300, user_s=1e300, rss=10**30, runs=(Run("e1", 0, 1e300, "done", False),))
    executor = Executor("e1", joined=-1e300, left=1e300)
    record = Record({"record": 2, "began": float("nan")}, [task], {"e1": executor}, [Sample(1e300)], {"ended": 1e300})
    json.loads(json.dumps(data(record)), parse_constant=pytest.fail)


def test_a_line_with_a_number_that_no_browser_reads_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_text('{"record":2,"began":1}\n{"target":"a.o","at":NaN,"s":1}\n{"target":"b.o","at":1,"s":1}\n')
    assert unpacked(page(read(path)))["tasks"]["at"] == [10000]


@pytest.mark.parametrize("lines", [[], [{"build": "x", "argv": "make", "began": 1.0}], [{"target": "a.o"}]])
def test_a_record_with_hardly_a_line(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    path = tmp_path / "record"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert unpacked(page(read(path)))["end_s"] == 0


def test_tables(tmp_path: Path) -> None:
    record = record_of(tmp_path, 400, 8, status=2)
    earlier = record_of(tmp_path, 390, 6, began=1.0)
    tables = {table["title"]: table for table in data(record, earlier, "/w")["tables"]}
    assert list(tables) == [
        "Tasks that failed", "The chain that the end waited for", "The longest tasks",
        "Why tasks ran on the submit host", "Attempts that did not count", "Tasks that were tried again",
        "By directory", "By host", "The build before, and this one",
    ]  # fmt: skip
    for table in tables.values():
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert sorted(row[0] for row in tables["By directory"]["rows"]) == [".", *(f"d{i}" for i in range(7))]
    assert sum(row[1] for row in tables["By host"]["rows"]) == 400
    [failed] = tables["Tasks that failed"]["rows"]
    assert record.tasks[failed[0]].target == "d4/f200.o"
    assert tables["Why tasks ran on the submit host"]["rows"][-1][:2] == ["link", 1]
    assert ["tasks", "390", "400", "+3 %"] in tables["The build before, and this one"]["rows"]


def test_causes_of_retries() -> None:
    runs = (Run("e1", 0, 1, "lost", False), Run("e1", 1, 2, "killed", False), Run("e2", 2, 3, "done", False))
    tasks = [
        Task("a.o", ran="remote", attempts=3, runs=runs, refusals=("killed by signal 9",), s=3),
        Task("b.o", ran="remote", attempts=2, runs=(runs[1], runs[2]), s=3),
        Task("c.o", ran="remote", attempts=2, runs=(Run("e1", 0, 1, "cancelled", True), runs[2]), s=3),
    ]
    executors = {"e1": Executor("e1", "node1"), "e2": Executor("e2", "node2")}
    tables = {
        table["title"]: table["rows"] for table in data(Record({"record": 2}, tasks, executors, [], {}))["tables"]
    }
    assert tables["Tasks that were tried again"] == [
        [0, 3, "killed by signal 9; the executor was lost (node1)"], [1, 2, "killed by a signal (node1)"],
    ]  # fmt: skip
    assert tables["Attempts that did not count"] == [
        ["killed by a signal", "node1", 2, 2.0], ["the executor was lost", "node1", 1, 1.0],
    ]  # fmt: skip


def test_second_attempts() -> None:
    lost = (Run("e1", 0, 9, "done", False), Run("e2", 5, 9, "cancelled", True))
    won = (Run("e1", 1, 2, "killed", False), Run("e1", 2, 30, "cancelled", False), Run("e2", 20, 30, "done", True))
    tasks = [
        Task("a.o", ran="remote", attempts=2, runs=lost, s=9),
        Task("b.o", ran="remote", attempts=3, runs=won, s=30),
        Task("c.o", ran="remote", attempts=1, runs=lost[:1], s=9),
    ]
    executors = {"e1": Executor("e1", "node1"), "e2": Executor("e2", "node2")}
    [table] = [
        table
        for table in data(Record({"record": 2}, tasks, executors, [], {}))["tables"]
        if table["title"] == "Second attempts"
    ]
    assert table["rows"] == [[1, "node1", 28, "node2", 10, "yes"], [0, "node1", 9, "node2", 4, "no"]]
    assert table["note"].startswith("1 of 2 won.")


def test_each_outcome_has_words() -> None:
    assert {outcome.value for outcome in Outcome} | {LOST} <= OUTCOMES.keys()


def test_a_table_is_bounded() -> None:
    tasks = [Task(f"d{i}/a.o", ran="remote", status=1, s=i) for i in range(MOST_ROWS + 5)]
    for table in data(Record({"record": 2}, tasks, {}, [], {}))["tables"]:
        assert len(table["rows"]) <= MOST_ROWS
        assert "first 1,000 of 1,005" in table["note"] or len(table["rows"]) < MOST_ROWS


def test_hosts_sort_by_their_numbers() -> None:
    names = ["n10", "n9", "a", "n9-b2", "n9-b11", "", "7"]
    assert sorted(names, key=natural) == ["", "7", "a", "n9", "n9-b2", "n9-b11", "n10"]


def test_a_report_is_known_by_its_begin(tmp_path: Path) -> None:
    assert is_report(page(hostile()).encode()[:4096])
    assert not is_report(b"<!doctype html><html><head><title>mine</title>")
    quoting = b"<html><head><title>mine</title><pre>"
    assert not is_report(quoting + page(hostile()).encode()[:4000])
    assert not is_report(
        b'<!doctype html>\n<html lang="en">\n<head>\n<!-- <meta name="generator" content="SprayCC report 1"> -->'
    )
