"""Tells builds why no executor has connected: when, and in which words. Pure: ``now`` is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spraycc.model import BuildId
from spraycc.notices import cluster as notices
from spraycc.status_reply import Pending

#: A build that has waited this many seconds for its first executor is told why.
FIRST_S = 3.0
#: The answer of the cluster manager, which is asked at that time, is waited for this many seconds.
ANSWER_S = 2.0
#: The build is told again after this many seconds, and then whenever the wait has lasted twice as long.
AGAIN_S = 30.0
#: If executors are connected, tell of others that have been pending for this many seconds.
SHOW_PENDING_AFTER_S = 8.0


@dataclass(slots=True)
class _Wait:
    """One build's wait for its first executor."""

    since: float
    next_at: float
    #: the cluster manager's words that the build has read
    reasons: set[str] = field(default_factory=set)
    is_told: bool = False


class WaitNotices:
    """The builds that wait for an executor, and the words that each has read."""

    def __init__(self) -> None:
        self._waits: dict[BuildId, _Wait] = {}
        #: the reasons that any build has read: with executors connected, all builds read each further reason once
        self._told: set[str] = set()

    def details(self, now: float, build: BuildId, pending: Sequence[Pending], asked: int) -> str:
        """Words for a notice that no executor has connected; empty if the build has read them already."""
        wait = self._waits.setdefault(build, _Wait(now, now + FIRST_S))
        return "" if wait.is_told else self._tell(now, wait, pending, asked)

    def due(self, now: float, builds: Iterable[BuildId], pending: Sequence[Pending], asked: int) -> dict[BuildId, str]:
        """The lines for builds that wait while no executor is connected. Call it every second.

        Args:
            now: seconds on a monotonic clock.
            builds: the builds that wait now.
            pending: the executors that were submitted or started.
            asked: the executors that were asked for; 0: the next request follows after a pause, of which builds are
                told elsewhere.
        """
        waiting = set(builds)
        self._waits = {build: wait for build, wait in self._waits.items() if build in waiting}
        reasons = {group["reason"] for group in pending if group["reason"]}
        lines = {}
        for build in waiting:
            wait = self._waits.setdefault(build, _Wait(now, now + FIRST_S))
            hopes = not reasons and any(group["batch_jobs"] and not group["started"] for group in pending)
            if now < wait.next_at and not (wait.is_told and reasons - wait.reasons):
                continue
            if not wait.is_told and hopes and now < wait.since + FIRST_S + ANSWER_S:
                continue  # the answer is on its way
            is_news = wait.is_told and now < wait.next_at
            words = self._tell(now, wait, pending, asked)
            if pending or asked:
                lines[build] = words if is_news else notices.NO_EXECUTOR_YET.text(state=words)
        return lines

    def _tell(self, now: float, wait: _Wait, pending: Sequence[Pending], asked: int) -> str:
        wait.is_told = True
        wait.next_at = wait.since + max(AGAIN_S, 2 * (now - wait.since))
        reasons = {group["reason"] for group in pending}
        wait.reasons |= reasons
        self._told |= reasons
        return in_words(pending, asked)

    def news(self, pending: Iterable[Pending], connected: int) -> str:
        """A line for all builds about executors that are pending while others are connected; empty: nothing new."""
        self._waits.clear()
        old = [group for group in pending if group["reason"] and group["age_s"] >= SHOW_PENDING_AFTER_S]
        fresh = [group for group in old if group["reason"] not in self._told]
        self._told |= {group["reason"] for group in fresh}
        if not fresh:
            return ""
        return notices.OTHERS_PENDING.text(pending=in_words(fresh), executors_are=_executors(connected, "are", "is"))


def in_words(pending: Sequence[Pending], asked: int = 0) -> str:
    """The executors that were submitted or started, in words for a message; or the number that was asked for."""
    if pending:
        return "; ".join(map(_group, pending))
    return notices.ASKED_ONLY.text(executors_are=_executors(asked, "are", "is"))


def _group(group: Pending) -> str:
    age = span(group["age_s"])
    count = group["batch_jobs"]
    if not count:
        where = f" on {group['queue']}" if group["queue"] else ""
        return notices.STARTED_AGO.text(
            executors_were=_executors(group["executors"], "were", "was"), where=where, age=age
        )
    noun = "batch jobs" if count != 1 else "batch job"
    state = f"{'wait' if count != 1 else 'waits'}: {group['reason']}"
    if group["started"]:
        state = f"{'have' if count != 1 else 'has'} started and not connected"
    elif not group["reason"]:
        state = f"{'have' if count != 1 else 'has'} not started yet"
    return notices.SUBMITTED_AGO.text(
        batch_jobs=f"{count} {noun}",
        where=f"{group['system']}'s queue {group['queue']}" if group["queue"] else group["system"],
        age=age,
        state=state,
    )


def _executors(count: int, many: str, one: str) -> str:
    return f"{count} executors {many}" if count != 1 else f"1 executor {one}"


def span(seconds: float) -> str:
    """``7 s``, ``3 min``, ``2 h 5 min``."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
