"""LSF, and OpenLava, which is an early LSF. Seen: OpenLava 2.2; LSF 10.1 from its manuals.

The driver uses only options that both have, apart from :class:`_Dialect`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.cluster.driver import (
    BatchId,
    BatchJob,
    CancelCommand,
    Driver,
    Reply,
    State,
    Submission,
    SubmitCommand,
    Trouble,
)
from spraycc.cluster.formatting import fold, script, spans
from spraycc.settings import Settings

_FAILURES = (
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
#: Printed for an empty listing, with exit status 254 or 255. That is no error.
_NOTHING = re.compile(r"No (?:unfinished |pending |matching )?job found|Job <[^>]*> is not found")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The differences between LSF and OpenLava."""

    system: str
    #: options against a rerun after the loss of a host; OpenLava reruns only with -r
    no_rerun: tuple[str, ...]


LSF = _Dialect("LSF", ("-rn",))
OPENLAVA = _Dialect("OpenLava", ())


class Lsf(Driver):
    submit_program = "bsub"
    list_program = "bjobs"
    failures = _FAILURES
    submitted_id = _JOB

    def __init__(self, settings: Settings, user: str, dialect: _Dialect = LSF) -> None:
        super().__init__(settings, user)
        self.system = dialect.system
        self._dialect = dialect

    def submit_command(self, submission: Submission) -> SubmitCommand:
        settings = self._settings
        argv = ["bsub", "-J", f"{submission.name}[1-{submission.count}]", "-o", "/dev/null", *self._dialect.no_rerun]
        if submission.queue:
            argv += ["-q", submission.queue]
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
        return SubmitCommand((*argv, *settings.submit_arguments), script(submission, settings))

    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        return ("bjobs", "-a", "-w", *submission_ids)

    def parse_list(self, reply: Reply) -> list[BatchJob]:
        lines = [line for line in reply.out.splitlines() if line.strip()]
        if not lines or not lines[0].startswith("JOBID"):
            if _NOTHING.search(reply.words):
                return []
            self.check(reply)
            raise self.garbled(self.list_program, reply)
        return [self._row(line, reply) for line in lines[1:]]

    def _row(self, line: str, reply: Reply) -> BatchJob:
        # JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME SUBMIT_TIME; -w prints a dash for no host. Only the name
        # has the element.
        fields = line.split()
        if len(fields) < 7 or not fields[0].isdigit() or fields[2] not in _STATES:
            raise self.garbled(self.list_program, reply)
        element = _ELEMENT.search(fields[6])
        return BatchJob(BatchId(fields[0], int(element[1]) if element else 0), _STATES[fields[2]])

    def explain_command(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("bjobs", "-p", f"{batch.submission_id}[{batch.element}]" if batch.element else batch.submission_id)

    def parse_explain(self, reply: Reply) -> str:
        reasons = [line.strip().rstrip(";") for line in reply.out.splitlines() if line.startswith(" ")]
        return "; ".join(dict.fromkeys(reasons))

    def search_command(self, name: str) -> tuple[str, ...]:
        return ("bjobs", "-w", "-J", name)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job.id.submission_id for job in self.parse_list(reply)))

    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        words = [f"{array}[{spans(ranges)}]" if ranges else array for array, ranges in fold(batches)]
        return [CancelCommand(("bkill", *words), tuple(batches))]
