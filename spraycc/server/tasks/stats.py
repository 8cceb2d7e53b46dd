"""A build's figures, for the summary, the JSON file and status. docs/protocol.md describes the keys."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from spraycc.model import Usage


@dataclass(slots=True)
class Figures:
    """Counts of one build. Every task is counted once in ``tasks``, and at its end once in ``remote`` or ``local``."""

    tasks: int = 0
    #: tasks whose result came from an executor
    remote: int = 0
    #: tasks that ran on the submit host
    local: int = 0
    #: remote tasks with a nonzero status; the server does not know the status of a command on the submit host
    failed: int = 0
    #: attempts that did not count, for any reason
    retried: int = 0
    #: retried attempts whose host saw other files than the submit host
    stale: int = 0
    #: second attempts, and how many of them gave the result
    second: int = 0
    second_won: int = 0
    #: tasks whose runner went away before the task had a result
    cancelled: int = 0
    cpu_s_remote: float = 0.0
    bytes_returned: int = 0
    executors_peak: int = 0
    running_peak: int = 0
    #: attempts that run now
    running: int = 0
    tokens_issued: int = 0
    tokens_free_at_end: int = 0
    #: tokens that died with their holders, written off during the build
    tokens_lost: int = 0
    #: why tasks were placed where they were: reason -> tasks
    reasons: Counter[str] = field(default_factory=Counter)

    def attempt_began(self, executors: int, *, second: bool) -> None:
        self.running += 1
        self.second += second
        self.running_peak = max(self.running_peak, self.running)
        self.executors_peak = max(self.executors_peak, executors)

    def attempt_ended(self) -> None:
        self.running -= 1

    def remote_done(self, ok: bool, usage: Usage, returned_bytes: int) -> None:
        self.remote += 1
        self.failed += not ok
        self.cpu_s_remote += usage.user_s + usage.system_s
        self.bytes_returned += returned_bytes

    def as_map(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks,
            "remote": self.remote,
            "local": self.local,
            "failed": self.failed,
            "retried": self.retried,
            "stale": self.stale,
            "second": self.second,
            "second_won": self.second_won,
            "cancelled": self.cancelled,
            "cpu_s_remote": round(self.cpu_s_remote, 3),
            "executors_peak": self.executors_peak,
            "running_peak": self.running_peak,
            "bytes_returned": self.bytes_returned,
            "tokens_issued": self.tokens_issued,
            "tokens_free_at_end": self.tokens_free_at_end,
            "tokens_lost": self.tokens_lost,
            "reasons": dict(self.reasons),
        }
