"""PBS Professional and OpenPBS. Seen: OpenPBS 23.06.06. Torque has other options and other variables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spraycc.cluster.driver import BatchId, BatchJob, Driver, Order, Reply, State, Submission, Trouble
from spraycc.cluster.forms import clock, fold, script, spans

_TROUBLES = (
    (r"cannot connect to server|couldn't connect|connection refused|pbs_iff|errno=150", Trouble.UNREACHABLE),
    (r"array job exceeds", Trouble.TOO_LARGE),
    (r"would exceed|limit on number of jobs|max_queued", Trouble.BUSY),
)
#: What qstat ends with where an id is unknown by now, or finished: no error for us.
_UNKNOWN = (35, 153)
_STATES = {
    "R": State.RUNNING, "B": State.RUNNING, "E": State.ENDING, "X": State.GONE, "F": State.GONE, "S": State.SUSPENDED,
    "U": State.SUSPENDED, "H": State.STUCK,
}  # fmt: skip
#: ``8.pbsvm``, ``8[].pbsvm``; in listings ``8[3].pbsvm``, cut off at the column's end
_JOB = re.compile(r"^(\d+(?:\[\])?)\.(\S+)$", re.MULTILINE)
_ROW = re.compile(r"^(\d+)(\[\d*\])?(?:\.\S*)?\*?\s.*\s([A-Z])\s+\S+\s*$")


class Pbs(Driver):
    system = "PBS"
    submits = "qsub"
    lists = "qstat"
    troubles = _TROUBLES
    submitted = _JOB

    def submission(self, order: Order) -> Submission:
        settings = self._settings
        # -f: else qsub leaves a copy of itself behind for a minute. An array of one is refused.
        argv = ["qsub", "-f", "-r", "n", "-N", order.name, "-j", "oe", "-o", "/dev/null", "-S", "/bin/sh"]
        if order.queue:
            argv += ["-q", order.queue]
        if settings.account:
            argv += ["-A", settings.account]
        if settings.project:
            argv += ["-P", settings.project]
        select = f"select=1:ncpus={settings.cpus_per_executor}"
        if settings.memory_mb is not None:
            select += f":mem={settings.memory_mb}mb"
        argv += ["-l", select]
        if settings.wall_time_s is not None:
            argv += ["-l", f"walltime={clock(settings.wall_time_s)}"]
        if order.count > 1:
            argv += ["-J", f"1-{order.count}"]
        return Submission((*argv, *settings.submit_arguments), script(order, settings))

    def parse_submit(self, order: Order, reply: Reply) -> tuple[BatchId, ...]:
        batches = super().parse_submit(order, reply)
        if ("[]" in reply.out) != (order.count > 1):
            raise self.garbled(self.submits, reply)
        return batches

    def batches(self, job: str, order: Order) -> tuple[BatchId, ...]:
        number = job.removesuffix("[]")
        return super().batches(number, order) if order.count > 1 else (BatchId(number),)

    def listing(self, jobs: Sequence[str]) -> tuple[str, ...]:
        # By id: the plain listing has every user's batch jobs. An array is only known by its brackets and a plain one
        # without them, so both forms are asked for; the unknown one is left out.
        return ("qstat", "-t", *(form for job in jobs for form in (job, f"{job}[]")))

    def parse_listing(self, reply: Reply) -> list[BatchJob]:
        found = []
        for line in reply.out.splitlines():
            row = _ROW.match(line)
            if row is None:
                if line.strip() and not line.startswith(("Job id", "---")):
                    raise self.garbled(self.lists, reply)
            elif row[2] != "[]":
                state = _STATES.get(row[3], State.PENDING)
                found.append(BatchJob(BatchId(row[1], int(row[2][1:-1]) if row[2] else 0), state))
        if not found and reply.status and reply.status not in _UNKNOWN:
            raise self.failure(reply)
        return found

    def explanation(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("qstat", "-f", f"{batch.job}[{batch.index}]" if batch.index else batch.job)

    def parse_explanation(self, reply: Reply) -> str:
        text = re.sub(r"\n\t", "", reply.out)
        found = re.search(r"^\s+comment = (.*)$", text, re.MULTILINE)
        comment = found[1].strip() if found else ""
        # Of an element that waits this only says that its array has begun.
        return "" if comment.startswith("Job Array Began") else comment

    def search(self, name: str) -> tuple[str, ...]:
        return ("qselect", "-u", self._user, "-N", name)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        self.check(reply)
        # With the brackets of an array, which cancellation needs.
        return tuple(found[1] for found in _JOB.finditer(reply.out))

    def cancellation(self, batches: Sequence[BatchId]) -> tuple[str, ...]:
        words = []
        for job, ranges in fold(batches):
            words += [f"{job}[{spans([pair])}]" for pair in ranges] if ranges else [job]
        return ("qdel", *words)
