"""Grid Engine and its descendants. Seen: Son of Grid Engine 8.1.9."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

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

_FAILURES = (
    (r"unable to (?:send message to|contact) qmaster|commlib error|got send error|unable to initialize environment",
     Trouble.UNREACHABLE),
    (r"failed receiving gdi request|got no message", Trouble.UNREACHABLE),
    (r"SGE_ROOT directory|cell directory|act_qmaster", Trouble.UNREACHABLE),
    (r"only \d+ jobs are allowed|max_u_jobs|max_jobs|limit .*jobs", Trouble.BUSY),
    (r"max_aj_tasks|more than \d+ tasks|array job.*(?:larger|exceed|limit)", Trouble.TOO_LARGE),
)  # fmt: skip
#: ``-terse``: ``7`` or ``7.1-200:1``
_JOB = re.compile(r"^(\d+)(?:\.\d+-\d+:\d+)?[ \t\r]*$", re.MULTILINE)
#: The listing without the lines of a site's wrapper around it
_XML = re.compile(r"<job_info\b.*</job_info>|<job_info\b[^>]*/>", re.DOTALL)

#: A queue on one host, in the scheduling information.
_INSTANCE = re.compile(r'queue instance "([^"@]+)@[^"]*"')


#: Without -s and -g, a file sge_qstat(5) of the user or the site may hide pending batch jobs or elements.
_LIST = ("qstat", "-s", "prs", "-g", "d", "-xml", "-u")


class GridEngine(Driver):
    system = "Grid Engine"
    submit_program = "qsub"
    list_program = "qstat"
    failures = _FAILURES
    submitted_id = _JOB
    reserved = re.compile(r"-[Nt]")

    def submit_command(self, submission: Submission) -> SubmitCommand:
        settings = self._settings
        # -w e: refuse a batch job that could never run. The check knows no load values, so it refuses mem_free on each
        # site that has not made mem_free a complex value of the hosts (8.1.9). -w w only warns.
        check = "e" if settings.memory_mb is None else "w"
        # -notify: SIGUSR2 some time before SIGKILL
        argv = [
            "qsub", "-terse", "-N", submission.name, "-o", "/dev/null", "-j", "y", "-b", "n", "-S", "/bin/sh",
            "-wd", "/", "-r", "n", "-notify", "-w", check, "-t", f"1-{submission.count}",
        ]  # fmt: skip
        options = [("-q", submission.queue), ("-P", settings.project), ("-A", settings.account)]
        argv += unless_given(options, settings.submit_arguments)
        if settings.wall_time_s is not None:
            argv += ["-l", f"h_rt={settings.wall_time_s}"]
        if settings.memory_mb is not None:
            # h_vmem limits each process's address space, and sanitizers need far more of that than memory.
            argv += ["-l", f"mem_free={settings.memory_mb}M"]
        if settings.cpus_per_executor > 1:
            argv += ["-pe", settings.parallel_environment, str(settings.cpus_per_executor)]
        return SubmitCommand((*argv, *settings.submit_arguments), script(submission, settings))

    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        return (*_LIST, self._user)

    def parse_list(self, reply: Reply) -> list[BatchJob]:
        self.check(reply)
        try:
            root = _tree(reply)
            return [
                BatchJob(
                    BatchId(_number(entry.findtext("JB_job_number", "")), int(entry.findtext("tasks") or "0")),
                    _state(entry.findtext("state", "")),
                )
                for entry in root.iter("job_list")
            ]
        except (ElementTree.ParseError, ValueError) as exc:
            raise self.garbled(self.list_program, reply) from exc

    def explain_command(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("qstat", "-j", batch.submission_id)

    def parse_explain(self, reply: Reply) -> str:
        """The first error reason, or else the scheduling information in few words."""
        lines = reply.out.splitlines()
        errors = [line.partition(":")[2].strip() for line in lines if line.startswith("error reason")]
        if errors:
            return f"error reason: {errors[0]}"
        for number, line in enumerate(lines):
            if line.startswith("scheduling info:"):
                more = [line.partition(":")[2].strip()]
                for following in lines[number + 1 :]:
                    if not following.startswith(" "):
                        break
                    more.append(following.strip())
                # Drop the lines for queues that were not requested, and the note that the site collects no reasons.
                more = [text for text in more if text and "hard queue list" not in text and "turned off" not in text]
                # Without hosts: otherwise the user would see a new line whenever another host is full.
                return "; ".join(list(dict.fromkeys(_INSTANCE.sub(r'queue "\1"', text) for text in more))[:3])
        return ""

    def search_command(self, name: str) -> tuple[str, ...]:
        return (*_LIST, self._user)

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        try:
            root = _tree(reply)
        except (ElementTree.ParseError, ValueError) as exc:
            if reply.status:
                raise self.failure(reply) from None
            raise self.garbled(self.list_program, reply) from exc
        found = [
            entry.findtext("JB_job_number", "") for entry in root.iter("job_list") if entry.findtext("JB_name") == name
        ]
        return tuple(dict.fromkeys(number for number in found if number.isdigit()))

    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        argv = ["qdel"]
        for array, ranges in fold(batches):
            # ``-t`` takes one range for the id before it, so repeat the id for each range.
            argv += [word for pair in ranges for word in (array, "-t", spans([pair]))] if ranges else [array]
        return [CancelCommand(tuple(argv), tuple(batches))]


def _tree(reply: Reply) -> ElementTree.Element:
    found = _XML.search(reply.out)
    if found is None:
        raise ValueError("no job_info")
    return ElementTree.fromstring(found[0])


def _number(text: str) -> str:
    if not text.isdigit():
        raise ValueError(text)
    return text


def _state(letters: str) -> State:
    """qstat(1): d(eletion), E(rror), h(old), q(ueued), r(unning), R(estarted), s(uspended), S(uspended),
    t(ransferring), T(hreshold), w(aiting). 8.1.9 shows a rescheduled batch job that waits as ``Rq``."""
    if not letters:
        raise ValueError("no state")
    if "d" in letters:
        return State.ENDING
    if "E" in letters:
        return State.STUCK
    if set(letters) & set("qw"):
        return State.PENDING
    return State.SUSPENDED if set(letters) & set("sSTN") else State.RUNNING
