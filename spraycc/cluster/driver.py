"""The interface of a cluster manager's driver: makes command lines from settings, and values from output. Pure.

A driver runs nothing: the server runs its command lines with a deadline and hands the replies back. Running executors
connect to the server. So a listing is needed only for batch jobs that are pending or gone.

Words:

- *batch job*: an allocation of the cluster manager, one element of an array. It starts one or more executors.
- *array*, *element*: one submit command makes one array; its elements are numbered from 1.
- *submission*: the request for an array, and the array once the cluster manager has taken the request. Its id is the
  cluster manager's number without the element's.
- *executor asked for*: the scheduler wants an executor. A batch job for it may or may not be submitted.
"""

from __future__ import annotations

import abc
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from spraycc.errors import ConfigError, SprayccError
from spraycc.notices import cluster as notices
from spraycc.notices import configuration
from spraycc.settings import Settings


class Trouble(enum.Enum):
    """Why a cluster manager's command failed."""

    UNREACHABLE = "unreachable"  #: the daemons are down or did not answer in time
    BUSY = "busy"  #: a limit on queued batch jobs is reached; a later submission may be taken
    REFUSED = "refused"  #: the settings are wrong: the same submission is never taken
    TOO_LARGE = "too-large"  #: the array has too many elements; several smaller arrays may be taken
    NO_COMMAND = "no-command"  #: the cluster manager's programs are not on this host
    GARBLED = "garbled"  #: no known version prints such text


#: Advice for the user. For REFUSED see :func:`advice`.
NEXT_STEP = {
    Trouble.UNREACHABLE: notices.TRIES_AGAIN,
    Trouble.BUSY: notices.TRIES_LATER,
    Trouble.TOO_LARGE: notices.SET_ARRAY_LIMIT,
    Trouble.NO_COMMAND: notices.IS_SUBMIT_HOST,
    Trouble.GARBLED: notices.TRY_DOCTOR,
}
#: Seconds until the next try.
RETRY_S = {
    Trouble.UNREACHABLE: 15.0,
    Trouble.BUSY: 60.0,
    Trouble.REFUSED: 600.0,
    Trouble.TOO_LARGE: 600.0,
    Trouble.NO_COMMAND: 600.0,
    Trouble.GARBLED: 120.0,
}


#: The words of a library or a wrapper that can't reach a daemon. They count after a system's own patterns.
_NO_CONTACT = re.compile(
    r"connection (?:refused|reset|timed out)|broken pipe|no route to host|timed out|not responding", re.IGNORECASE
)
#: A shell's exit status for a program that it can't start.
_NOT_STARTED = (126, 127)
#: A shell's exit status for a program that a signal ended: this and the signal's number, up to SIGTERM. No cluster
#: manager's own command ends with such a status: PBS's begin at 152.
_SIGNALLED, _LAST_SIGNAL = 128, 15

#: Words of a refusal by any system -> the settings to correct. The first match counts.
_SETTINGS = (
    (r"time specification|time limit|TimeLimit|WallDuration|RUNLIMIT|walltime|h_rt", ("wall_time_s",)),
    (r"violates queue", ("wall_time_s", "memory_mb")),
    (r"memory|: mem\b", ("memory_mb",)),
    (r"parallel environment", ("parallel_environment",)),
    (r"processors|ncpus|node configuration|CPU count", ("cpus_per_executor",)),
    (r"no suitable queues", ("queues", "wall_time_s")),
    (r"project", ("project",)),
    (r"account", ("account",)),
    (r"job name|object name|-N value", ("batch_name",)),
    (r"partition|queue", ("queues",)),
    (r"option|resource|host name|illegal|invalid", ("submit_arguments",)),
)


#: No setting names a QOS. Slurm's "accounting/QOS policy" is a limit, and says nothing about the user's QOS.
_WRONG_QOS = re.compile(r"qos specification|InvalidQOS|QOSNotAllowed|\bQOS\b(?! policy)", re.IGNORECASE)


def advice(words: str) -> str:
    """The settings to correct after a refusal in these words."""
    if _WRONG_QOS.search(words):
        return notices.CORRECT_QOS.text()
    found = next((keys for pattern, keys in _SETTINGS if re.search(pattern, words, re.IGNORECASE)), ())
    keys = " or ".join(f"`{key}`" for key in found) or "the settings"
    return notices.CORRECT_SETTINGS.text(settings=keys)


