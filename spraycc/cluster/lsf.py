"""LSF, and OpenLava, which is an early LSF. Seen: OpenLava 2.2; LSF 10.1 from its manuals.

Only what both have is used. What differs is :class:`_Dialect`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.cluster.driver import BatchId, BatchJob, Driver, Order, Reply, State, Submission, Trouble
from spraycc.cluster.forms import fold, script, spans
from spraycc.settings import Settings

_TROUBLES = (
    (r"LIM is down|not responding|failed in an LSF library call|unable to open file lsf\.conf", Trouble.UNREACHABLE),
    (r"batch system.*(?:down|not responding)|mbatchd", Trouble.UNREACHABLE),
    (r"job array index too large", Trouble.TOO_LARGE),
    (r"pending job threshold|job limit|too many jobs", Trouble.BUSY),
)
_STATES = {
    "PEND": State.PENDING, "WAIT": State.PENDING, "PROV": State.PENDING, "RUN": State.RUNNING, "PSUSP": State.STUCK,
    "USUSP": State.SUSPENDED, "SSUSP": State.SUSPENDED, "UNKWN": State.SUSPENDED, "DONE": State.GONE,
    "EXIT": State.GONE, "ZOMBI": State.GONE,
}  # fmt: skip
_JOB = re.compile(r"^Job <(\d+)> is submitted", re.MULTILINE)
_ELEMENT = re.compile(r"\[(\d+)\]$")
#: It lists nothing, with exit status 254 or 255: no error for us.
_NOTHING = re.compile(r"No (?:unfinished |pending |matching )?job found|Job <[^>]*> is not found")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What LSF and OpenLava do differently."""

    system: str
    #: never run again after the host was lost; OpenLava's are not rerunnable unless -r says so
    no_rerun: tuple[str, ...]


LSF = _Dialect("LSF", ("-rn",))
OPENLAVA = _Dialect("OpenLava", ())


class Lsf(Driver):
    submits = "bsub"
    lists = "bjobs"
    troubles = _TROUBLES
    submitted = _JOB

    def __init__(self, settings: Settings, user: str, dialect: _Dialect = LSF) -> None:
        super().__init__(settings, user)
        self.system = dialect.system
        self._dialect = dialect

    def submission(self, order: Order) -> Submission:
        settings = self._settings
        argv = ["bsub", "-J", f"{order.name}[1-{order.count}]", "-o", "/dev/null", *self._dialect.no_rerun]
        if order.queue:
            argv += ["-q", order.queue]
        if project := settings.project or settings.account:
            argv += ["-P", project]
        if settings.wall_time_s is not None:
            argv += ["-W", str(-(-settings.wall_time_s // 60))]
        argv += ["-n", str(settings.cpus_per_executor)]
        needs = []
        if settings.cpus_per_executor > 1:
            needs.append("span[hosts=1]")
        if settings.memory_mb is not None:
            needs.append(f"rusage[mem={settings.memory_mb}]")
        if needs:
            argv += ["-R", " ".join(needs)]
        return Submission((*argv, *settings.submit_arguments), script(order, settings))

    def listing(self, jobs: Sequence[str]) -> tuple[str, ...]:
        return ("bjobs", "-a", "-w", *jobs)

    def parse_listing(self, reply: Reply) -> list[BatchJob]:
        lines = [line for line in reply.out.splitlines() if line.strip()]
        if not lines or not lines[0].startswith("JOBID"):
            if _NOTHING.search(reply.words):
                return []
            self.check(reply)
            raise self.garbled(self.lists, reply)
        return [self._row(line, reply) for line in lines[1:]]

    def _row(self, line: str, reply: Reply) -> BatchJob:
        # JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME SUBMIT_TIME; -w has a dash for no host. The index is only
        # in the name.
        fields = line.split()
        if len(fields) < 7 or not fields[0].isdigit() or fields[2] not in _STATES:
            raise self.garbled(self.lists, reply)
        element = _ELEMENT.search(fields[6])
        return BatchJob(BatchId(fields[0], int(element[1]) if element else 0), _STATES[fields[2]])

    def explanation(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("bjobs", "-p", f"{batch.job}[{batch.index}]" if batch.index else batch.job)

    def parse_explanation(self, reply: Reply) -> str:
        reasons = [line.strip().rstrip(";") for line in reply.out.splitlines() if line.startswith(" ")]
        return "; ".join(dict.fromkeys(reasons))

    def search(self, name: str) -> tuple[str, ...]:
        return ("bjobs", "-w", "-J", name)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job.id.job for job in self.parse_listing(reply)))

    def cancellation(self, batches: Sequence[BatchId]) -> tuple[str, ...]:
        return ("bkill", *(f"{job}[{spans(ranges)}]" if ranges else job for job, ranges in fold(batches)))
