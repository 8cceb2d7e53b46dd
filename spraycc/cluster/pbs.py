"""PBS Professional and OpenPBS. Seen: OpenPBS 23.06.06. Torque has other options and other variables."""

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
from spraycc.cluster.formatting import clock, fold, script, spans, unless_given

_FAILURES = (
    (r"cannot connect to server|couldn't connect|pbs_iff|errno=150", Trouble.UNREACHABLE),
    (r"server shutting down|communication failure|end of file|premature end of message", Trouble.UNREACHABLE),
    (r"array job exceeds", Trouble.TOO_LARGE),
    (r"would exceed|limit on number of jobs|already in queue|max_queued", Trouble.BUSY),
)
#: qstat's words, with exit status 153 or 35, for an id that is unknown or finished. That is no error.
_UNKNOWN = re.compile(r"^qstat: (?:Unknown Job Id|.*Job has finished)", re.MULTILINE)
#: The requests of a user that PBS does not take beside `select`, in the submit arguments
_CHUNKS = re.compile(r"-l\s*(?:\S*,)?(?:select|nodes|ncpus|mem|nodect)=")
_WALL_TIME = re.compile(r"-l\s*(?:\S*,)?walltime=")
_STATES = {
    "R": State.RUNNING, "B": State.RUNNING, "E": State.ENDING, "X": State.GONE, "F": State.GONE, "S": State.SUSPENDED,
    "U": State.SUSPENDED, "H": State.STUCK,
}  # fmt: skip
#: ``8.pbsvm``, ``8[].1head``, ``8.10.0.0.5``, but not ``23.06.06``, the version of a wrapper. In listings also
#: ``8[3].pbsvm``, cut off at the column's end.
_JOB = re.compile(r"^(\d+\[\](?=\.)|\d+(?=\.\d*[A-Za-z]|\.(?:\d+\.){3}\d+[ \t\r]*$))\.\S+[ \t\r]*$", re.MULTILINE)
#: id, element, then name, user, time used, state and queue
_ROW = re.compile(r"^(\d+)(\[\d*\])?(?:\.\S*)?\*?\s+\S+\s+\S+\s+[\d:-]+\s+([A-Z])\s+\S+\s*$")
#: The beginning of a row. If the rest does not fit, the listing is not reliable.
_ROW_BEGINS = re.compile(r"^\d+(?:\[\d*\])?[.*]")


class Pbs(Driver):
    system = "PBS"
    submit_program = "qsub"
    list_program = "qstat"
    failures = _FAILURES
    submitted_id = _JOB
    reserved = re.compile(r"-[NJ].*")

    def submit_command(self, submission: Submission) -> SubmitCommand:
        settings = self._settings
        # -f: without this, a copy of qsub stays for a minute. PBS refuses an array of one element.
        argv = ["qsub", "-f", "-N", submission.name, "-j", "oe", "-o", "/dev/null", "-S", "/bin/sh"]
        options = [("-q", submission.queue), ("-A", settings.account), ("-P", settings.project)]
        argv += unless_given(options, settings.submit_arguments)
        given = " ".join(settings.submit_arguments)
        # PBS refuses `select` together with a `select`, `nodes` or `ncpus` of the user's.
        if not _CHUNKS.search(given):
            memory = f":mem={settings.memory_mb}mb" if settings.memory_mb is not None else ""
            argv += ["-l", f"select=1:ncpus={settings.cpus_per_executor}{memory}"]
        if settings.wall_time_s is not None and not _WALL_TIME.search(given):
            argv += ["-l", f"walltime={clock(settings.wall_time_s)}"]
        # PBS refuses an array that may not be rerun. If an element is rerun, its new executor has the old one's id and
        # takes its place.
        argv += ["-J", f"1-{submission.count}"] if submission.count > 1 else ["-r", "n"]
        return SubmitCommand((*argv, *settings.submit_arguments), script(submission, settings))

    def parse_submit(self, submission: Submission, reply: Reply) -> tuple[BatchId, ...]:
        batches = super().parse_submit(submission, reply)
        is_array = any(found[1].endswith("[]") for found in _JOB.finditer(reply.out))
        if is_array != (submission.count > 1):
            raise self.garbled(self.submit_program, reply)
        return batches

    def batch_ids(self, submission_id: str, submission: Submission) -> tuple[BatchId, ...]:
        number = submission_id.removesuffix("[]")
        return super().batch_ids(number, submission) if submission.count > 1 else (BatchId(number),)

    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        # By id: the plain listing has every user's batch jobs. qstat knows an array only with brackets, and a single
        # batch job only without, so ask for both forms; qstat skips the unknown one.
        return ("qstat", "-t", *(form for number in submission_ids for form in (number, f"{number}[]")))

    def parse_list(self, reply: Reply) -> list[BatchJob]:
        self.check_contact(reply)
        found, rows = [], 0
        for line in reply.out.splitlines():
            row = _ROW.match(line)
            if row is None and _ROW_BEGINS.match(line):
                raise self.garbled(self.list_program, reply)
            rows += row is not None
            if row is not None and row[2] != "[]":
                state = _STATES.get(row[3], State.PENDING)
                found.append(BatchJob(BatchId(row[1], int(row[2][1:-1]) if row[2] else 0), state))
        if not rows and not _UNKNOWN.search(reply.text):
            self.check(reply)
            raise self.garbled(self.list_program, reply)
        return found

    def explain_command(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("qstat", "-f", f"{batch.submission_id}[{batch.element}]" if batch.element else batch.submission_id)

    def parse_explain(self, reply: Reply) -> str:
        text = re.sub(r"\n\t", "", reply.out)
        found = re.search(r"^\s+comment = (.*)$", text, re.MULTILINE)
        comment = found[1].strip() if found else ""
        # "Job Array Began at …": a pending element once its array has begun. "Job run at …": a running batch job.
        return "" if comment.startswith(("Job Array Began", "Job run at")) else comment

    def search_command(self, name: str) -> tuple[str, ...]:
        return ("qselect", "-u", self._user, "-N", name)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        self.check(reply)
        found = tuple(match[1] for match in _JOB.finditer(reply.out))
        if reply.out.strip() and not found:
            raise self.garbled("qselect", reply)
        # The ids keep an array's brackets, because `cancel_commands` needs them.
        return found

    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        # One id a call: with several ids OpenPBS 22.05 to 23.06 cancels nothing, or its server dies.
        commands = []
        for array, ranges in fold(batches):
            if not ranges:
                commands.append(CancelCommand(("qdel", array), (BatchId(array),)))
            for low, high in ranges:
                ids = tuple(BatchId(array, element) for element in range(low, high + 1))
                commands.append(CancelCommand(("qdel", f"{array}[{spans([(low, high)])}]"), ids))
        return commands