class ClusterError(SprayccError):
    """A cluster manager's command failed. The text has the system's own words."""

    def __init__(self, kind: Trouble, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        #: the output so far of a command that did not end in time
        self.reply = reply

    @property
    def next_step(self) -> str:
        """Advice for the user."""
        return advice(str(self)) if self.kind is Trouble.REFUSED else NEXT_STEP[self.kind].text()


class State(enum.Enum):
    """The state of a batch job, in the detail that the server needs."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    STUCK = "stuck"  #: does not start unless the user or the site changes something
    GONE = "gone"


@dataclass(frozen=True, slots=True, order=True)
class BatchId:
    """The id of one batch job. Element 0: a batch job that is no array, or a whole submission."""

    submission_id: str
    element: int = 0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One batch job in a listing."""

    id: BatchId
    state: State
    #: the system's own words, or empty
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A command's exit status and output."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """Errors and output."""
        return (self.stderr + b"\n" + self.stdout).decode("utf-8", "replace")

    @property
    def signal(self) -> int:
        """The number of the signal that ended the command, or 0. The command may be a wrapper, which reports it."""
        if self.status < 0:
            return -self.status
        number = self.status - _SIGNALLED
        return number if 0 < number <= _LAST_SIGNAL else 0

    @property
    def words(self) -> str:
        """The errors, or else the output, as one line for a message."""
        text = (self.stderr or self.stdout).decode("utf-8", "replace")
        lines = [line.strip() for line in _USAGE.split(text)[0].splitlines() if line.strip()]
        return _one_line(lines) or f"exit status {self.status} and no output"


#: Some commands print all their options after the error.
_USAGE = re.compile(r"^usage:", re.IGNORECASE | re.MULTILINE)
#: Longer errors are cut in messages.
_MOST_CHARACTERS = 300


def _one_line(lines: list[str]) -> str:
    text = "; ".join(dict.fromkeys(lines))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for an array of batch jobs."""

    #: six characters; an executor's id consists of the tag and the element
    tag: str
    #: elements, each a batch job
    count: int
    name: str
    queue: str | None
    #: the executor's command line without its id
    command: tuple[str, ...]
    #: file for the output of the executors, if their host can write the file
    log: str


@dataclass(frozen=True, slots=True)
class SubmitCommand:
    """A command line and its standard input."""

    argv: tuple[str, ...]
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class CancelCommand:
    """A command line, and the batch jobs that it cancels."""

    argv: tuple[str, ...]
    batches: tuple[BatchId, ...]


class Driver(abc.ABC):
    """One cluster manager. The methods with a body suit most of the cluster managers."""

    #: the name in messages
    system: str
    #: the most elements of an array, unless `array_limit` is set
    array_limit: int = 1000
    #: A listing may show the state of this many seconds ago. So a batch job that no listing has contained is gone only
    #: if a listing lacks it this long after its submission.
    listing_age_s: float = 0.0
    #: the programs that submit and list, for messages
    submit_program: ClassVar[str]
    list_program: ClassVar[str]
    #: pattern of an error text -> kind of trouble; the first match counts
    failures: ClassVar[Sequence[tuple[str, Trouble]]]
    #: a line of the submit command with the submission's id (group 1)
    submitted_id: ClassVar[re.Pattern[str]]

    #: the words of the submit command that name the batch jobs, or make an array of them
    reserved: ClassVar[re.Pattern[str]]

    def __init__(self, settings: Settings, user: str) -> None:
        """
        Raises:
            ConfigError: the user's arguments name the batch jobs, so that they could not be found by name.
        """
        self._settings = settings
        self._user = user
        for word in settings.submit_arguments:
            if self.reserved.fullmatch(word):
                raise ConfigError(configuration.RESERVED_ARGUMENT.text(argument=word))

    @abc.abstractmethod
    def submit_command(self, submission: Submission) -> SubmitCommand:
        """The command that submits ``count`` batch jobs, elements from 1."""

    def parse_submit(self, submission: Submission, reply: Reply) -> tuple[BatchId, ...]:
        """The ids of the batch jobs, in the order of their elements.

        Raises:
            ClusterError: the cluster manager did not take the submission.
        """
        self.check(reply)
        # A site's wrapper may print lines too. If two lines could be the id, a search by name finds the right one.
        found = {match[1] for match in self.submitted_id.finditer(reply.out)}
        if len(found) != 1:
            raise self.garbled(self.submit_program, reply)
        return self.batch_ids(found.pop(), submission)

    def batch_ids(self, submission_id: str, submission: Submission) -> tuple[BatchId, ...]:
        """The ids of the batch jobs of a submission."""
        return tuple(BatchId(submission_id, element) for element in range(1, submission.count + 1))

    @abc.abstractmethod
    def list_command(self, submission_ids: Sequence[str]) -> tuple[str, ...]:
        """The command that lists at least these submissions."""

    @abc.abstractmethod
    def parse_list(self, reply: Reply) -> list[BatchJob]:
        """The batch jobs in a listing. Batch jobs that have ended may be missing.

        Lines that are no rows don't matter: a site's wrapper may print some. But no output is an empty listing unless
        the system prints exactly this for no batch jobs, because an empty listing means that all of them are gone.

        Raises:
            ClusterError: the listing is not reliable.
        """

    def explain_command(self, batch: BatchId) -> tuple[str, ...] | None:
        """The command that prints why a batch job is pending; None if the listing has the reason."""
        return None

    def parse_explain(self, reply: Reply) -> str:
        """The reason why the batch job is pending, or empty."""
        return ""

    @abc.abstractmethod
    def search_command(self, name: str) -> tuple[str, ...]:
        """The command that finds this user's batch jobs with this name."""

    @abc.abstractmethod
    def parse_search(self, name: str, reply: Reply) -> tuple[str, ...]:
        """The ids of the submissions with this name, in the form for ``cancel_commands``.

        Raises:
            ClusterError: the reply does not contain them.
        """

    @abc.abstractmethod
    def cancel_commands(self, batches: Sequence[BatchId]) -> list[CancelCommand]:
        """The commands that together cancel batch jobs; element 0: the whole submission."""

    def check_cancel(self, reply: Reply) -> None:
        """
        Raises:
            ClusterError: the cluster manager did not get the command, or a signal ended the command. Any other exit
                status means nothing: the batch jobs may be gone already.
        """
        if reply.status and (error := self.failure(reply)).kind in (Trouble.UNREACHABLE, Trouble.NO_COMMAND):
            raise error

    def check(self, reply: Reply) -> None:
        """
        Raises:
            ClusterError: the command failed. The text is the command's own.
        """
        if reply.status:
            raise self.failure(reply)

    def failure(self, reply: Reply) -> ClusterError:
        """The error for a failed command."""
        words = reply.words.removeprefix(f"{self.system}: ")  # the system's name stands before them
        if reply.signal:
            text = notices.COMMAND_SIGNALLED.text(system=self.system, signal=reply.signal, words=words)
            return ClusterError(Trouble.UNREACHABLE, text)
        fitting = (kind for pattern, kind in self.failures if re.search(pattern, reply.text, re.IGNORECASE))
        kind = next(fitting, None)
        if kind is None and reply.status in _NOT_STARTED:
            kind = Trouble.NO_COMMAND
        elif kind is None:
            kind = Trouble.UNREACHABLE if _NO_CONTACT.search(reply.text) else Trouble.REFUSED
        return ClusterError(kind, _ANSWERS.get(kind, notices.REFUSED).text(system=self.system, words=words))

    def in_time(self, error: ClusterError) -> ClusterError:
        """The error for a command that did not end in time.

        Slurm's and LSF's submit commands wait and try again when a limit of the site is reached.
        """
        # We have ended it, so its status says nothing.
        if error.reply is not None and self.failure(replace(error.reply, status=1)).kind is Trouble.BUSY:
            return ClusterError(Trouble.BUSY, notices.BUSY.text(system=self.system, words=error))
        return error

    def check_contact(self, reply: Reply) -> None:
        """
        Raises:
            ClusterError: the cluster manager could not be reached, so that the output may lack a part.
        """
        if reply.status and (error := self.failure(reply)).kind is Trouble.UNREACHABLE:
            raise error

    def garbled(self, command: str, reply: Reply) -> ClusterError:
        """The error for output that no known version prints."""
        if not reply.stdout and not reply.stderr:
            text = notices.EMPTY_ANSWER.text(system=self.system, command=command, status=reply.status)
        else:
            words = Reply(reply.status, reply.stdout or reply.stderr).words
            text = notices.GARBLED.text(system=self.system, command=command, words=words)
        return ClusterError(Trouble.GARBLED, text)


#: Messages about failed commands; of other kinds: REFUSED.
_ANSWERS = {
    Trouble.UNREACHABLE: notices.UNREACHABLE,
    Trouble.BUSY: notices.BUSY,
    Trouble.NO_COMMAND: notices.NOT_ON_HOST,
}


def can_never_run(reason: str) -> bool:
    """True if a pending reason of any system says that the batch job can never run."""
    return _NEVER.search(reason) is not None


#: Slurm's reasons (squeue(1), JOB REASON CODES), PBS's comment, Grid Engine's errors. Grid Engine's scheduling
#: information is not used: for every other queue it says that the batch job can't run in that queue.
_NEVER = re.compile(
    r"^(?:Partition(?:TimeLimit|Config|NodeLimit)|BadConstraints|Invalid(?:Account|QOS)|(?:Account|Qos|QOS)NotAllowed"
    r"|JobHeld(?:User|Admin)|DependencyNeverSatisfied|\w*Max\w+PerJob\w*|\w*PerJobLimit)$"
    r"|^Can Never Run"
)
