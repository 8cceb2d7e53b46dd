"""A build as a trace for Perfetto and Chrome (chrome://tracing). Pure.

Source: "Trace Event Format", the JSON object form, with the phases X (complete), M (metadata) and C (counter).

Each host is a process and each executor a thread of it. Before them come two more processes: the build with its
counters and its chain (:func:`spraycc.records.timeline.chain`), and the submit host with a thread for each command that
it ran at once. Events of one thread do not overlap, as the format demands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from spraycc.records.read import Record, Task
from spraycc.records.timeline import SUBMIT_HOST, Interval, chain, intervals, lanes, reason_of

#: One event, as JSON.
Event = dict[str, Any]

_BUILD, _SUBMIT_HOST, _FIRST_HOST = 1, 2, 3
_CHAIN = 1
#: Colours that both viewers know, for attempts that did not count and for commands that failed.
_BAD, _FAILED = "bad", "terrible"
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_GENERATOR = "SprayCC trace"
_BEGIN = '{"displayTimeUnit":"ms","otherData":{'


def chunks(record: Record) -> Iterator[str]:
    """The JSON of the whole trace, in pieces: one event a line."""
    header = record.header
    about = {key: header[key] for key in ("build", "argv", "cwd", "began", "host", "release") if key in header}
    yield _BEGIN + json.dumps({"generator": _GENERATOR, **about})[1:] + ',"traceEvents":[\n'
    separator = ""
    for event in events(record):
        yield separator + _encode(event)
        separator = ",\n"
    yield "\n]}\n"


def is_trace(begin: bytes) -> bool:
    """Whether a file that begins with these bytes is a trace, which a new trace may replace."""
    return begin.startswith(f'{_BEGIN}"generator": "{_GENERATOR}"'.encode("ascii"))


def events(record: Record) -> Iterator[Event]:
    """All events: first the names of processes and threads, then the counters, the chain and the commands."""
    found = intervals(record)
    on_executors = [span for span in found if span.executor != SUBMIT_HOST]
    on_submit_host = [span for span in found if span.executor == SUBMIT_HOST]
    places = _places(record, on_executors)
    own_lanes = lanes(on_submit_host)
    links = chain(record)

    yield from _process(_BUILD, f"build: {record.header.get('argv', '?')}")
    if links:
        yield _named("thread_name", _BUILD, _CHAIN, "chain: what the end waited for")
    yield from _process(_SUBMIT_HOST, f"submit host {record.header.get('host', '')}".rstrip())
    for lane in range(max(own_lanes, default=-1) + 1):
        yield _named("thread_name", _SUBMIT_HOST, lane + 1, f"command {lane + 1}")
    hosts: dict[int, str] = {}
    for executor, (pid, tid) in places.items():
        if pid not in hosts:
            hosts[pid] = record.host_of(executor)
            yield from _process(pid, hosts[pid])
        yield _named("thread_name", pid, tid, f"executor {executor}")

    yield from _counters(record)
    for link in links:
        task = record.tasks[link.task]
        yield _slice(_BUILD, _CHAIN, task, task.at, task.ended, {"why": link.by, "idle_s": round(link.idle_s, 4)})
    for span, lane in zip(on_submit_host, own_lanes, strict=True):
        yield _command(record, span, _SUBMIT_HOST, lane + 1)
    for span in on_executors:
        yield _command(record, span, *places[span.executor])


def _places(record: Record, spans: list[Interval]) -> dict[str, tuple[int, int]]:
    """Process and thread of each executor that is known or ran a command, by host in the order of names."""
    executors = dict.fromkeys([*record.executors, *(span.executor for span in spans)])
    pids = {host: pid for pid, host in enumerate(sorted({record.host_of(each) for each in executors}), _FIRST_HOST)}
    threads = dict.fromkeys(pids.values(), 0)
    places = {}
    for executor in sorted(executors, key=lambda each: (pids[record.host_of(each)], each)):
        pid = pids[record.host_of(executor)]
        threads[pid] += 1
        places[executor] = pid, threads[pid]
    return places


def _counters(record: Record) -> Iterator[Event]:
    for sample in record.samples:
        yield _counter("tasks", sample.t, {"running": sample.running, "here": sample.here, "waiting": sample.waiting})
        yield _counter("executors", sample.t, {"connected": sample.executors, "asked": sample.asked})
        if sample.tokens is not None:
            yield _counter("tokens", sample.t, {"tokens": sample.tokens})


def _command(record: Record, span: Interval, pid: int, tid: int) -> Event:
    task = record.tasks[span.task]
    details: dict[str, Any] = {"outcome": span.outcome}
    if span.executor:
        details |= {"executor": span.executor, "host": record.host_of(span.executor), "second": span.second}
    if span.outcome == "done":
        details |= {
            "cpu_s": round(task.user_s + task.system_s, 4),
            "command_s": task.wall_s,
            "peak_memory_bytes": task.rss,
            "returned_bytes": task.bytes,
        }
    event = _slice(pid, tid, task, span.began, span.ended, details)
    if span.outcome not in ("done", "here"):
        event["cname"] = _BAD
    elif task.has_failed:
        event["cname"] = _FAILED
    return event


def _slice(pid: int, tid: int, task: Task, began: float, ended: float, details: dict[str, Any]) -> Event:
    ts = _us(began)
    return {
        "ph": "X",
        "name": task.target,
        "cat": task.kind,
        "pid": pid,
        "tid": tid,
        "ts": ts,
        "dur": max(0, _us(ended) - ts),
        "args": {
            "command": task.argv,
            "directory": task.cwd,
            "reason": reason_of(task),
            "status": task.status,
            "queued_s": round(task.queued_s, 4),
            **details,
        },
    }


def _counter(name: str, t: float, values: dict[str, int]) -> Event:
    return {"ph": "C", "name": name, "pid": _BUILD, "tid": 0, "ts": _us(t), "args": values}


def _process(pid: int, name: str) -> Iterator[Event]:
    yield _named("process_name", pid, 0, name)
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "ts": 0, "args": {"sort_index": pid}}


def _named(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _us(seconds: float) -> int:
    # Executors that joined before the build are at its begin: both viewers hide events before 0.
    return max(0, round(seconds * 1e6))
