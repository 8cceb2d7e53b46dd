"""The outcome of an attempt as it follows from the executor's report alone."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.errors import CaptureRefusal
from spraycc.model import TaskId
from spraycc.scheduler.events import Outcome
from spraycc.server.fleet.verdict import reported
from spraycc.wire.executor import TaskEnded

STALE = CaptureRefusal.STALE.value
DIFFERENT = CaptureRefusal.DIFFERENT.value


@pytest.mark.parametrize(
    ("changes", "aborted", "unwritable", "outcome"),
    [
        ({}, False, False, Outcome.DONE),
        ({"code": 1}, False, False, Outcome.DONE),
        ({"code": 1, "out_of_memory": True}, False, False, Outcome.DONE),
        ({"signal": 9}, False, False, Outcome.KILLED),
        ({"signal": 9, "out_of_memory": True}, False, False, Outcome.OUT_OF_MEMORY),
        ({"refusal": STALE}, False, False, Outcome.STALE),
        ({"refusal": DIFFERENT}, False, False, Outcome.UNFIT),
        ({"refusal": "copy-up"}, False, False, Outcome.REFUSED),
        ({"refusal": "a newer executor's word"}, False, False, Outcome.REFUSED),
        ({}, False, True, Outcome.REFUSED),
        ({"signal": 9}, False, True, Outcome.REFUSED),
        ({"refusal": STALE}, False, True, Outcome.STALE),
        ({"cancelled": True}, False, False, Outcome.CANCELLED),
        ({}, True, False, Outcome.CANCELLED),
        ({"refusal": STALE}, True, True, Outcome.CANCELLED),
    ],
)
def test_reported(changes: dict[str, Any], aborted: bool, unwritable: bool, outcome: Outcome) -> None:
    values: dict[str, Any] = {
        "task": TaskId(1), "code": 0, "signal": 0, "cancelled": False, "refusal": "", "text": "",
        "user_s": 0.1, "system_s": 0.1, "wall_s": 0.2, "peak_rss_bytes": 1,
    }  # fmt: skip
    assert reported(TaskEnded(**(values | changes)), is_aborted=aborted, is_unwritable=unwritable) is outcome
