"""The rules of Chrome's trace event format, for the tests of all that writes traces."""

from __future__ import annotations

import itertools
from typing import Any


def check_trace(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Assert the rules of the format, JSON object form, for the phases X, M and C; returns the events.

    Source: "Trace Event Format", sections "Complete Events", "Counter Events" and "Metadata Events".
    """
    assert document["displayTimeUnit"] in ("ms", "ns")
    named: dict[str, set[tuple[int, int]]] = {"process_name": set(), "thread_name": set()}
    slices: dict[tuple[int, int], list[tuple[int, int]]] = {}
    events: list[dict[str, Any]] = document["traceEvents"]
    for event in events:
        assert event["ph"] in ("X", "M", "C")
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        assert isinstance(event["args"], dict)
        if event["ph"] == "X":
            assert isinstance(event["cat"], str)
            assert isinstance(event["dur"], int)
            assert event["dur"] >= 0
            slices.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(value, int) for value in event["args"].values())
        elif event["name"] in named:
            place = (event["pid"], 0 if event["name"] == "process_name" else event["tid"])
            assert place not in named[event["name"]], "a name is given once"
            named[event["name"]].add(place)
            assert list(event["args"]) == ["name"]
        else:
            assert event["name"] == "process_sort_index"
            assert isinstance(event["args"]["sort_index"], int)
    assert {(pid, 0) for pid, _ in slices} <= named["process_name"]
    assert set(slices) <= named["thread_name"]
    for spans in slices.values():
        spans.sort()
        # Slices of one thread must nest. Commands do not even overlap.
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    return events
