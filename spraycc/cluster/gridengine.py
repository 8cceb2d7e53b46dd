"""Grid Engine and its descendants. Seen: Son of Grid Engine 8.1.9."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from spraycc.cluster.driver import BatchId, BatchJob, Driver, Order, Reply, State, Submission, Trouble
from spraycc.cluster.forms import fold, script, spans

_TROUBLES = (
    (r"unable to (?:send message to|contact) qmaster|commlib error|got send error|unable to initialize environment",
     Trouble.UNREACHABLE),
    (r"SGE_ROOT directory|cell directory|act_qmaster", Trouble.UNREACHABLE),
    (r"only \d+ jobs are allowed|max_u_jobs|max_jobs|limit .*jobs", Trouble.BUSY),
    (r"max_aj_tasks|more than \d+ tasks|array job.*(?:larger|exceed|limit)", Trouble.TOO_LARGE),
)  # fmt: skip
#: ``-terse``: ``7`` or ``7.1-200:1``
_JOB = re.compile(r"^(\d+)(?:\.\d+-\d+:\d+)?$", re.MULTILINE)


class GridEngine(Driver):
    system = "Grid Engine"
    submits = "qsub"
    lists = "qstat"
    troubles = _TROUBLES
    submitted = _JOB

    def submission(self, order: Order) -> Submission:
        settings = self._settings
        # -notify: SIGUSR2 before the KILL that else comes at once. -w e: refuses what could never run.
        argv = [
            "qsub", "-terse", "-N", order.name, "-o", "/dev/null", "-j", "y", "-b", "n", "-S", "/bin/sh", "-wd", "/",
            "-r", "n", "-notify", "-w", "e", "-t", f"1-{order.count}",
        ]  # fmt: skip
        if order.queue:
            argv += ["-q", order.queue]
        if settings.project:
            argv += ["-P", settings.project]
        if settings.account:
            argv += ["-A", settings.account]
        if settings.wall_time_s is not None:
            argv += ["-l", f"h_rt={settings.wall_time_s}"]
        if settings.memory_mb is not None:
            # h_vmem limits the address space of each process, which compilers and sanitizers need far more of.
            argv += ["-l", f"mem_free={settings.memory_mb}M"]
        if settings.cpus_per_executor > 1:
            argv += ["-pe", settings.parallel_environment, str(settings.cpus_per_executor)]
        return Submission((*argv, *settings.submit_arguments), script(order, settings))

    def listing(self, jobs: Sequence[str]) -> tuple[str, ...]:
        return ("qstat", "-u", self._user, "-g", "d", "-xml")

    def parse_listing(self, reply: Reply) -> list[BatchJob]:
        return [job for _, job in self._entries(reply)]

    def _entries(self, reply: Reply) -> list[tuple[str, BatchJob]]:
        """(name, batch job) of each entry."""
        self.check(reply)
        try:
            root = _tree(reply)
            return [
                (
                    entry.findtext("JB_name", ""),
                    BatchJob(
                        BatchId(_number(entry.findtext("JB_job_number", "")), int(entry.findtext("tasks") or "0")),
                        _state(entry.findtext("state", "")),
                    ),
                )
                for entry in root.iter("job_list")
            ]
        except (ElementTree.ParseError, ValueError) as exc:
            raise self.garbled(self.lists, reply) from exc

    def explanation(self, batch: BatchId) -> tuple[str, ...] | None:
        return ("qstat", "-j", batch.job)

    def parse_explanation(self, reply: Reply) -> str:
        """The error reasons if there are any, else the scheduling information, in few words."""
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
                # Each queue that was not asked for has such a line; the other words mean that the site collects none.
                more = [text for text in more if text and "hard queue list" not in text and "turned off" not in text]
                return "; ".join(more[:3])
        return ""

    def search(self, name: str) -> tuple[str, ...]:
        return ("qstat", "-u", self._user, "-xml")

    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        # Without -g d pending elements are folded, which the index of an entry can't say; only numbers are wanted here.
        try:
            root = _tree(reply)
        except (ElementTree.ParseError, ValueError) as exc:
            if reply.status:
                raise self.failure(reply) from None
            raise self.garbled(self.lists, reply) from exc
        found = [
            entry.findtext("JB_job_number", "") for entry in root.iter("job_list") if entry.findtext("JB_name") == name
        ]
        return tuple(dict.fromkeys(number for number in found if number.isdigit()))

    def cancellation(self, batches: Sequence[BatchId]) -> tuple[str, ...]:
        argv = ["qdel"]
        for job, ranges in fold(batches):
            # ``-t`` takes one range and stands behind its id, so each range says the id again.
            argv += [word for pair in ranges for word in (job, "-t", spans([pair]))] if ranges else [job]
        return tuple(argv)


def _tree(reply: Reply) -> ElementTree.Element:
    root = ElementTree.fromstring(reply.out.lstrip())
    if root.tag != "job_info":
        raise ValueError(root.tag)
    return root


def _number(text: str) -> str:
    if not text.isdigit():
        raise ValueError(text)
    return text


def _state(letters: str) -> State:
    """qstat(1): d(eletion), E(rror), h(old), r(unning), R(estarted), s(uspended), S(uspended), t(ransferring),
    T(hreshold), w(aiting)."""
    if not letters:
        raise ValueError("no state")
    if "d" in letters:
        return State.ENDING
    if "E" in letters:
        return State.STUCK
    if "w" in letters:
        return State.PENDING
    return State.SUSPENDED if set(letters) & set("sSTN") else State.RUNNING
