"""Slurm. Seen: 22.05.8."""

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
    can_never_run,
)
from spraycc.cluster.formatting import clock, fold, script, spans
from spraycc.errors import ConfigError
from spraycc.notices import configuration
from spraycc.settings import Settings

_FAILURES = (
    (r"unable to contact slurm controller|socket timed out|authentication error", Trouble.UNREACHABLE),
    (r"could not establish a configuration|zero bytes were|munge encode|in standby mode", Trouble.UNREACHABLE),
    (r"unable to process configuration file", Trouble.NO_COMMAND),
    (r"invalid job array specification", Trouble.TOO_LARGE),
    # The same words, "violates accounting/QOS policy", follow the limits of a single batch job.
    (r"Max\w*PerJob|PerJobLimit", Trouble.REFUSED),
    (r"accounting/QOS policy|MaxSubmitJob|max.*job.*count", Trouble.BUSY),
    (r"temporarily un(?:available|able to accept)", Trouble.BUSY),
)  # fmt: skip
#: squeue(1), JOB STATE CODES. All other states count as pending.
_STATES = {
    **dict.fromkeys(("R", "CF", "SI"), State.RUNNING),
    **dict.fromkeys(("S", "ST"), State.SUSPENDED),
    **dict.fromkeys(("CG", "SO"), State.ENDING),
    **dict.fromkeys(("BF", "CA", "CD", "DL", "F", "NF", "OOM", "PR", "TO", "RV"), State.GONE),
}
#: id, array, element, the element's own job id, state twice, reason
_FORMAT = "--format=%i|%F|%K|%A|%t|%T|%r"
#: Without this option, squeue hides the batch jobs in a hidden partition, even from their owner.
_ALL = ("--all",)
#: The beginning of the first line of a listing, even of an empty one.
_HEADER = "JOBID|ARRAY_JOB_ID|"
#: ``--parsable``: the id, on a federation with the cluster's name
_JOB = re.compile(r"^(\d+)(?:;\S+)?[ \t\r]*$", re.MULTILINE)
#: The beginning of a line of the listing. If the rest does not fit, the listing is not reliable.
_LINE_BEGINS = re.compile(r"^\d+(?:[_+]\S*)?\|")

#: In the submit arguments, a line each: ``-Mname``, ``-M`` and ``name``, ``--clusters=name``, or the option's beginning
_CLUSTERS = re.compile(r"^(?:-M\n?|--clu(?:s(?:t(?:e(?:rs?)?)?)?)?[=\n])(.+)$", re.MULTILINE)


class Slurm(Driver):
    system = "Slurm"
    submit_program = "sbatch"
    list_program = "squeue"
    failures = _FAILURES
    submitted_id = _JOB
    reserved = re.compile(r"-[Ja].*|--jo.*|--ar.*")  # getopt_long takes the beginning of a name for the name

    def __init__(self, settings: Settings, user: str) -> None:
        super().__init__(settings, user)
        # Else the commands would ask the default cluster, where the ids are those of other batch jobs.
        self._on_cluster = _cluster_option(settings.submit_arguments)

    def submit_command(self, submission: Submission) -> SubmitCommand:
        settings = self._settings
        argv = [
            "sbatch", "--parsable", "--no-requeue", f"--job-name={submission.name}", "--output=/dev/null", "--chdir=/",
            "--propagate=NONE", "--nodes=1", "--ntasks=1", f"--cpus-per-task={settings.cpus_per_executor}",
            f"--array=1-{submission.count}",
        ]  # fmt: skip
        if submission.queue:
            argv.append(f"--partition={submission.queue}")
        if account := settings.account or settings.project:
            argv.append(f"--account={account}")
        if settings.wall_time_s is not None:
            argv.append(f"--time={clock(settings.wall_time_s)}")
        if settings.memory_mb is not None:
            argv.append(f"--mem={settings.memory_mb}M")
        return SubmitCommand((*argv, *settings.submit_arguments), script(submission, settings))

    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        # By user: with ids, one unknown id would fail the whole command.
        return ("squeue", *self._on_cluster, *_ALL, "--array", f"--user={self._user}", _FORMAT)

    def parse_list(self, reply: Reply) -> list[BatchJob]:
        self.check(reply)
        lines = [line.strip() for line in reply.out.splitlines()]
        found = [self._line(line, reply) for line in lines if _LINE_BEGINS.match(line)]
        # The header tells an empty listing from the lines of a site's wrapper.
        if not found and not any(line.startswith(_HEADER) for line in lines):
            raise self.garbled(self.list_program, reply)
        return found

    def _line(self, line: str, reply: Reply) -> BatchJob:
        fields = line.split("|", 6)
        if len(fields) != 7 or not fields[1].isdigit() or not fields[4]:
            raise self.garbled(self.list_program, reply)
        _, array, element, _, code, _, reason = fields
        state = _STATES.get(code, State.PENDING)
        reason = "" if reason == "None" else reason
        if state is State.PENDING and can_never_run(reason):
            state = State.STUCK
        return BatchJob(BatchId(array, int(element) if element.isdigit() else 0), state, reason)

    def search_command(self, name: str) -> tuple[str, ...]:
        return ("squeue", *self._on_cluster, *_ALL, f"--user={self._user}", f"--name={name}", _FORMAT)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        return tuple(dict.fromkeys(job.id.submission_id for job in self.parse_list(reply)))

    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        words = [f"{array}_[{spans(ranges)}]" if ranges else array for array, ranges in fold(batches)]
        return [CancelCommand(("scancel", *self._on_cluster, *words), tuple(batches))]


def _cluster_option(arguments: Sequence[str]) -> tuple[str, ...]:
    """``--clusters=NAME`` if the user's arguments for ``sbatch`` name another cluster.

    Raises:
        ConfigError: they name several. Nothing would say to which of them an id belongs.
    """
    found = _CLUSTERS.findall("\n".join(arguments))
    if any("," in name or name == "all" for name in found):
        raise ConfigError(configuration.SEVERAL_CLUSTERS.text(argument=f"--clusters={found[-1]}"))
    return (f"--clusters={found[-1]}",) if found else ()
