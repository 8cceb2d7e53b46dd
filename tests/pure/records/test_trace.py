"""The trace follows the rules of Chrome's trace event format, and has every attempt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spraycc.records import trace
from spraycc.records.read import Record, read
from spraycc.records.timeline import chain, intervals
from tests.records import lines_of_a_build, write_record
from tests.trace_format import check_trace


def document_of(record: Record) -> dict[str, Any]:
    document: dict[str, Any] = json.loads("".join(trace.chunks(record)))
    return document


@pytest.mark.parametrize(("tasks", "executors"), [(0, 0), (1, 1), (2, 1), (100, 8), (1000, 50)])
@pytest.mark.parametrize("finished", [True, False])
def test_a_trace_keeps_the_rules(tmp_path: Path, tasks: int, executors: int, finished: bool) -> None:
    record = read(write_record(tmp_path, lines_of_a_build(tasks, max(1, executors), finished=finished)))
    events = check_trace(document_of(record))
    commands = [event for event in events if event["ph"] == "X" and event["pid"] > 1]
    assert len(commands) == len(intervals(record))
    assert sum(event["ph"] == "X" and event["pid"] == 1 for event in events) == len(chain(record))


def test_hosts_are_processes_and_executors_threads(tmp_path: Path) -> None:
    record = read(write_record(tmp_path, lines_of_a_build(60, 8)))
    events = check_trace(document_of(record))
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert list(processes.values()) == ["build: make -j100", "submit host submit", "node001", "node002"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert [name for (pid, _), name in threads.items() if processes[pid] == "node001"] == [
        "executor e1", "executor e2", "executor e3", "executor e4",
    ]  # fmt: skip
    for event in (event for event in events if event["ph"] == "X" and event["pid"] > 2):
        assert threads[event["pid"], event["tid"]] == f"executor {event['args']['executor']}"
        assert processes[event["pid"]] == event["args"]["host"]


def test_an_event_tells_all_about_its_task(tmp_path: Path) -> None:
    record = read(write_record(tmp_path, lines_of_a_build(60, 8, status=2)))
    events = check_trace(document_of(record))
    first = next(event for event in events if event["ph"] == "X" and event["name"] == "d3/f3.o" and event["pid"] > 1)
    assert (first["cat"], first["args"]["command"]) == ("compile", "gcc -O2 -c d3/f3.c -o d3/f3.o")
    assert {
        "directory",
        "reason",
        "status",
        "queued_s",
        "cpu_s",
        "command_s",
        "peak_memory_bytes",
        "returned_bytes",
    } <= set(first["args"])
    colours = {
        event["args"]["outcome"]: event.get("cname") for event in events if event["ph"] == "X" and event["pid"] > 1
    }
    assert colours["killed"] == "bad"
    assert any(event.get("cname") == "terrible" and event["args"]["status"] == 1 for event in events)


def test_counters_have_the_samples(tmp_path: Path) -> None:
    record = read(write_record(tmp_path, lines_of_a_build(60, 8)))
    counters = [event for event in document_of(record)["traceEvents"] if event["ph"] == "C"]
    assert len(counters) == 3 * len(record.samples) > 0
    assert {event["name"]: set(event["args"]) for event in counters} == {
        "tasks": {"running", "here", "waiting"}, "executors": {"connected", "asked"}, "tokens": {"tokens"},
    }  # fmt: skip


def test_an_executor_of_which_only_a_run_is_known_has_a_place(tmp_path: Path) -> None:
    lines = [line for line in lines_of_a_build(10, 2) if "joined" not in line]
    events = check_trace(document_of(read(write_record(tmp_path, lines))))
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names[2:] == ["e1", "e2"]


def test_a_trace_is_known_by_its_begin() -> None:
    text = "".join(trace.chunks(Record({"record": 2, "build": "b"})))
    assert trace.is_trace(text.encode())
    assert json.loads(text)["otherData"] == {"generator": "SprayCC trace", "build": "b"}
    assert trace.is_trace("".join(trace.chunks(Record())).encode())
    assert not trace.is_trace(b'{"displayTimeUnit":"ms","otherData":{},"traceEvents":[]}')
