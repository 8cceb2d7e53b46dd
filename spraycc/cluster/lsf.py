"""LSF and its descendants OpenLava and volclava. Seen: OpenLava 2.2, volclava 2.2; LSF 10.1 from its manuals.

The driver uses only options that all of them have. So it can't say that a batch job must not be rerun (``-rn`` is LSF's
alone). None of them reruns a batch job of its own accord, but a queue may. Then the new executor has the id of the old
one, and takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
from spraycc.cluster.formatting import fold, script, spans, unless_given
from spraycc.cluster.resource_requirement import joined, taken_out
from spraycc.settings import Settings

_FAILURES = (
    (r"LIM is down|failed in an LSF library call|unable to open file lsf\.conf", Trouble.UNREACHABLE),
    (r"batch system.*(?:down|not responding|query limit)|mbatchd|batch daemon", Trouble.UNREACHABLE),
    # Seen while mbatchd restarts: "Connection refused by server".
    (r"refused by server|server is not connected|communication with|internal error", Trouble.UNREACHABLE),
    (r"job array index too large", Trouble.TOO_LARGE),
    (r"pending job threshold|job (?:slot )?limit|too many jobs|no job id can be used", Trouble.BUSY),
)
_STATES = {
    "PEND": State.PENDING, "WAIT": State.PENDING, "PROV": State.PENDING, "RUN": State.RUNNING, "PSUSP": State.STUCK,
    "USUSP": State.SUSPENDED, "SSUSP": State.SUSPENDED, "UNKWN": State.SUSPENDED, "DONE": State.GONE,
    "EXIT": State.GONE, "ZOMBI": State.GONE,
}  # fmt: skip
_JOB = re.compile(r"^Job <(\d+)> is submitted", re.MULTILINE)
#: JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME SUBMIT_TIME; -w prints a dash for no host. Only the name has the
#: element.
_ROW = re.compile(r"^(\d+)\s+\S+\s+([A-Z]+)\s+\S+\s+\S+\s+\S+\s+\S*?(?:\[(\d+)\])?(?:\s|$)")
#: The beginning of a row. If the rest does not fit, the listing is not reliable.
_ROW_BEGINS = re.compile(r"^\d+\s+\S+\s+[A-Z]+(?:\s|$)")
#: Printed for an empty listing, with exit status 254 or 255. That is no error.
_NOTHING = re.compile(r"No (?:unfinished |pending |matching )?job found|Job <[^>]*> is not found")


#: With LSB_QUERY_PORT (lsf.conf(5)), a child of mbatchd answers bjobs. The child knows no later submission.
#: mbatchd makes a new child after MBD_REFRESH_TIME or min_refresh_time (lsb.params(5)): 10 s by default, at most 300 s.
_LISTING_AGE_S = 60.0
_NAMES = {"lsf": "LSF", "openlava": "OpenLava"}


class Lsf(Driver):
    submit_program = "bsub"
    list_program = "bjobs"
    failures = _FAILURES
    submitted_id = _JOB
    reserved = re.compile(r"-J")

    def __init__(self, settings: Settings, user: str) -> None:
        super().__init__(settings, user)
        self.system = _NAMES[settings.cluster]
        if settings.cluster == "lsf":  # OpenLava's mbatchd forks a child for each query
            self.listing_age_s = _LISTING_AGE_S

    def submit_command(self, submission: Submission) -> SubmitCommand:
        settings = self._settings
        arguments, requirements = taken_out(settings.submit_arguments)
        argv = ["bsub", "-J", f"{submission.name}[1-{submission.count}]", "-o", "/dev/null"]
        minutes = str(-(-settings.wall_time_s // 60)) if settings.wall_time_s is not None else None
        options = [("-q", submission.queue), ("-P", settings.project or settings.account), ("-W", minutes)]
        argv += unless_given([*options, ("-n", str(settings.cpus_per_executor))], arguments)
        needs = []
        if settings.cpus_per_executor > 1:
            needs.append("span[hosts=1]")
        if settings.memory_mb is not None:
            needs.append(f"rusage[mem={settings.memory_mb}]")
        if requirement := joined(needs, requirements):
            argv += ["-R", requirement]
        return SubmitCommand((*argv, *arguments), script(submission, settings))

    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        return ("bjobs", "-a", "-w", *submission_ids)

    def parse_list(self, reply: Reply) -> list[BatchJob]:
        self.check_contact(reply)
        lines = _after_header(reply)
        if lines is None:
            if _NOTHING.search(reply.text):
                return []
            self.check(reply)
            raise self.garbled(self.list_program, reply)
        return [self._row(line, reply) for line in lines if _ROW_BEGINS.match(line)]

    def _row(self, line: str, reply: Reply) -> BatchJob:
        row = _ROW.match(line)
        if row is None or row[2] not in _STATES:
            raise self.garbled(self.list_program, reply)
        return BatchJob(BatchId(row[1], int(row[3] or 0)), _STATES[row[2]])

    def explain_command(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("bjobs", "-p", f"{batch.submission_id}[{batch.element}]" if batch.element else batch.submission_id)

    def parse_explain(self, reply: Reply) -> str:
        reasons = [line.strip().rstrip(";") for line in _after_header(reply) or [] if line.startswith(" ")]
        return "; ".join(dict.fromkeys(reasons))

    def search_command(self, name: str) -> tuple[str, ...]:
        return ("bjobs", "-w", "-J", name)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        self.parse_list(reply)
        rows = (line.split() for line in _after_header(reply) or [])
        # A wrapper may ignore the name, and list all batch jobs of the user.
        return tuple(dict.fromkeys(row[0] for row in rows if len(row) > 6 and row[6].partition("[")[0] == name))

    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        words = [f"{array}[{spans(ranges)}]" if ranges else array for array, ranges in fold(batches)]
        return [CancelCommand(("bkill", *words), tuple(batches))]


def _after_header(reply: Reply) -> list[str] | None:
    """The lines after the listing's header; None: there is no header."""
    lines = reply.out.splitlines()
    header = next((number for number, line in enumerate(lines) if line.startswith("JOBID ")), None)
    return None if header is None else lines[header + 1 :]
