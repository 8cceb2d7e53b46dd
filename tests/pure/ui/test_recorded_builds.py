"""Recorded builds in words: the list, failed tasks, and reasons."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from spraycc.records.read import Executor, Found, Record, Run, Task
from spraycc.ui import recorded_builds as ui


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)


def row(number: int = 1, end: dict[str, Any] | None = None, *, is_open: bool = False, **header: Any) -> ui.BuildRow:
    figures = {"tasks": 1284, "remote": 1240, "failed": 0}
    end = {"ended": 61.5, "status": 0, "wall_s": 61.25, "figures": figures} if end is None else end
    found = Found(Path("x"), number, "0123abcd", 1_700_000_000.0, False)
    return ui.build_row(found, {"argv": "make all", "cwd": "/w", **header}, end, is_open=is_open)


def failing(*tasks: Task, status: int = 2) -> Record:
    executors = {"e1": Executor("e1", "node07")}
    return Record({"record": 2}, list(tasks), executors, end={"status": status, "ended": 1.0})


def test_the_list() -> None:
    rows = [
        row(1, {}, is_open=True, cap=8),
        row(2),
        row(3, {"ended": 5.0, "status": None, "wall_s": None, "figures": {"tasks": 7, "remote": 0}}),
        row(11, {}, argv="ninja\x1b[2J"),
    ]
    assert ui.list_lines(rows, None) == [
        "build  id        when              tasks  remote   wall  status  command",
        "    1  0123abcd  2023-11-14 22:13      -       -      -    runs  make all -j8",
        "    2  0123abcd  2023-11-14 22:13  1,284   1,240   1:01       0  make all",
        "    3  0123abcd  2023-11-14 22:13      7       0  5.0 s       ?  make all",
        "   11  0123abcd  2023-11-14 22:13      -       -      -     cut  ninja\\x1b[2J",
    ]
    assert [each.state for each in rows] == ["running", "ended", "ended", "cut"]


@pytest.mark.parametrize(
    ("width", "command"), [(None, "make " + "x" * 30), (99, "make " + "x" * 30), (98, "make " + "x" * 28 + "…"),
                           (20, "make xxxxxx…")]
)  # fmt: skip
def test_commands_are_cut_to_the_terminal(width: int | None, command: str) -> None:
    line = ui.list_lines([row(argv="make " + "x" * 30)], width)[1]
    assert line == "    1  0123abcd  2023-11-14 22:13  1,284   1,240  1:01       0  " + command


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1:00"), (3599.6, "1:00:00"), (7265, "2:01:05")]
)
def test_wall_time(seconds: float, text: str) -> None:
    assert ui.wall_text(seconds) == text


@pytest.mark.parametrize(
    ("end", "is_open", "state"),
    [
        ({"ended": 1.0, "status": 2}, False, "status 2"),
        ({"ended": 1.0, "status": None}, False, "its exit status is not known"),
        ({}, True, "it runs"),
        ({}, False, "its record has lost its end"),
    ],
)
def test_the_heading(end: dict[str, Any], is_open: bool, state: str) -> None:
    assert ui.heading(row(2, end, is_open=is_open)) == f"build 2, 2023-11-14 22:13:20, {state}: make all"


def test_failed_tasks_come_with_host_and_status_the_last_first() -> None:
    remote = Task("a.o", cwd="/w/src", ran="remote", executor="e1", status=1, s=1.234)
    own = Task("prog", cwd="/w", ran="here", status=137, s=0.5)
    well = Task("b.o", cwd="/w", ran="remote", executor="e1", status=0)
    assert ui.failure_lines(failing(remote, well, own), "/w") == [
        "2 tasks failed:",
        "  prog: killed by signal 9 on this host, 0.50 s",
        "  src/a.o: status 1 on node07 (executor e1), 1.23 s",
    ]
    # `make -k` goes on, and a recipe may ignore a failure.
    assert ui.failure_lines(failing(remote, status=0), "/w")[0] == "1 task failed:"


def test_many_failed_tasks_are_cut() -> None:
    tasks = [Task(f"{number}.o", ran="remote", executor="e1", status=1) for number in range(12)]
    lines = ui.failure_lines(failing(*tasks), "/w")
    assert lines[0] == "12 tasks failed:"
    assert lines[1].startswith("  11.o: ")
    assert lines[-1] == "  … and 2 before; `spraycc why --all` shows all tasks"
    assert len(lines) == 12


def test_a_failure_that_no_task_explains() -> None:
    unseen = [Task("lib.a", ran="here"), Task("prog", ran="here")]
    assert ui.failure_lines(failing(*unseen), "/w") == [
        "no task is known to have failed; 2 tasks ran on this host, where SprayCC does not see the status of each "
        "command. The last:",
        "  prog, lib.a",
    ]
    seen = Task("a.o", ran="remote", executor="e1", status=0)
    assert ui.failure_lines(failing(seen), "/w") == [
        "no task failed: a command failed that SprayCC does not wrap, or the build tool itself"
    ]
    assert ui.failure_lines(failing(seen, *unseen, status=0), "/w") == []


def test_reasons_are_counted_the_most_frequent_first() -> None:
    tasks = [
        Task("a", ran="remote", reason="compile", stale=1),
        Task("b", ran="remote", reason="compile"),
        Task("c", ran="here", reason="compile", why="no-executor"),
    ]
    assert ui.reason_lines(failing(*tasks)) == [
        "      2  remote     compile",
        "      1  here       compile; no-executor",
        "      1  of them were tried again: their hosts saw other files than the submit host.",
        "         `spraycc why a` names the files of the first one",
    ]
    assert ui.reason_lines(failing()) == ["no tasks"]


def test_a_full_record_does_not_hide_what_is_not_in_it() -> None:
    build = failing(Task("a.o", cwd="/w", ran="remote", reason="compile", executor="e1", status=1, s=1.0))
    build.end |= {"dropped": 100_500, "figures": {"tasks": 100_501, "failed": 3}}
    assert ui.failure_lines(build, "/w") == [
        "3 tasks failed; the record has 1 of them:",
        "  a.o: status 1 on node07 (executor e1), 1.00 s",
    ]
    assert ui.reason_lines(build) == [
        "100,500 lines of the record were not kept. It has 1 of the build's 100,501 tasks:",
        "      1  remote     compile",
    ]
    build.end["figures"]["tasks"] = 1  # the lines were samples
    assert len(ui.reason_lines(build)) == 1
    build.tasks = []
    assert ui.failure_lines(build, "/w") == ["3 tasks failed; the record has 0 of them"]


def test_builds_that_have_lost_their_tasks() -> None:
    found = [Found(Path("x"), number, "b", 1.0, False) for number in (1, 2, 3)]
    assert ui.lost_line(found[:1], found[1]).startswith("no task of build 1 is in the record: the disk was full, or")
    assert ui.lost_line(found[:2], found[2]).startswith("no task of builds 1 to 2 is in the record: ")


def test_a_task_in_words() -> None:
    runs = (Run("e2", 0, 1, "killed", False), Run("e1", 1, 2, "done", False))
    task = Task(
        "a.o", cwd="/w", ran="remote", reason="compile", executor="e1", status=1, s=2.0, runs=runs,
        refusals=("killed by signal 9",),
    )  # fmt: skip
    assert ui.task_lines(failing(task), task, "/w") == [
        "a.o: remote: compile (node07, executor e1, 2.00 s), failed: status 1",
        "    attempt 1 on e2: killed by signal 9",
    ]
    old = Task("a.o", cwd="/w", ran="remote", reason="compile", executor="e5", status=0, refusals=("stale",))
    assert ui.task_lines(failing(old), old, "/w") == [
        "a.o: remote: compile (executor e5, 0.00 s)",
        "    attempt 1: stale",
    ]


@pytest.mark.parametrize(
    ("words", "fits"), [("a.o", True), ("src/a.o", True), ("-DX", True), ("b.o", False), ("/w/src/a.o", True)]
)
def test_words_that_name_a_task(words: str, fits: bool) -> None:
    assert ui.names_task(Task("a.o", argv="gcc -DX -c a.c", cwd="/w/src"), words, "/w") is fits
