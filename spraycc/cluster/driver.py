"""What a cluster manager's driver is: settings to command lines, what those print to values. No process, no clock.

A driver never runs anything: ``spraycc.server.host.subprocesses`` runs what it says, with a deadline, and hands the
reply back.
Executors call home, so a listing serves for what a connection can't tell: what is pending and why, and what is gone.
"""

from __future__ import annotations

import abc
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from spraycc.errors import SprayccError
from spraycc.settings import Settings


class Trouble(enum.Enum):
    """Why a cluster manager's command did not do what it should."""

    UNREACHABLE = "unreachable"  #: its daemons are down, or did not answer in time
    BUSY = "busy"  #: a limit on how many may be queued is reached: later
    REFUSED = "refused"  #: it will never take this: the settings are wrong
    TOO_LARGE = "too-large"  #: an array of so many is not allowed: several smaller ones may be
    NO_COMMAND = "no-command"  #: its programs are not on this host
    GARBLED = "garbled"  #: what it printed is not what any version known to us prints


#: What the user can do about it. What is refused: :func:`correct`.
NEXT_STEP = {
    Trouble.UNREACHABLE: "it is tried again",
    Trouble.BUSY: "it is tried again later",
    Trouble.TOO_LARGE: "set `array_limit` to what the site allows",
    Trouble.NO_COMMAND: "is this a submit host of that cluster, and is its software on PATH?",
    Trouble.GARBLED: "`spraycc doctor --cluster` shows each step",
}
#: Seconds before the same is tried again.
RETRY_S = {
    Trouble.UNREACHABLE: 15.0,
    Trouble.BUSY: 60.0,
    Trouble.REFUSED: 600.0,
    Trouble.TOO_LARGE: 600.0,
    Trouble.NO_COMMAND: 600.0,
    Trouble.GARBLED: 120.0,
}


#: Which settings a refusal is about, by the words of any system; the first that fits counts.
_SETTINGS = (
    (r"time specification|time limit|TimeLimit|RUNLIMIT|walltime|h_rt", ("wall_time_s",)),
    (r"violates queue", ("wall_time_s", "memory_mb")),
    (r"memory|: mem\b", ("memory_mb",)),
    (r"parallel environment", ("parallel_environment",)),
    (r"processors|ncpus|node configuration|CPU count", ("cpus_per_executor",)),
    (r"no suitable queues", ("queues", "wall_time_s")),
    (r"project", ("project",)),
    (r"account|QOS", ("account",)),
    (r"job name|object name|-N value", ("batch_name",)),
    (r"partition|queue", ("queues",)),
    (r"option|resource|host name|illegal|invalid", ("submit_arguments",)),
)


def correct(words: str) -> str:
    """What to do where a cluster manager says in these words that it will never do what is asked."""
    found = next((keys for pattern, keys in _SETTINGS if re.search(pattern, words, re.IGNORECASE)), ())
    keys = " or ".join(f"`{key}`" for key in found) or "the settings"
    return f"correct {keys}; `spraycc cluster show` prints what is submitted"


class ClusterError(SprayccError):
    """A cluster manager's command failed. Carries the kind; the text has the system's own words."""

    def __init__(self, kind: Trouble, text: str) -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def next_step(self) -> str:
        """What the user can do about it."""
        return correct(str(self)) if self.kind is Trouble.REFUSED else NEXT_STEP[self.kind]


class State(enum.Enum):
    """Where a batch job is, as far as executors care."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    STUCK = "stuck"  #: it will not start without somebody's help
    GONE = "gone"


@dataclass(frozen=True, slots=True, order=True)
class BatchId:
    """One batch job. Elements of an array count from 1; a plain one has index 0."""

    job: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One batch job in a listing."""

    id: BatchId
    state: State
    #: the system's own words, empty where it says nothing
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a command ended and what it printed."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def words(self) -> str:
        """What it said, errors first, as one line for a message."""
        text = (self.stderr or self.stdout).decode("utf-8", "replace")
        lines = [line.strip() for line in _USAGE.split(text)[0].splitlines() if line.strip()]
        return _one_line(lines) or f"exit status {self.status} and not a word"


#: All options of a command, after what is wrong with one.
_USAGE = re.compile(r"^usage:", re.IGNORECASE | re.MULTILINE)


