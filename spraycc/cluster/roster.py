"""Who was submitted, who has called home, and what a listing says of the others. Pure: time comes in as ``now``."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spraycc.cluster.driver import RETRY_S, BatchId, BatchJob, State, Trouble, correct, never

#: A batch job that waits longer than this is worth a word to the user.
SHOW_PENDING_AFTER_S = 8.0
#: An executor calls home within a second or two of its start; over a busy NFS it may take a minute.
CALL_HOME_S = 120.0
#: A batch job whose executor has left has so long to end by itself; then it is cancelled, as it holds a slot.
LINGER_S = 30.0
#: Before others are asked for, where batch jobs ended without a word from their executors.
VANISHED_RETRY_S = 15.0


#: So many submissions without an answer are remembered.
_UNANSWERED = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a submission stands among the queues."""

    #: in the order of preference, from 0
    queue: int = 0
    #: 0: executors that were asked for; 1: the same once more, as those have waited for long; 2: and so on
    level: int = 0


PREFERRED = Place()


class _Phase(enum.Enum):
    AWAITED = enum.auto()
    CONNECTED = enum.auto()
    LEFT = enum.auto()


@dataclass(slots=True)
class _Member:
    """One executor of a batch job."""

    batch: BatchId
    submitted_at: float
    phase: _Phase = _Phase.AWAITED
    running_since: float | None = None
    left_at: float = 0.0
    place: Place = PREFERRED


@dataclass(slots=True)
class Verdict:
    """What follows from a listing."""

    #: executors that won't come: (how many, seconds before others are asked for, what the user is told)
    failed: list[tuple[int, float, str]] = field(default_factory=list)
    #: lines for the user
    notes: list[str] = field(default_factory=list)
    cancel: list[BatchId] = field(default_factory=list)
    #: one that is pending and the listing does not say why
    explain: BatchId | None = None


