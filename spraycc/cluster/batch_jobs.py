"""The batch jobs of one server, their executors, and the consequences of listings. Pure: ``now`` is an argument."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from spraycc.cluster.driver import RETRY_S, BatchId, BatchJob, State, Trouble, advice, can_never_run
from spraycc.notices import cluster as notices

#: Ask for the reason of a batch job that has been pending for this many seconds.
EXPLAIN_AFTER_S = 8.0
#: Ask for the reason again after this time, if the listing has none.
EXPLAIN_S = 60.0
#: An executor connects within a second or two of its start; over a busy NFS this may take a minute.
CONNECT_S = 120.0
#: A batch job whose executors have left may take this many seconds to end. Then cancel it, because it holds a slot.
LINGER_S = 30.0
#: Without a listing, a batch job whose executors left this many seconds ago counts as ended.
UNLISTED_S = 600.0
#: Pause after batch jobs ended before their executors connected. Each further report doubles the pause up to the most,
#: because a wrong `setup` ends every batch job.
VANISHED_RETRY_S, MOST_VANISHED_RETRY_S = 15.0, 600.0
#: The most unanswered submissions whose executors are recognised.
_MOST_UNANSWERED = 20


@dataclass(frozen=True, slots=True)
class Place:
    """The queue of a submission, and the reason for choosing that queue."""

    #: number of the queue in `queues`, from 0
    queue: int = 0
    #: 0: the first submission of the executors. Each further queue that they are submitted to adds 1.
    level: int = 0


class _Phase(enum.Enum):
    AWAITED = enum.auto()
    CONNECTED = enum.auto()
    LEFT = enum.auto()


@dataclass(slots=True)
class _Record:
    """One batch job and its executors."""

    executors: dict[str, _Phase]
    place: Place
    submitted_at: float
    #: the last time when one of its executors left
    left_at: float
    #: number of awaited executors, kept as a count because each plan needs it
    awaited: int
    running_since: float | None = None
    #: a listing has contained the batch job
    is_listed: bool = False
    #: the cluster manager's latest words about why the batch job is pending; empty: none yet
    reason: str = ""

    @property
    def untouched(self) -> bool:
        """True if no executor has connected yet."""
        return self.awaited == len(self.executors)

    def is_left_for(self, least_s: float, now: float) -> bool:
        """True if all executors left at least so long ago."""
        return all(phase is _Phase.LEFT for phase in self.executors.values()) and now - self.left_at >= least_s


@dataclass(frozen=True, slots=True)
class Waiting:
    """Batch jobs of one queue that wait for the same reason, or that have started and not connected."""

    #: number of the queue in `queues`, from 0
    queue: int
    #: the cluster manager's words; empty: none yet, or the batch jobs have started
    reason: str
    #: the cluster manager has started the batch jobs, and their executors have not connected
    started: bool
    batch_jobs: int
    #: the executors in them that have not connected
    executors: int
    #: when the first of them was submitted
    submitted_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Executors that will not connect."""

    count: int
    #: seconds until others may be asked for
    retry_s: float
    #: for the user
    text: str
    #: the executors' log may have the reason
    is_logged: bool = False


@dataclass(slots=True)
class Consequences:
    """The things to do after a listing."""

    failed: list[Failure] = field(default_factory=list)
    #: batch jobs to cancel. They are removed already, except those that linger: they stay until a listing lacks them.
    #: No listing has ever contained some of those that are removed, so they may not exist.
    cancel: list[BatchId] = field(default_factory=list)
    #: a batch job that waits or is stuck, for which the listing has no reason
    explain: BatchId | None = None


