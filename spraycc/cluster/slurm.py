"""Slurm. Seen: 22.05.8."""

from __future__ import annotations

import re
from collections.abc import Sequence

from spraycc.cluster.driver import BatchId, BatchJob, Driver, Order, Reply, State, Submission, Trouble, never
from spraycc.cluster.forms import clock, fold, script, spans

_TROUBLES = (
    (r"unable to contact slurm controller|socket timed out|authentication error", Trouble.UNREACHABLE),
    (r"could not establish a configuration|connection refused|zero bytes were|munge encode", Trouble.UNREACHABLE),
    (r"unable to process configuration file", Trouble.NO_COMMAND),
    (r"invalid job array specification", Trouble.TOO_LARGE),
    (r"accounting/QOS policy|MaxSubmitJob|temporarily unable to accept|max.*job.*count", Trouble.BUSY),
)  # fmt: skip
#: squeue(1), JOB STATE CODES. Others that last are as good as pending.
_STATES = {
    **dict.fromkeys(("R", "CF", "SI"), State.RUNNING),
    **dict.fromkeys(("S", "ST"), State.SUSPENDED),
    **dict.fromkeys(("CG", "SO"), State.ENDING),
    **dict.fromkeys(("BF", "CA", "CD", "DL", "F", "NF", "OOM", "PR", "TO", "RV"), State.GONE),
}
#: id, number of the array, index, number of the element, state twice, reason
_FORMAT = "--format=%i|%F|%K|%A|%t|%T|%r"
#: ``--parsable``: the id, on a federation with the cluster's name
_JOB = re.compile(r"^(\d+)(?:;\S+)?$", re.MULTILINE)


class Slurm(Driver):
    system = "Slurm"
    submits = "sbatch"
    lists = "squeue"
    troubles = _TROUBLES
    submitted = _JOB

    def submission(self, order: Order) -> Submission:
        settings = self._settings
        argv = [
            "sbatch", "--parsable", "--no-requeue", f"--job-name={order.name}", "--output=/dev/null", "--chdir=/",
            "--propagate=NONE", "--nodes=1", "--ntasks=1", f"--cpus-per-task={settings.cpus_per_executor}",
            f"--array=1-{order.count}",
        ]  # fmt: skip
        if order.queue:
            argv.append(f"--partition={order.queue}")
        if account := settings.account or settings.project:
            argv.append(f"--account={account}")
        if settings.wall_time_s is not None:
            argv.append(f"--time={clock(settings.wall_time_s)}")
        if settings.memory_mb is not None:
            argv.append(f"--mem={settings.memory_mb}M")
        return Submission((*argv, *settings.submit_arguments), script(order, settings))

    def listing(self, jobs: Sequence[str]) -> tuple[str, ...]:
        # By user: one id that is unknown by now would be an error of the whole command.
        return ("squeue", "--noheader", "--array", f"--user={self._user}", _FORMAT)

    def parse_listing(self, reply: Reply) -> list[BatchJob]:
        self.check(reply)
        return [self._line(line, reply) for line in reply.out.splitlines() if line.strip()]

    def _line(self, line: str, reply: Reply) -> BatchJob:
        fields = line.strip().split("|", 6)
        if len(fields) != 7 or not fields[1].isdigit() or not fields[4]:
            raise self.garbled(self.lists, reply)
        _, job, index, _, code, _, reason = fields
        state = _STATES.get(code, State.PENDING)
        reason = "" if reason == "None" else reason
        if state is State.PENDING and never(reason):
            state = State.STUCK
        return BatchJob(BatchId(job, int(index) if index.isdigit() else 0), state, reason)

    def search(self, name: str) -> tuple[str, ...]:
        return ("squeue", "--noheader", f"--user={self._user}", f"--name={name}", _FORMAT)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        self.check(reply)
        return tuple(dict.fromkeys(line.split("|")[1] for line in reply.out.splitlines() if line.count("|") >= 6))

    def cancellation(self, batches: Sequence[BatchId]) -> tuple[str, ...]:
        words = [f"{job}_[{spans(ranges)}]" if ranges else job for job, ranges in fold(batches)]
        return ("scancel", *words)