def _one_line(lines: list[str], limit: int = 300) -> str:
    text = "; ".join(dict.fromkeys(lines))
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be submitted."""

    #: six characters; an executor's id is the tag and its index
    tag: str
    #: batch jobs
    count: int
    name: str
    queue: str | None
    #: the executor's command line without its id
    command: tuple[str, ...]
    #: what the executors print goes there, where their host can write it
    log: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A command line and what it reads."""

    argv: tuple[str, ...]
    stdin: bytes = b""


class Driver(abc.ABC):
    """One cluster manager. What is said here is what most of them have in common."""

    #: its name for people
    system: str
    #: most elements of one array, unless the settings say otherwise
    array_limit: int = 1000
    #: its commands that submit and list
    submits: ClassVar[str]
    lists: ClassVar[str]
    #: what it says when something is wrong, and what kind of trouble that is; the first that fits counts
    troubles: ClassVar[Sequence[tuple[str, Trouble]]]
    #: the id (group 1) in what the submit command prints
    submitted: ClassVar[re.Pattern[str]]

    def __init__(self, settings: Settings, user: str) -> None:
        self._settings = settings
        self._user = user

    @abc.abstractmethod
    def submission(self, order: Order) -> Submission:
        """The command that submits ``order``: ``count`` batch jobs, indices from 1."""

    def parse_submit(self, order: Order, reply: Reply) -> tuple[BatchId, ...]:
        """The ids of the batch jobs, in the order of their indices.

        Raises:
            ClusterError: there are none.
        """
        self.check(reply)
        found = self.submitted.search(reply.out)
        if found is None:
            raise self.garbled(self.submits, reply)
        return self.batches(found[1], order)

    def batches(self, job: str, order: Order) -> tuple[BatchId, ...]:
        """The batch jobs of a submission, by its id."""
        return tuple(BatchId(job, index) for index in range(1, order.count + 1))

    @abc.abstractmethod
    def listing(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """The command that lists these submissions (BatchId.job), or more."""

    @abc.abstractmethod
    def parse_listing(self, reply: Reply) -> list[BatchJob]:
        """All that it lists; what has ended may be missing.

        Raises:
            ClusterError: it listed nothing that can be relied on.
        """

    def explanation(self, batch: BatchId) -> tuple[str, ...] | None:
        """The command that says why a batch job is pending; None where the listing does."""
        return None

    def parse_explanation(self, reply: Reply) -> str:
        """What it says; empty for nothing."""
        return ""

    @abc.abstractmethod
    def search(self, name: str) -> tuple[str, ...]:
        """The command that finds batch jobs of this user by their name."""

    @abc.abstractmethod
    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        """Their submissions, as ``cancellation`` takes them.

        Raises:
            ClusterError: it could not be found out.
        """

    @abc.abstractmethod
    def cancellation(self, batches: Sequence[BatchId]) -> tuple[str, ...]:
        """The command that cancels these; index 0 is the whole submission. Its exit status tells nothing."""

    def check(self, reply: Reply) -> None:
        """
        Raises:
            ClusterError: the command failed; in its own words.
        """
        if reply.status:
            raise self.failure(reply)

    def failure(self, reply: Reply) -> ClusterError:
        """The error that a failed command stands for."""
        text = (reply.stderr + b"\n" + reply.stdout).decode("utf-8", "replace")
        fitting = (kind for pattern, kind in self.troubles if re.search(pattern, text, re.IGNORECASE))
        kind = next(fitting, Trouble.REFUSED)
        verb = {Trouble.UNREACHABLE: "can't be reached", Trouble.BUSY: "takes no more now"}.get(kind, "refused")
        return ClusterError(kind, f"{self.system} {verb}: {reply.words}")

    def garbled(self, command: str, reply: Reply) -> ClusterError:
        """The error for output that makes no sense."""
        return ClusterError(Trouble.GARBLED, f"{self.system}: {command} answered {reply.words!r}")


def never(reason: str) -> bool:
    """Whether a pending reason of any system says that it can never run."""
    return _NEVER.search(reason) is not None


#: Slurm's reasons (squeue(1), JOB REASON CODES), PBS's comment, Grid Engine's errors. Its scheduling information says
#: of every other queue that it can't run there.
_NEVER = re.compile(
    r"^(?:Partition(?:TimeLimit|Config|NodeLimit)|BadConstraints|Invalid(?:Account|QOS)|(?:Account|Qos|QOS)NotAllowed"
    r"|JobHeld(?:User|Admin)|DependencyNeverSatisfied|\w*Max\w+PerJob\w*|\w*PerJobLimit)$"
    r"|^Can Never Run|^error reason"
)
