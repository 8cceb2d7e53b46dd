"""A build's figures, for the summary, the JSON file and status. docs/reference/protocol.md describes the keys."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from spraycc.commands.reasons import Reason
from spraycc.model import Description, Kind, Usage

_COMPILES = (Kind.COMPILE, Kind.ASSEMBLE, Kind.PCH)
#: Reasons of lines that are compiles, as far as SprayCC can tell.
_COMPILES_NOT_UNDERSTOOD = frozenset(
    reason.value
    for reason in (
        Reason.LAUNCHER,
        Reason.INNER_COMMAND,
        Reason.OTHER_DRIVER,
        Reason.OVERRIDDEN,
        Reason.RESPONSE_FILE,
    )
)


def is_compile(description: Description) -> bool:
    """True for a line that compiles: no configure test, no preprocessing alone, and no link of objects alone."""
    if description.kind is Kind.LINK:
        return bool(description.inputs)
    return description.kind in _COMPILES or description.reason in _COMPILES_NOT_UNDERSTOOD


@dataclass(slots=True)
class Figures:
    """Counts of one build. Every task is counted once in ``tasks``, and at its end once in ``remote`` or ``local``."""

    tasks: int = 0
    #: tasks whose result came from an executor
    remote: int = 0
    #: tasks that ran on the submit host
    local: int = 0
    #: tasks with a nonzero status on an executor or in a compile slot of the submit host. The server does not know the
    #: status of other commands on the submit host
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
    #: CPU time of commands on the submit host, as far as their runners tell: those in compile slots do
    cpu_s_here: float = 0.0
    #: time that commands ran, on executors and on the submit host: the sum of the intervals in the build's record
    run_s: float = 0.0
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
    #: tasks that compile, and how many of them have a result of an executor
    compiles: int = 0
    compiles_remote: int = 0
    #: why compiles ran on the submit host: reason, as in ``reasons`` -> compiles
    kept: Counter[str] = field(default_factory=Counter)
    #: reason -> the first such compile: its program, and the program that started it
    kept_first: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: readings of the build's processes, and how many of them have shown a compiler without a runner
    samples: int = 0
    samples_unwrapped: int = 0
    #: the first compiler without a runner: ``Unwrapped.as_map``
    unwrapped: dict[str, Any] = field(default_factory=dict)

    def attempt_began(self, executors: int, *, second: bool) -> None:
        self.running += 1
        self.second += second
        self.running_peak = max(self.running_peak, self.running)
        self.executors_peak = max(self.executors_peak, executors)

    def attempt_ended(self) -> None:
        self.running -= 1

    def remote_done(self, ok: bool, usage: Usage, returned_bytes: int, *, compiles: bool = False) -> None:
        self.remote += 1
        self.compiles_remote += compiles
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
            "cpu_s_here": round(self.cpu_s_here, 3),
            "run_s": round(self.run_s, 3),
            "executors_peak": self.executors_peak,
            "running_peak": self.running_peak,
            "bytes_returned": self.bytes_returned,
            "tokens_issued": self.tokens_issued,
            "tokens_free_at_end": self.tokens_free_at_end,
            "tokens_lost": self.tokens_lost,
            "reasons": dict(self.reasons),
            "compiles": self.compiles,
            "compiles_remote": self.compiles_remote,
            "compiles_here": {
                "reasons": dict(self.kept),
                "first": {reason: list(programs) for reason, programs in self.kept_first.items()},
                "samples": self.samples,
                "samples_unwrapped": self.samples_unwrapped,
                "unwrapped": self.unwrapped,
            },
        }
