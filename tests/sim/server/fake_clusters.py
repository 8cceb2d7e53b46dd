"""Cluster managers in memory, in place of processes: one that replays replies, and a Slurm with batch jobs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import trio

from spraycc.cluster.driver import ClusterError, Reply, Trouble
from tests.pure.cluster.command_grammar import Command as CommandLine
from tests.pure.cluster.command_grammar import Refused, check
from tests.pure.cluster.transcripts import Transcript

SLURM = Transcript("slurm-22.05.8")


@dataclass(frozen=True, slots=True)
class Call:
    """A command as it was run."""

    at: float
    argv: tuple[str, ...]
    stdin: bytes
    env: Mapping[str, str]

    @property
    def line(self) -> str:
        return " ".join(self.argv)


class Hang:
    """In place of a reply: the command does not end by itself."""


@dataclass(frozen=True, slots=True)
class TakenAndHang(Hang):
    """The command does its work, and then does not end by itself."""


#: The result of a command: a reply, an error of the launcher, or no end.
Answer = Reply | ClusterError | Hang


class Manager:
    """Runs commands as the launcher does, and records them. Each takes ``latency_s``."""

    latency_s = 0.25

    def __init__(self) -> None:
        self.calls: list[Call] = []
        #: program -> answers to its next calls, in place of the ordinary answers
        self.faults: defaultdict[str, list[Answer]] = defaultdict(list)

    def fault(self, program: str, *answers: Answer) -> None:
        """The next calls of this program get these answers."""
        self.faults[program] += answers

    async def run(self, argv: Sequence[str], stdin: bytes, env: Mapping[str, str], timeout_s: float) -> Reply:
        self.calls.append(Call(trio.current_time(), tuple(argv), stdin, dict(env)))
        await trio.sleep(self.latency_s)
        answer = self.faults[argv[0]].pop(0) if self.faults[argv[0]] else self.answer(tuple(argv), stdin)
        if isinstance(answer, TakenAndHang):
            self.answer(tuple(argv), stdin)
        if isinstance(answer, Hang):
            await trio.sleep(timeout_s - self.latency_s)
            answer = ClusterError(Trouble.UNREACHABLE, f"{argv[0]} did not end within {timeout_s:.0f} s")
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def answer(self, argv: tuple[str, ...], stdin: bytes) -> Reply:
        raise NotImplementedError

    def lines(self, program: str) -> list[str]:
        """The command lines of this program so far."""
        return [call.line for call in self.calls if call.argv[0] == program]

    def times(self, program: str) -> list[float]:
        """The times at which this program was called."""
        return [call.at for call in self.calls if call.argv[0] == program]

    def tag(self, number: int = -1) -> str:
        """The tag in the script of a submission, the last one by default."""
        scripts = [call.stdin.decode() for call in self.calls if b"--id-from-array " in call.stdin]
        found = re.search(r"--id-from-array (\w+)", scripts[number])
        assert found is not None
        return found[1]


class Replays(Manager):
    """Each program gives its replies one after the other, and repeats the last one."""

    def __init__(self, **replies: list[Reply] | Reply) -> None:
        super().__init__()
        self._replies = {name: it if isinstance(it, list) else [it] for name, it in replies.items()}

    def change(self, program: str, *replies: Reply) -> None:
        """The program gives these replies from now on."""
        self._replies[program] = list(replies)

    def answer(self, argv: tuple[str, ...], stdin: bytes) -> Reply:
        if argv[0] not in self._replies:
            raise ClusterError(Trouble.NO_COMMAND, f"{argv[0]}: No such file or directory")
        replies = self._replies[argv[0]]
        return replies.pop(0) if len(replies) > 1 else replies[0]


@dataclass(slots=True)
class Element:
    """One batch job of an array."""

    code: str = "PD"
    reason: str = "Resources"


@dataclass(slots=True)
class Array:
    """A submission."""

    name: str
    partition: str
    elements: dict[int, Element] = field(default_factory=dict)


def sbatch_failure(part: str) -> Reply:
    """The recorded reply of a failed sbatch with these words."""
    found: list[Reply] = [reply for replies in SLURM.replies.values() for reply in replies if part in reply.words]
    assert found, part
    return found[0]


#: By the manual; the name of the limit comes first, with AccountingStorageEnforce=limits.
_MAX_SUBMIT = (
    b"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS "
    b"policy (job submit limit, user's size and/or time limits)\n"
)


class FakeSlurm(Manager):
    """Accepts, lists and cancels batch jobs with Slurm's recorded messages, also for refusals."""

    _FORMAT = "%i|%F|%K|%A|%t|%T|%r"
    _STATES: ClassVar[Mapping[str, str]] = {"PD": "PENDING", "R": "RUNNING", "CG": "COMPLETING"}

    def __init__(self, partitions: Sequence[str] = (), most: int = 1000) -> None:
        super().__init__()
        self.partitions = partitions
        #: partitions with ``Hidden=YES``: squeue shows their batch jobs only with ``--all``
        self.hidden: frozenset[str] = frozenset()
        #: MaxArraySize
        self.most = most
        #: the limit on all batch jobs of the user, or None
        self.max_submit: int | None = None
        self.arrays: dict[str, Array] = {}
        self._next = 10

    def answer(self, argv: tuple[str, ...], stdin: bytes) -> Reply:
        programs: dict[str, Callable[[CommandLine, bytes], Reply]] = {
            "sbatch": self._sbatch,
            "squeue": self._squeue,
            "scancel": self._scancel,
        }
        try:
            return programs[argv[0]](check("slurm", argv), stdin)
        except Refused as refused:
            return Reply(refused.status, b"", f"{refused.text}\n".encode())

    def _sbatch(self, command: CommandLine, stdin: bytes) -> Reply:
        assert command.has("parsable")
        if not stdin.startswith(b"#!"):
            return sbatch_failure("This does not look like a batch script")
        partition = command.value("partition")
        if partition not in (*self.partitions, ""):
            return sbatch_failure("invalid partition specified: nosuch")
        count = int(command.value("array").partition("-")[2])
        if count > self.most:
            return sbatch_failure("Invalid job array specification")
        if self.max_submit is not None and sum(map(len, self.listed().values())) + count > self.max_submit:
            return Reply(1, b"", _MAX_SUBMIT)
        job, self._next = str(self._next), self._next + 1
        array = Array(command.value("job-name"), partition)
        array.elements = {index: Element() for index in range(1, count + 1)}
        self.arrays[job] = array
        return Reply(0, f"{job}\n".encode())

    def _squeue(self, command: CommandLine, _: bytes) -> Reply:
        assert not command.has("noheader")
        assert command.value("format") == self._FORMAT
        names = command.values("name")
        lines = ["JOBID|ARRAY_JOB_ID|ARRAY_TASK_ID|JOBID|ST|STATE|REASON\n"]
        for job, array in self.arrays.items():
            if names and array.name not in names:
                continue
            if array.partition in self.hidden and not command.has("all"):
                continue
            for index, it in array.elements.items():
                lines.append(f"{job}_{index}|{job}|{index}|{job}|{it.code}|{self._STATES[it.code]}|{it.reason}\n")
        return Reply(0, "".join(lines).encode())

    def _scancel(self, command: CommandLine, _: bytes) -> Reply:
        for word in command.operands:
            found = re.fullmatch(r"(\d+)(?:_\[([\d,-]+)\])?", word)
            assert found is not None, word
            if found[1] not in self.arrays:
                continue  # scancel of an unknown id: status 0, no word
            for index in list(self.arrays[found[1]].elements):
                if found[2] is None or any(
                    int(low) <= index <= int(high or low)
                    for low, _, high in (span.partition("-") for span in found[2].split(","))
                ):
                    del self.arrays[found[1]].elements[index]
        return Reply(0)

    # -- what the cluster does

    def start(self, job: str, *indices: int) -> None:
        """These batch jobs of the submission run now; without indices all."""
        for index in indices or self.arrays[job].elements:
            self.arrays[job].elements[index] = Element("R", "None")

    def end(self, job: str, *indices: int) -> None:
        """These batch jobs have ended, and are not listed any more."""
        for index in indices:
            del self.arrays[job].elements[index]

    def explain(self, job: str, reason: str) -> None:
        """All pending batch jobs of the submission get this reason."""
        for it in self.arrays[job].elements.values():
            it.reason = reason if it.code == "PD" else it.reason

    def listed(self) -> dict[str, list[int]]:
        """The batch jobs that exist: submission -> indices."""
        return {job: list(array.elements) for job, array in self.arrays.items() if array.elements}