class BatchJobs:
    """All batch jobs that may exist, and the executors of each."""

    def __init__(self, listing_age_s: float = 0.0) -> None:
        """
        Args:
            listing_age_s: see :class:`Driver`.
        """
        self._listing_age_s = listing_age_s
        self._records: dict[BatchId, _Record] = {}
        #: executor -> its batch job
        self._batch_of: dict[str, BatchId] = {}
        #: tags of submissions without an answer, and their executors that connected before the answer
        self._unanswered: list[str] = []
        self._early: dict[str, _Phase] = {}
        #: level -> awaited executors
        self._awaited: Counter[int] = Counter()
        #: pause after the next batch jobs that end before their executors connect
        self._vanished_retry_s = VANISHED_RETRY_S
        #: when a reason was last asked for
        self._explained_at = -math.inf
        #: stuck batch jobs for which the last listing has no reason
        self._unexplained: list[BatchId] = []
        #: queues in which nothing has started for the user's patience, since anything last did
        self._still: set[int] = set()

    @property
    def executors(self) -> int:
        """Number of executors that may exist or come."""
        return len(self._batch_of)

    @property
    def awaited(self) -> int:
        """Number of submitted executors that have not connected. One that waits in several queues counts once."""
        return max(self._awaited.values(), default=0)

    def submitting(self, tag: str) -> None:
        """A submission begins. Its executors may connect before the submit command prints the ids."""
        self._unanswered = [*self._unanswered[-_MOST_UNANSWERED:], tag]

    def add(self, tag: str, ids: Sequence[BatchId], copies: int, now: float, place: Place | None = None) -> None:
        """Batch jobs were submitted. An executor's id consists of the tag, the element and the copy."""
        place = place or Place()
        self.remove(batch for batch in ids if batch in self._records)  # old ids: the cluster manager reuses numbers
        self._unanswered = [other for other in self._unanswered if other != tag]
        for number, batch in enumerate(ids, 1):
            names = [f"{tag}-{number}"] if copies == 1 else [f"{tag}-{number}.{copy}" for copy in range(1, copies + 1)]
            executors = {name: self._early.pop(name, _Phase.AWAITED) for name in names}
            awaited = sum(phase is _Phase.AWAITED for phase in executors.values())
            self._records[batch] = _Record(executors, place, now, now, awaited)
            self._batch_of |= dict.fromkeys(names, batch)
            self._awaited[place.level] += awaited

    def connected(self, executor: str) -> None:
        """The executor has connected. The executor of an unanswered submission is remembered; others are ignored."""
        self._vanished_retry_s = VANISHED_RETRY_S
        batch = self._batch_of.get(executor)
        if batch is None:
            self._note_early(executor, _Phase.CONNECTED)
            return
        record = self._records[batch]
        if record.executors[executor] is _Phase.AWAITED:
            record.awaited -= 1
            self._awaited[record.place.level] -= 1
            self._still.discard(record.place.queue)
        record.executors[executor] = _Phase.CONNECTED

    def left(self, executor: str, now: float) -> None:
        """The executor's connection has ended."""
        batch = self._batch_of.get(executor)
        if batch is None:
            self._note_early(executor, _Phase.LEFT)
            return
        record = self._records[batch]
        if record.executors[executor] is _Phase.CONNECTED:
            record.executors[executor] = _Phase.LEFT
            record.left_at = now

    def _note_early(self, executor: str, phase: _Phase) -> None:
        if executor.rpartition("-")[0] in self._unanswered:
            self._early[executor] = phase

    def left_long_ago(self, now: float) -> list[BatchId]:
        """The batch jobs that have probably ended, although no listing says so: their executors left long ago."""
        return [
            batch
            for batch, record in self._records.items()
            if not record.untouched
            and _Phase.CONNECTED not in record.executors.values()
            and now - record.left_at >= UNLISTED_S
        ]

    def need_listing(self) -> bool:
        """True if a batch job may have changed without a sign from its executors' connections."""
        if any(self._awaited.values()):
            return True
        return any(
            _Phase.LEFT in phases and _Phase.CONNECTED not in phases  # a batch job with a connected executor exists
            for phases in (record.executors.values() for record in self._records.values())
        )

    def submission_ids(self) -> list[str]:
        """The submissions that may exist."""
        return list(dict.fromkeys(batch.submission_id for batch in self._records))

    def any_untouched(self) -> bool:
        """True if any batch job has no executor that has connected."""
        return any(record.untouched for record in self._records.values())

    def waiting(self) -> list[Waiting]:
        """The batch jobs with executors that have not connected, by queue and reason, the oldest first."""
        groups: dict[tuple[int, str, bool], list[_Record]] = {}
        for record in self._records.values():
            if record.awaited:
                key = record.place.queue, record.reason, record.running_since is not None
                groups.setdefault(key, []).append(record)
        found = [
            Waiting(
                *key,
                batch_jobs=len(records),
                executors=sum(record.awaited for record in records),
                submitted_at=min(record.submitted_at for record in records),
            )
            for key, records in groups.items()
        ]
        return sorted(found, key=lambda it: it.submitted_at)

    def oldest_untouched(self) -> BatchId | None:
        """The oldest batch job; None if an executor of any batch job has connected."""
        if not all(record.untouched for record in self._records.values()):
            return None
        return next(iter(self._records), None)

    def explaining(self, now: float) -> None:
        """The cluster manager is asked for a reason now, so listings ask for none in the next time."""
        self._explained_at = now

    def ids(self, *, awaited_only: bool = False) -> list[BatchId]:
        """The batch jobs that may exist; ``awaited_only``: those of which no executor has connected yet."""
        return [batch for batch, r in self._records.items() if not awaited_only or r.untouched]

    def remove(self, ids: Iterable[BatchId]) -> int:
        """Forget batch jobs that have ended or will be cancelled. Returns the number of their awaited executors."""
        removed = 0
        for batch in ids:
            record = self._records.pop(batch)
            for executor in record.executors:
                del self._batch_of[executor]
            self._awaited[record.place.level] -= record.awaited
            removed += record.awaited
        return removed

    # -- several queues, the preferred one first

    def overdue_at(self, level: int, wanted: int, patience_s: float, queues: int) -> float:
        """The time when executors of the level must be submitted at the next level as well; or infinity.

        ``wanted``: the executors that are needed. Batch jobs with several executors may bring more.
        """
        further = self._awaited[level + 1]
        if further >= min(self._awaited[level], wanted):
            return math.inf
        times = [at for record, at in self._pending(level, patience_s, queues) for _ in range(record.awaited)]
        return sorted(times)[further] if further < len(times) else math.inf

    def overdue(self, level: int, wanted: int, patience_s: float, queues: int, now: float) -> tuple[int, Place]:
        """The number of executors to submit to a further queue at ``overdue_at``, and that queue."""
        late = [record for record, at in self._pending(level, patience_s, queues) if at <= now]
        self._still |= {record.place.queue for record in late}
        count = min(sum(record.awaited for record in late), wanted) - self._awaited[level + 1]
        return count, Place(min(record.place.queue for record in late) + 1, level + 1)

    def _pending(self, level: int, patience_s: float, queues: int) -> Iterator[tuple[_Record, float]]:
        """The waiting batch jobs of the level for which there is a further queue, and the end of the patience."""
        for record in self._records.values():
            place = record.place
            if place.level == level and place.queue + 1 < queues and record.awaited and record.running_since is None:
                yield record, record.submitted_at + (0 if place.queue in self._still else patience_s)

    def surplus(self, wanted: int) -> list[BatchId]:
        """The batch jobs that are not needed, because executors of other queues have connected.

        The latest batch jobs of each level, without those that have a connected executor.
        """
        more = {level: awaited - wanted for level, awaited in self._awaited.items()}
        found: list[BatchId] = []
        if any(count > 0 for count in more.values()):
            for batch, record in reversed(self._records.items()):
                if record.untouched and record.awaited <= more[record.place.level]:
                    more[record.place.level] -= record.awaited
                    found.append(batch)
        return found

    # -- what the cluster manager says

    def apply_listing(self, listing: Iterable[BatchJob], asked_at: float, now: float) -> Consequences:
        """The consequences of a listing. ``asked_at``: later submissions may be missing from the listing."""
        listed = {entry.id: entry for entry in listing}
        result = Consequences()
        over: list[BatchId] = []
        stuck: dict[str, list[BatchId]] = {}
        silent: list[BatchId] = []
        is_explained = False
        self._unexplained = []
        for batch, record in self._records.items():
            record.is_listed = record.is_listed or batch in listed
            if asked_at <= record.submitted_at + (0.0 if record.is_listed else self._listing_age_s):
                continue
            entry = listed.get(batch, BatchJob(batch, State.GONE))
            if entry.state is State.RUNNING:
                record.running_since = record.running_since or now
                record.reason = ""
            elif entry.reason:  # else an earlier explanation holds
                record.reason = entry.reason
            match entry.state:
                case State.GONE:
                    # While an executor is connected, its batch job exists, even if the listing lacks it.
                    if _Phase.CONNECTED not in record.executors.values():
                        over.append(batch)
                        if not record.is_listed:
                            # The cluster manager may hide it from listings. A cancel of one that is gone is harmless.
                            result.cancel.append(batch)
                case State.STUCK if record.awaited and entry.reason:
                    stuck.setdefault(entry.reason, []).append(batch)
                case State.STUCK if record.awaited:
                    self._unexplained.append(batch)
                case State.PENDING | State.SUSPENDED if record.awaited:
                    is_explained = is_explained or bool(entry.reason)
                    if now - record.submitted_at >= EXPLAIN_AFTER_S:
                        result.explain = result.explain or batch
                case State.RUNNING if record.awaited and now - (record.running_since or now) >= CONNECT_S:
                    silent.append(batch)
                case State.RUNNING | State.PENDING | State.SUSPENDED | State.STUCK if record.is_left_for(LINGER_S, now):
                    # Its executors have left, or it was requeued or preempted: other executors were asked for instead.
                    result.cancel.append(batch)
                case State.ENDING if record.is_left_for(UNLISTED_S, now):
                    # Grid Engine keeps the batch jobs of a host that is down until the host is back.
                    over.append(batch)
        if is_explained or now < self._explained_at + EXPLAIN_S:
            result.explain = None
        elif result.explain is not None:
            self._explained_at = now
        result.explain = next(iter(self._unexplained), result.explain)
        if count := self.remove(over):
            result.failed.append(Failure(count, self._vanished_retry_s, ended_early(count), is_logged=True))
            self._vanished_retry_s = min(2 * self._vanished_retry_s, MOST_VANISHED_RETRY_S)
        for reason, ids in stuck.items():
            result.cancel += ids
            result.failed.append(Failure(self.remove(ids), RETRY_S[Trouble.REFUSED], never_starts(reason)))
        if silent:
            result.cancel += silent
            failure = Failure(
                self.remove(silent), RETRY_S[Trouble.UNREACHABLE], stay_silent(len(silent)), is_logged=True
            )
            result.failed.append(failure)
        return result

    def apply_explanation(self, reason: str) -> Consequences:
        """The consequences of the reason why batch jobs are stuck, or pending; empty: no reason is known."""
        result = Consequences()
        # Some may have been cancelled since the listing.
        stuck, self._unexplained = [batch for batch in self._unexplained if batch in self._records], []
        if stuck or can_never_run(reason):
            result.cancel = stuck or self.ids(awaited_only=True)
            result.failed.append(Failure(self.remove(result.cancel), RETRY_S[Trouble.REFUSED], never_starts(reason)))
        else:
            for record in self._records.values():
                if record.awaited and record.running_since is None and reason:
                    record.reason = reason
        return result


def never_starts(reason: str) -> str:
    """A message for the user."""
    why = f" ({reason})" if reason else ""
    return notices.NEVER_STARTS.text(reason=why, advice=advice(reason))


def counted(count: int) -> str:
    """``1 batch job``, ``2 batch jobs``."""
    return f"{count} batch job" + ("s" if count != 1 else "")


def stay_silent(count: int) -> str:
    """A message for the user."""
    return notices.STAYS_SILENT.text(batch_jobs=counted(count), limit_s=CONNECT_S)


def ended_early(count: int) -> str:
    """A message for the user."""
    executors = "1 executor" if count == 1 else f"{count} executors"
    return notices.ENDED_EARLY.text(executors=executors)
