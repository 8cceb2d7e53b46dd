"""Decides which command a cluster manager gets next: submit, list, cancel and so on. Pure: no process, no clock.

The caller repeats two steps: it carries out the actions of :meth:`SubmissionPlan.next`, and tells the plan the result
of each command by one of the events. At most one command runs at a time, which spares the cluster manager.

:meth:`SubmissionPlan._steps` holds all rules: each is the time at which a step is due, in the order of priority.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from spraycc.cluster.batch_jobs import BatchJobs, Consequences, Place
from spraycc.cluster.driver import RETRY_S, BatchId, BatchJob, ClusterError, Driver, Submission, Trouble
from spraycc.cluster.plan_actions import (
    Cancel,
    Command,
    Explain,
    Limited,
    List,
    Report,
    ReportFailed,
    Say,
    Search,
    Submit,
)
from spraycc.notices import cluster as notices
from spraycc.settings import Settings
from spraycc.status_reply import Pending

#: Executors that were withdrawn may be asked for again at once.
RETRY_AFTER_WITHDRAWAL_S = 0.001
#: While there is something to withdraw, read ``wanted`` at this interval: the last build's end causes no event.
WATCH_WANTED_S = 1.0
#: If nothing has connected this many seconds after the first submission, ask the cluster manager once for the reason.
FIRST_LOOK_S = 3.0
#: The user is told of a question that the cluster manager has not answered for this many seconds.
SLOW_ANSWER_S = 2.0
#: The most submissions that are remembered after a cancel command.
_MOST_CANCELLED = 100


_Step = Callable[[], Command | None]


@dataclass(frozen=True, slots=True)
class _Limit:
    words: str
    #: executors that were wanted
    wanted: int
    since: float


@dataclass(slots=True)
class _Attempt:
    """A submission under way: queues are tried until one of them takes the array."""

    count: int
    #: the first queue, and the reason for the submission
    place: Place
    #: numbers of the queues that are left to try
    queues: list[int]
    errors: list[ClusterError] = field(default_factory=list)


@dataclass(slots=True)
class SubmissionPlan:
    """The state of the batch jobs of one session."""

    settings: Settings
    driver: Driver
    #: the most elements of an array; shrinks when the cluster manager refuses arrays as too large
    array_limit: int = field(init=False)
    #: the most elements of the next array: halved when the cluster manager takes no more now, doubled when it does
    next_limit: int = field(init=False)
    batch_jobs: BatchJobs = field(init=False)
    #: executors asked for by the scheduler that are neither connected nor reported as failed. The scheduler counts
    #: the same. If a batch job has several executors, more than these may be submitted.
    asked: int = 0
    #: time since when no build wants executors; infinity while a build does
    unwanted_since: float = math.inf
    #: the scheduler takes back the executors that have not connected
    withdraw_asked: bool = False

    attempt: _Attempt | None = None
    #: submissions that the cluster manager may have taken, although the command failed
    unanswered: list[Submission] = field(default_factory=list)
    #: the last search for unanswered submissions failed, so submit and withdraw without a search
    searched_in_vain: bool = False
    #: batch jobs to cancel -> why. An entry stays until a cancel command has run.
    to_cancel: dict[BatchId, str] = field(default_factory=dict)
    #: ids of the submissions that were cancelled last: a search may still find them, because ending takes some time
    cancelled_ids: list[str] = field(default_factory=list)
    #: ask the cluster manager why this batch job is pending
    to_explain: BatchId | None = None

    next_submit_at: float = 0.0
    next_list_at: float = 0.0
    #: when to ask for the reason why nothing has connected; infinity: it was asked, or an executor has connected
    first_look_at: float = math.inf
    next_cancel_at: float = 0.0
    #: no withdrawal before this time unless the scheduler asks for one: the last search before a withdrawal failed
    next_withdraw_at: float = 0.0
    #: level (:class:`Place`) -> no submission at that level before this time
    paused_until: dict[int, float] = field(default_factory=dict)
    #: executors were submitted to a further queue too
    asked_further: bool = False
    #: submissions so far with `queue_use = "share"`
    turn: int = 0
    #: a question under way: since when, and its program
    asking: tuple[float, str] | None = None
    #: why the last question for reasons has no answer; empty: it has one
    silence: str = ""
    #: the site's limit on queued batch jobs; None: all executors are submitted
    limit: _Limit | None = None
    _told: set[str] = field(default_factory=set)
    _reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch_jobs = BatchJobs(self.driver.listing_age_s)
        self.array_limit = self.next_limit = self.settings.array_limit or self.driver.array_limit

    @property
    def to_submit(self) -> int:
        """Executors asked for that are not submitted."""
        return max(0, self.asked - self.batch_jobs.awaited)

    @property
    def processes(self) -> int:
        """Executors that may exist or will be submitted."""
        return self.batch_jobs.executors + self.to_submit

    @property
    def is_idle(self) -> bool:
        """True if no batch job may exist, and none will be submitted."""
        return not (self.processes or self.to_cancel or self.unanswered)

    def is_cancelling(self, now: float) -> bool:
        """True if a cancel command is due: after a withdrawal, or for another reason."""
        return (bool(self.to_cancel) and self.next_cancel_at <= now) or (self.withdraw_asked and self._withdrawable)

    def everything(self) -> list[BatchId]:
        """The batch jobs to cancel at the end."""
        return list(dict.fromkeys([*self.batch_jobs.ids(), *self.to_cancel]))

    def pending(self, now: float) -> list[Pending]:
        """The batch jobs whose executors have not connected, the oldest first."""
        silence = self.silence
        if self.asking is not None and now - self.asking[0] >= SLOW_ANSWER_S:
            silence = silence or f"not known: {self.asking[1]} gives no answer"
        return [
            Pending(
                system=self.driver.system,
                queue=self._queues[found.queue] or "",
                batch_jobs=found.batch_jobs,
                executors=found.executors,
                reason=found.reason or ("" if found.started else silence),
                started=found.started,
                age_s=round(now - found.submitted_at, 3),
            )
            for found in self.batch_jobs.waiting()
        ]

    def limited(self) -> Limited | None:
        """The site's limit on queued batch jobs, if it keeps some executors from being submitted."""
        if self.limit is None or not self.batch_jobs.executors:
            return None
        text = notices.IS_LIMITED.text(
            words=self.limit.words,
            submitted=self.batch_jobs.executors,
            wanted=max(self.limit.wanted, self.processes),
        )
        return Limited(self.limit.words, text, self.limit.since)

    # -- the plan

    def next(self, now: float, *, wanted: bool) -> tuple[list[Command | Report], float]:
        """Reports and at most one command, and the time of the next call unless an event comes first.

        Args:
            now: seconds on a monotonic clock.
            wanted: True if any build may use an executor.
        """
        self.unwanted_since = math.inf if wanted else min(self.unwanted_since, now)
        self.withdraw_asked = self.withdraw_asked and self._withdrawable
        command: Command | None = None
        while command is None and (step := next((step for at, step in self._steps(now) if at <= now), None)):
            command = step()
        reports, self._reports = self._reports, []
        if command is not None:
            if (program := self._program_of(command)) is not None:
                self.asking = now, program
            return [*reports, command], now
        at = min((at for at, _ in self._steps(now)), default=math.inf)
        return [*reports], min(at, now + WATCH_WANTED_S) if self._withdrawable else at

    def _program_of(self, command: Command) -> str | None:
        """The program that asks the cluster manager about batch jobs; None: the command asks nothing."""
        match command:
            case List():
                return self.driver.list_program
            case Explain(batch) if argv := self.driver.explain_command(batch):
                return argv[0]
        return None

    def _steps(self, now: float) -> Iterator[tuple[float, _Step]]:
        """(time when a step is due, step), the most important first. A step returns a command or changes the state."""
        if self.attempt is not None:
            yield -math.inf, self._submit
        if self.to_cancel:
            yield self.next_cancel_at, self._cancel
        if self.to_explain is not None:
            yield -math.inf, self._explain
        if self._withdrawable:
            at = max(self.unwanted_since + self.settings.release_delay_s, self.next_withdraw_at)
            yield -math.inf if self.withdraw_asked else at, partial(self._withdraw, now)
        if self._room > 0:
            yield self.next_submit_at, self._submit_asked
        if self.asked_further and self.batch_jobs.surplus(self.asked):
            yield -math.inf, self._cancel_surplus
        if self.settings.queue_use == "first":
            for level in range(len(self._queues) - 1):
                at = self.batch_jobs.overdue_at(level, self.asked, self.settings.queue_patience_s, len(self._queues))
                at = max(at, self.next_submit_at, self.paused_until.get(level + 1, 0.0))
                yield at, partial(self._submit_overdue, level, now)
        if self.batch_jobs.need_listing():
            yield self.first_look_at, partial(self._first_look, now)
            yield self.next_list_at, self._list

    @property
    def _withdrawable(self) -> bool:
        """True if there may be anything to withdraw. A batch job with a connected executor is not withdrawn."""
        return bool(self.to_submit or self.unanswered) or self.batch_jobs.any_untouched()

    @property
    def _room(self) -> int:
        """Executors that may be submitted now."""
        if self.settings.keep_pending is None:
            return self.to_submit
        return min(self.to_submit, self.settings.keep_pending - self.batch_jobs.awaited)

    @property
    def _queues(self) -> tuple[str | None, ...]:
        return self.settings.queues or (None,)

    # -- steps

    def _submit_asked(self) -> Command:
        return self._search() or self._begin(self._room, Place())

    def _submit_overdue(self, level: int, now: float) -> Command:
        patience_s, queues = self.settings.queue_patience_s, len(self._queues)
        return self._search() or self._begin(*self.batch_jobs.overdue(level, self.asked, patience_s, queues, now))

    def _search(self) -> Search | None:
        """Search for unanswered submissions before a new one or a withdrawal, as they may have been taken."""
        return Search() if self.unanswered and not self.searched_in_vain else None

    def _begin(self, executors: int, place: Place) -> Submit:
        self.searched_in_vain = False
        count = min(-(-executors // self.settings.cpus_per_executor), self.next_limit)
        queues = list(range(place.queue, len(self._queues)))
        if self.settings.queue_use == "share":
            first = self.turn % len(queues)
            self.turn += 1
            count = -(-count // (len(queues) - first))
            queues = queues[first:] + queues[:first]
        self.attempt = _Attempt(count, place, queues)
        return self._submit()

    def _submit(self) -> Submit:
        assert self.attempt is not None
        return Submit(self._queues[self.attempt.queues[0]], self.attempt.count)

    def _cancel(self) -> Cancel:
        return Cancel(tuple(self.to_cancel), "; ".join(dict.fromkeys(self.to_cancel.values())))

    def _cancel_surplus(self) -> None:
        self._give_up(self.batch_jobs.surplus(self.asked), "not needed, other queues were faster")

    def _withdraw(self, now: float) -> Search | None:
        if (search := self._search()) is not None:
            return search
        self.searched_in_vain = self.withdraw_asked = False
        if self.unanswered:  # the search has failed, so it is repeated
            self.next_withdraw_at = now + RETRY_S[Trouble.UNREACHABLE]
        self.limit = None
        missing = self.asked
        self._give_up(self.batch_jobs.ids(awaited_only=True), "not wanted any more")
        if missing:
            self._fail(missing, RETRY_AFTER_WITHDRAWAL_S, "", now)
        return None

    def _give_up(self, ids: Sequence[BatchId], why: str) -> None:
        self.batch_jobs.remove(ids)
        self.to_cancel |= dict.fromkeys(ids, why)

    def _explain(self) -> Explain:
        assert self.to_explain is not None
        return Explain(self.to_explain)

    def _first_look(self, now: float) -> Command | None:
        """One query soon after a submission, so that the user learns early why nothing starts."""
        self.first_look_at = math.inf
        batch = self.batch_jobs.oldest_untouched()
        if batch is None:
            return None
        if self.driver.explain_command(batch) is None:
            return self._list()
        # A cluster manager with a command for the reason gives no reason in a listing.
        self.batch_jobs.explaining(now)
        return Explain(batch)

    def _list(self) -> List:
        return List(tuple(self.batch_jobs.submission_ids()))

    # -- events: the server's

    def ask(self, count: int) -> None:
        """The scheduler asks for more executors."""
        self.asked += count

    def withdraw(self) -> None:
        """The scheduler takes back the executors that have not connected."""
        self.withdraw_asked = True

    def connected(self, executor: str) -> None:
        """An executor has connected."""
        self.batch_jobs.connected(executor)
        self.first_look_at = math.inf
        self.asked = max(0, self.asked - 1)

    def left(self, executor: str, now: float) -> None:
        """An executor's connection has ended."""
        self.batch_jobs.left(executor, now)

    # -- events: the results of commands

    def submitting(self, tag: str) -> None:
        """The submit command begins. Executors with this tag may connect before the command's answer."""
        self.batch_jobs.submitting(tag)

    def submitted(self, submission: Submission, ids: Sequence[BatchId], now: float) -> None:
        """A queue has taken the array."""
        attempt, self.attempt = self.attempt, None
        assert attempt is not None
        self.next_submit_at = now + self.settings.submit_interval_s
        self.next_limit = min(max(self.next_limit, 2 * submission.count), self.array_limit)
        if not self.batch_jobs.need_listing():
            self.next_list_at = now + self.settings.status_interval_s
            self.first_look_at = now + min(FIRST_LOOK_S, self.settings.status_interval_s)
        place = Place(attempt.queues[0], attempt.place.level)
        self.batch_jobs.add(submission.tag, ids, self.settings.cpus_per_executor, now, place)
        if not self.to_submit:
            self.limit = None
        if place.level:
            self.asked_further = True
            self._say_once(
                notices.OTHER_QUEUE_TOO.text(
                    system=self.driver.system,
                    queue=self._queues[attempt.place.queue - 1],
                    patience_s=self.settings.queue_patience_s,
                    next_queue=submission.queue,
                )
            )

    def refused(self, submission: Submission, error: ClusterError, now: float) -> None:
        """A queue has not taken the array, or has not answered."""
        attempt = self.attempt
        assert attempt is not None
        self.next_submit_at = now + self.settings.submit_interval_s
        attempt.queues.pop(0)
        if error.kind in (Trouble.UNREACHABLE, Trouble.GARBLED):
            self.unanswered.append(submission)
            # The other queues belong to the same cluster manager. The next attempt begins with a search, because the
            # cluster manager may have taken this array.
            attempt.queues.clear()
        if error.kind is Trouble.TOO_LARGE and submission.count > 1:
            self.array_limit = self.next_limit = submission.count // 2
            self.attempt = None
            return
        if error.kind is Trouble.BUSY:
            since = now if self.limit is None else self.limit.since
            words = notices.WITH_ADVICE.text(words=error, advice=error.next_step)
            self.limit = _Limit(words, self.processes, since)
        attempt.errors.append(error)
        if attempt.queues:
            return
        self.attempt = None
        if submission.count > 1 and any(exc.kind is Trouble.BUSY for exc in attempt.errors):
            # A limit on queued batch jobs refuses an array as a whole, and may have room for a part of it.
            self.next_limit = submission.count // 2
            return
        # The mildest error decides the pause. The user sees all errors.
        mildest = min(attempt.errors, key=lambda exc: RETRY_S[exc.kind])
        words = notices.WITH_ADVICE.text(
            words="; ".join(dict.fromkeys(map(str, attempt.errors))), advice=mildest.next_step
        )
        if attempt.place.level:
            self.paused_until[attempt.place.level] = now + RETRY_S[mildest.kind]
            self._say_once(notices.STILL_WAITS.text(words=words))
        elif self.batch_jobs.executors:
            if mildest.kind is not Trouble.BUSY:  # see `limited`
                self._say_once(notices.GOES_ON.text(words=words))
            self._fail(self.to_submit, RETRY_S[mildest.kind], "", now)
        else:
            self._fail(self.to_submit, RETRY_S[mildest.kind], words, now)

    def found(self, submission_ids: Sequence[str], now: float) -> str | None:
        """The search found these submissions of the session. Returns the adopted submission.

        A single unknown submission must be the single unanswered one: adopt it. Otherwise cancel the unknown ones.
        """
        cancelled = [*self.cancelled_ids, *(batch.submission_id for batch in self.to_cancel)]
        known = {known.removesuffix("[]") for known in (*self.batch_jobs.submission_ids(), *cancelled)}
        unknown = [found for found in submission_ids if found.removesuffix("[]") not in known]
        unanswered, self.unanswered = self.unanswered, []
        if len(unknown) == len(unanswered) == 1:
            (submission,) = unanswered
            ids = self.driver.batch_ids(unknown[0], submission)
            self.batch_jobs.add(submission.tag, ids, self.settings.cpus_per_executor, now)
            return unknown[0]
        self.to_cancel |= dict.fromkeys(map(BatchId, unknown), "submitted without an answer")
        return None

    def search_failed(self) -> None:
        """The search failed. Submit without it, and search again before the next submission."""
        self.searched_in_vain = True

    def listed(self, listing: Sequence[BatchJob], asked_at: float, now: float) -> None:
        """A listing that was asked for at ``asked_at``."""
        self.next_list_at = now + self.settings.status_interval_s
        self.asking, self.silence = None, ""
        consequences = self.batch_jobs.apply_listing(listing, asked_at, now)
        self.to_explain = consequences.explain
        self._apply(consequences, now)

    def list_failed(self, error: ClusterError, now: float) -> None:
        """There is no listing. Connected executors need none, and pending batch jobs stay pending.

        Batch jobs whose executors left long ago are given up: an idle server does not end while it has any.
        """
        self.next_list_at = now + self.settings.status_interval_s
        self._give_up(self.batch_jobs.left_long_ago(now), "left long ago")
        self.asking, self.silence = None, f"not known: {error}"

    def explained(self, reason: str, now: float, error: ClusterError | None = None) -> None:
        """The reason why batch jobs are pending; empty: not known, perhaps because of an error."""
        self.next_list_at = now + self.settings.status_interval_s
        self.asking, self.silence = None, "" if error is None else f"not known: {error}"
        self.to_explain = None
        self._apply(self.batch_jobs.apply_explanation(reason), now)

    def cancelled(self, ids: Sequence[BatchId]) -> None:
        """The cancel command for these batch jobs has run."""
        for batch in ids:
            self.to_cancel.pop(batch, None)
        submissions = dict.fromkeys([*self.cancelled_ids, *(batch.submission_id for batch in ids)])
        self.cancelled_ids = list(submissions)[-_MOST_CANCELLED:]

    def cancel_failed(self, error: ClusterError, now: float) -> None:
        """A cancel command did not reach the cluster manager. Its batch jobs stay in ``to_cancel``."""
        self.next_cancel_at = now + RETRY_S[error.kind]
        self._say_once(notices.NOT_CANCELLED.text(error=error, advice=error.next_step))

    def failed(self, now: float) -> None:
        """A command failed through a fault of SprayCC, or through an answer that no known version gives."""
        retry_s = RETRY_S[Trouble.GARBLED]
        self.attempt = self.to_explain = self.asking = None
        self.withdraw_asked = False
        self.next_submit_at = self.next_list_at = self.next_cancel_at = now + retry_s
        self._fail(self.to_submit, retry_s, notices.FAULT.text(system=self.driver.system), now)

    # -- reports

    def _apply(self, consequences: Consequences, now: float) -> None:
        for it in consequences.failed:
            if it.count:
                self._fail(it.count, it.retry_s, f"{self.driver.system}: {it.text}", now, is_logged=it.is_logged)
        self.to_cancel |= dict.fromkeys(consequences.cancel, "stuck, silent, never listed or left behind")

    def _fail(self, count: int, retry_s: float, text: str, now: float, *, is_logged: bool = False) -> None:
        """Executors will not connect. Not reported as failed if the same executors still wait in another queue."""
        if self.asked_further:
            count = min(count, self.to_submit)
            if not count:
                self.paused_until = dict.fromkeys(range(1, len(self._queues)), now + retry_s)
                self._reports += [Say(text)] if text else []
                return
        self.asked = max(0, self.asked - count)
        self._reports.append(ReportFailed(count, retry_s, text, is_logged))

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._reports.append(Say(text))