class Roster:
    """All executors of batch jobs that may still be there."""

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}
        #: the tags of submissions that have not been answered, and those of their executors that were faster
        self._submitting: list[str] = []
        self._early: dict[str, _Phase] = {}
        #: level -> executors that are awaited: counted, as it is asked for at every submission
        self._awaited: Counter[int] = Counter()
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def awaited(self) -> int:
        """Executors that were submitted and have not called home. Those that wait in several queues, so that one comes,
        are one."""
        return max(self._awaited.values(), default=0)

    def expect(self, tag: str) -> None:
        """Batch jobs are about to be submitted. Their executors may call home before the command has said their ids."""
        self._submitting = [*self._submitting[-_UNANSWERED:], tag]

    def add(self, tag: str, batches: Sequence[BatchId], copies: int, now: float, place: Place = PREFERRED) -> None:
        """Batch jobs were submitted; their executors' ids are made of the tag, the index and the copy."""
        self._submitting = [other for other in self._submitting if other != tag]
        for number, batch in enumerate(batches, 1):
            for copy in range(1, copies + 1):
                executor = f"{tag}-{number}" if copies == 1 else f"{tag}-{number}.{copy}"
                phase = self._early.pop(executor, _Phase.AWAITED)
                self._members[executor] = _Member(batch, now, phase, left_at=now, place=place)
                self._awaited[place.level] += phase is _Phase.AWAITED

    def connected(self, executor: str) -> None:
        """It has called home. One that nobody knows belongs to a submission whose answer never came."""
        member = self._members.get(executor)
        if member is None:
            self._note_early(executor, _Phase.CONNECTED)
        elif member.phase is not _Phase.CONNECTED:
            self._awaited[member.place.level] -= member.phase is _Phase.AWAITED
            member.phase = _Phase.CONNECTED

    def left(self, executor: str, now: float) -> None:
        """Its connection has ended."""
        member = self._members.get(executor)
        if member is None:
            self._note_early(executor, _Phase.LEFT)
        elif member.phase is _Phase.CONNECTED:
            member.phase = _Phase.LEFT
            member.left_at = now

    def _note_early(self, executor: str, phase: _Phase) -> None:
        if executor.rpartition("-")[0] in self._submitting:
            self._early[executor] = phase

    def wants_listing(self) -> bool:
        """Whether there is anything that a connection does not tell."""
        return any(member.phase is not _Phase.CONNECTED for member in self._members.values())

    def jobs(self) -> list[str]:
        """The submissions that are not over."""
        return list(dict.fromkeys(member.batch.job for member in self._members.values()))

    def batches(self, *, awaited_only: bool = False) -> list[BatchId]:
        """The batch jobs that are not known to be over; only those whose executors have all not called home."""
        if not awaited_only:
            return list(dict.fromkeys(member.batch for member in self._members.values()))
        busy = {member.batch for member in self._members.values() if member.phase is not _Phase.AWAITED}
        return [batch for batch in self.batches() if batch not in busy]

    def forget(self, batches: Iterable[BatchId]) -> int:
        """These are cancelled or over; how many executors of them were awaited."""
        gone = set(batches)
        dropped = [executor for executor, member in self._members.items() if member.batch in gone]
        awaited = 0
        for executor in dropped:
            member = self._members.pop(executor)
            if member.phase is _Phase.AWAITED:
                awaited += 1
                self._awaited[member.place.level] -= 1
        return awaited

    # -- several queues, the preferred one first

    def overdue(self, patience_s: float, queues: int, now: float) -> tuple[int, Place] | None:
        """How many executors have waited in their queue for so long that a further one shall be asked too, and that
        queue; None: no more than were asked for there already."""
        for level in range(queues - 1):
            late = [m.place.queue for m in self._waiting(level, queues) if now >= m.submitted_at + patience_s]
            count = len(late) - self._awaited[level + 1]
            if late and count > 0:
                return count, Place(min(late) + 1, level + 1)
        return None

    def overdue_at(self, patience_s: float, queues: int) -> float:
        """When there may be such; infinity: never, as things stand."""
        return min(
            (
                member.submitted_at + patience_s
                for level in range(queues - 1)
                if self._awaited[level] > self._awaited[level + 1]
                for member in self._waiting(level, queues)
            ),
            default=math.inf,
        )

    def _waiting(self, level: int, queues: int) -> list[_Member]:
        """Those of the level that wait in a queue after which there is another."""
        return [
            member
            for member in self._members.values()
            if member.phase is _Phase.AWAITED
            and member.place.level == level
            and member.running_since is None
            and member.place.queue + 1 < queues
        ]

    def surplus(self, wanted: int) -> list[BatchId]:
        """Batch jobs of which nobody has called home and that nobody waits for any more, as others were faster; of each
        level the last ones."""
        found: list[BatchId] = []
        more = {level: awaited - wanted for level, awaited in self._awaited.items()}
        if not any(more.get(level, 0) > 0 for level in more):
            return found
        for batch, members in reversed(self._by_batch().items()):
            level = members[0].place.level
            if more[level] >= len(members) and all(m.phase is _Phase.AWAITED for m in members):
                more[level] -= len(members)
                found.append(batch)
        return found

    def judge(self, listing: Iterable[BatchJob], asked_at: float, now: float) -> Verdict:
        """What a listing says that was asked for at ``asked_at``: later submissions can't be in it."""
        found = {entry.id: entry for entry in listing}
        verdict = Verdict()
        over: list[BatchId] = []
        stuck: dict[str, list[BatchId]] = {}
        silent: list[BatchId] = []
        pending: Counter[str] = Counter()
        waiting = False
        for batch, members in self._by_batch().items():
            if all(member.submitted_at >= asked_at for member in members):
                continue
            entry = found.get(batch)
            state = State.GONE if entry is None else entry.state
            reason = entry.reason if entry is not None else ""
            awaited = [member for member in members if member.phase is _Phase.AWAITED]
            if state is State.GONE:
                # While an executor is connected its batch job is there, whatever a listing says.
                if not any(member.phase is _Phase.CONNECTED for member in members):
                    over.append(batch)
            elif state is State.STUCK and awaited:
                stuck.setdefault(reason, []).append(batch)
            elif state in (State.PENDING, State.SUSPENDED) and awaited:
                if now - awaited[0].submitted_at >= SHOW_PENDING_AFTER_S:
                    waiting = True
                    pending[reason] += len(awaited)
                    verdict.explain = verdict.explain or batch
            elif state in (State.PENDING, State.SUSPENDED, State.STUCK):
                # Requeued or preempted: others have been asked for in its place.
                if _have_left(members, now):
                    verdict.cancel.append(batch)
            elif state is State.RUNNING:
                for member in members:
                    member.running_since = member.running_since or now
                if awaited and now - (awaited[0].running_since or now) >= CALL_HOME_S:
                    silent.append(batch)
                elif _have_left(members, now):
                    verdict.cancel.append(batch)
        if pending and not set(pending) <= {""}:
            verdict.explain = None
        if count := self.forget(over):
            verdict.failed.append((count, VANISHED_RETRY_S, ended_early(count)))
        for reason, batches in stuck.items():
            verdict.cancel += batches
            verdict.failed.append((self.forget(batches), RETRY_S[Trouble.REFUSED], can_never_run(reason)))
        if silent:
            verdict.cancel += silent
            text = f"{batch_jobs(len(silent))} run, and no executor of theirs has connected in {CALL_HOME_S:.0f} s"
            verdict.failed.append((self.forget(silent), RETRY_S[Trouble.UNREACHABLE], text))
        if waiting:
            for reason, count in pending.items():
                if reason:
                    self.say(verdict.notes, reason, count)
        return verdict

    def explained(self, reason: str) -> Verdict:
        """What an explanation says of the batch jobs that are pending."""
        verdict = Verdict()
        if not reason:
            return verdict
        if never(reason):
            verdict.cancel = self.batches(awaited_only=True)
            count = self.forget(verdict.cancel)
            verdict.failed.append((count, RETRY_S[Trouble.REFUSED], can_never_run(reason)))
        else:
            self.say(verdict.notes, reason, self.awaited)
        return verdict

    def say(self, notes: list[str], reason: str, count: int) -> None:
        """Put the reason into words, once."""
        if reason not in self._said:
            self._said.add(reason)
            notes.append(f"{batch_jobs(count)} wait in the cluster's queue: {reason}")

    def _by_batch(self) -> dict[BatchId, list[_Member]]:
        grouped: dict[BatchId, list[_Member]] = {}
        for member in self._members.values():
            grouped.setdefault(member.batch, []).append(member)
        return grouped


def _have_left(members: Iterable[_Member], now: float) -> bool:
    return all(member.phase is _Phase.LEFT and now - member.left_at >= LINGER_S for member in members)


def can_never_run(reason: str) -> str:
    """What the user is told."""
    why = f" ({reason})" if reason else ""
    return f"the cluster will not start what was submitted{why}; {correct(reason)}"


def batch_jobs(count: int) -> str:
    """``1 batch job``, ``2 batch jobs``."""
    return f"{count} batch job" + ("s" if count != 1 else "")


def ended_early(count: int) -> str:
    """What the user is told of batch jobs that are gone."""
    return "1 executor ended before it connected" if count == 1 else f"{count} executors ended before they connected"
