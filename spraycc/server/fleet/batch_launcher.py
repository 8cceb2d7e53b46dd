"""Batch jobs: submitted as executors are asked for, looked at seldom, cancelled when nobody wants them.

One coroutine does everything, a command at a time, so a cluster manager never has two commands of ours to answer. What
it does next follows from what is wanted and from the clock; executors that call home need none of it.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import trio

from spraycc.cluster.driver import RETRY_S, BatchId, ClusterError, Driver, Order, Reply, Trouble
from spraycc.cluster.registry import BATCH, batch_name, client_environment, driver_for
from spraycc.cluster.roster import PREFERRED, Place, Roster, Verdict, batch_jobs
from spraycc.server.host.subprocesses import run_command
from spraycc.server.host.supervise import PAUSE_S
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: Runs a cluster manager's command, as :func:`run_command`: argv, stdin, environment, timeout_s.
RunCommand = Callable[[Sequence[str], bytes, Mapping[str, str], float], Awaitable[Reply]]

#: In the state directory while batch jobs of this server may be there: what to look for when it was killed.
MARKER = "batch-jobs.json"
#: At the end, cancelling may take so long.
CLOSE_S = 15.0
#: What was withdrawn may be asked for again at once.
_RETRY_AFTER_WITHDRAWAL_S = 0.001


def user_name() -> str:
    """Whose batch jobs are ours."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


async def cancel_leftovers(settings: Settings, state_dir: Path, run: RunCommand = run_command) -> int:
    """Cancel the batch jobs of a server that was killed, if there was one; how many submissions were found.

    Raises:
        ClusterError: they can't be looked for; the marker stays.
    """
    marker = state_dir / MARKER
    try:
        left = json.loads(marker.read_text())
    except (OSError, ValueError):
        return 0
    with suppress(TypeError, KeyError):
        # As they were submitted, whatever the settings say today.
        settings = Settings.from_map(left["settings"])
    if settings.cluster not in BATCH:
        return 0
    driver = driver_for(settings, user_name())
    found = await _search_and_cancel(driver, batch_name(settings, state_dir.name), settings.cluster_timeout_s, run)
    marker.unlink(missing_ok=True)
    return found


async def _search_and_cancel(driver: Driver, name: str, timeout_s: float, run: RunCommand) -> int:
    environment = client_environment(os.environ)
    reply = await run(driver.search(name), b"", environment, timeout_s)
    jobs = driver.parse_search(name, reply)
    if jobs:
        log.info("%s: %d submissions named %s are cancelled", driver.system, len(jobs), name)
        await run(driver.cancellation([BatchId(job) for job in jobs]), b"", environment, timeout_s)
    return len(jobs)


class Submitter:
    """The batch jobs of one server. ``run`` must run as long as it is used."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        state_dir: Path,
        *,
        failed: Callable[[int, float, str], None],
        say: Callable[[str], None],
        wanted: Callable[[], bool],
        known: Callable[[], Collection[str]] | None = None,
        run: RunCommand = run_command,
    ) -> None:
        """
        Args:
            settings: of the first build; ``ask`` brings newer ones.
            command: an executor's command line without its id.
            state_dir: for the marker and for what executors print.
            failed: told of executors that won't come: how many, seconds before others are asked for, a line for the
                user or nothing.
            say: shows the user a line.
            wanted: whether any build may use an executor now.
            known: the submissions (BatchId.job) of all submitters of this server; None: there is only this one.
            run: runs the cluster manager's commands.
        """
        self._settings = settings
        self._command = tuple(command)
        self._state_dir = state_dir
        self._report_failed = failed
        self._say = say
        self._wanted = wanted
        self._known = known or self.jobs
        self._run_cluster = run
        self._driver = driver_for(settings, user_name())
        self._environment = client_environment(os.environ)
        self._name = batch_name(settings, state_dir.name)
        self._roster = Roster()
        #: asked for by the scheduler and neither connected nor reported as failed, as it counts them itself. Batch jobs
        #: with several CPUs may have more executors than that.
        self._asked = 0
        self._array_limit = settings.array_limit or self._driver.array_limit
        self._turn = 0
        self._wake = trio.Event()
        self._next_submit_at = 0.0
        self._next_look_at = 0.0
        self._unwanted_since: float | None = None
        #: what has not started shall be cancelled
        self._withdrawing = False
        #: something may be there that is not in the roster
        self._uncertain = False
        #: submissions that were not answered, and may be there all the same
        self._unanswered: list[Order] = []
        #: a further queue was asked for what waits in another; when that may be done again, and what was said of it
        self._asked_twice = False
        self._further_not_before = 0.0
        self._said_further: set[str] = set()
        self._scope = trio.CancelScope()

    @property
    def processes(self) -> int:
        return len(self._roster) + self._to_submit

    @property
    def _to_submit(self) -> int:
        return max(0, self._asked - self._roster.awaited)

    def jobs(self) -> list[str]:
        """The submissions that are not over."""
        return self._roster.jobs()

    @property
    def _queues(self) -> tuple[str | None, ...]:
        return self._settings.queues or (None,)

    @property
    def _has_further(self) -> bool:
        """Whether there is a queue for what waits for long in another."""
        return self._settings.queue_use == "first" and len(self._settings.queues) > 1

    def _failed(self, count: int, retry_s: float, text: str) -> None:
        """So many don't come. Those for which others wait in another queue have only lost a chance."""
        if self._asked_twice:
            count = min(count, max(0, self._asked - self._roster.awaited))
            if not count:
                self._further_not_before = trio.current_time() + retry_s
                if text:
                    self._say(text)
                return
        self._asked = max(0, self._asked - count)
        self._report_failed(count, retry_s, text)

    # -- called by the server, never waiting

    def ask(self, count: int) -> None:
        self._asked += count
        self._wake.set()

    def withdraw(self) -> None:
        self._withdrawing = True
        self._wake.set()

    def connected(self, executor_id: str) -> None:
        self._roster.connected(executor_id)
        self._asked = max(0, self._asked - 1)
        self._wake.set()  # there may be room for more that are pending

    def gone(self, executor_id: str) -> None:
        self._roster.left(executor_id, trio.current_time())
        self._wake.set()

    # -- its coroutine

    async def run(self) -> None:
        """Submit and look after batch jobs until closed."""
        with self._scope:
            try:
                if found := await cancel_leftovers(self._settings, self._state_dir, self._run_cluster):
                    self._say(f"{self._driver.system}: batch jobs of a server that was killed are cancelled ({found})")
            except ClusterError as exc:
                log.warning("left-overs can't be looked for: %s", exc)
            except Exception:
                log.exception("left-overs can't be looked for")
            while True:
                await self._wait(self._due_at())
                try:
                    await self._step()
                except Exception:
                    # A fault of ours, or a cluster manager that says what nobody has heard before: not at once again.
                    log.exception("a step of %s failed", self._driver.system)
                    self._next_submit_at = self._next_look_at = trio.current_time() + RETRY_S[Trouble.GARBLED]
                    self._withdrawing = False
                    self._failed(
                        self._to_submit, RETRY_S[Trouble.GARBLED], f"{self._driver.system}: a fault; see the log"
                    )
                    await trio.sleep(PAUSE_S)

    def _due_at(self) -> float:
        """When there is something to do. Infinity: not before ``_wake``."""
        due = [float("inf")]
        if self._room() > 0:
            due.append(self._next_submit_at)
        elif self._has_further:
            at = self._roster.overdue_at(self._settings.queue_patience_s, len(self._queues))
            due.append(max(at, self._next_submit_at, self._further_not_before))
        if self._asked_twice and self._roster.surplus(self._asked):
            due.append(0.0)
        if self._roster.wants_listing():
            due.append(self._next_look_at)
        if self._is_withdrawable():
            # Nothing tells when the last build has ended, or when a build has begun that needs no more executors.
            due.append(trio.current_time() + 1.0)
            if self._unwanted_since is not None:
                due.append(self._unwanted_since + self._settings.release_delay_s)
        return min(due)

    def _is_withdrawable(self) -> bool:
        """Whether there is anything to cancel. Not a batch job of which one executor is here and another on its way."""
        return bool(self._to_submit or self._roster.batches(awaited_only=True))

    async def _wait(self, until: float) -> None:
        self._wake = trio.Event()
        if until <= trio.current_time() or self._withdrawing:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_at(until):
            await self._wake.wait()

    async def _step(self) -> None:
        now = trio.current_time()
        withdrawable = self._is_withdrawable()
        self._withdrawing = self._withdrawing and withdrawable
        if self._wanted():
            self._unwanted_since = None
        elif self._unwanted_since is None:
            self._unwanted_since = now
        unwanted = self._unwanted_since is not None and now >= self._unwanted_since + self._settings.release_delay_s
        if (unwanted or self._withdrawing) and withdrawable:
            await self._withdraw()
        elif self._room() > 0 and now >= self._next_submit_at:
            if self._unanswered:
                await self._find_unanswered()
            if self._room() > 0:
                await self._submit(self._room())
        elif self._asked_twice and (surplus := self._roster.surplus(self._asked)):
            self._roster.forget(surplus)
            log.info("%s: %s are not needed, others were faster", self._driver.system, batch_jobs(len(surplus)))
            await self._cancel(surplus)
        elif (overdue := self._overdue(now)) is not None and now >= self._next_submit_at:
            if self._unanswered:
                await self._find_unanswered()
            await self._submit(*overdue)
        elif self._roster.wants_listing() and now >= self._next_look_at:
            await self._look()

    def _room(self) -> int:
        """Executors that may be submitted now."""
        if self._settings.keep_pending is None:
            return self._to_submit
        return min(self._to_submit, self._settings.keep_pending - self._roster.awaited)

    def _overdue(self, now: float) -> tuple[int, Place] | None:
        """Executors that have waited in vain, and the queue that shall be asked for them too."""
        if not self._has_further or now < self._further_not_before:
            return None
        return self._roster.overdue(self._settings.queue_patience_s, len(self._queues), now)

    async def _run_command(self, argv: Sequence[str], stdin: bytes = b"") -> Reply:
        return await self._run_cluster(argv, stdin, self._environment, self._settings.cluster_timeout_s)

    async def _submit(self, executors: int, place: Place = PREFERRED) -> None:
        """Submit batch jobs for so many executors, to the first queue from ``place`` on that takes them."""
        copies = self._settings.cpus_per_executor
        count = min(-(-executors // copies), self._array_limit)
        queues = list(enumerate(self._queues))[place.queue :]
        if self._settings.queue_use == "share":
            # A part to each queue, one submission after the other.
            turn, self._turn = self._turn, self._turn + 1
            count = -(-count // max(1, len(queues) - turn % len(queues)))
            queues = queues[turn % len(queues) :] + queues[: turn % len(queues)]
        troubles: list[ClusterError] = []
        for number, queue in queues:
            tag = secrets.token_hex(3)
            order = Order(tag, count, self._name, queue, self._command, str(self._state_dir / "executors.log"))
            submission = self._driver.submission(order)
            self._mark()
            self._roster.expect(tag)
            try:
                reply = await self._run_command(submission.argv, submission.stdin)
                batches = self._driver.parse_submit(order, reply)
            except ClusterError as exc:
                if exc.kind in (Trouble.UNREACHABLE, Trouble.GARBLED):
                    self._uncertain = True
                    self._unanswered.append(order)
                if exc.kind is Trouble.TOO_LARGE and count > 1:
                    self._array_limit = count // 2
                    log.info("%s; arrays of %d from now on", exc, self._array_limit)
                    return
                troubles.append(exc)
                continue
            finally:
                self._next_submit_at = trio.current_time() + self._settings.submit_interval_s
            now = trio.current_time()
            if not self._roster.wants_listing():
                self._next_look_at = now + self._settings.status_interval_s
            self._roster.add(tag, batches, copies, now, Place(number, place.level))
            log.info("%s: %s submitted as %s, tag %s", self._driver.system, batch_jobs(count), batches[0].job, tag)
            if place.level:
                self._asked_twice = True
                self._say_further(
                    f"nothing has started in {self._queues[place.queue - 1]} for "
                    f"{self._settings.queue_patience_s:.0f} s, so {queue} is asked too"
                )
            return
        # The mildest trouble says when to try again; all of them are told.
        first = min(troubles, key=lambda exc: RETRY_S[exc.kind])
        words = "; ".join(dict.fromkeys(str(exc) for exc in troubles))
        if place.level:
            self._further_not_before = trio.current_time() + RETRY_S[first.kind]
            self._say_further(f"{words} ({first.next_step}); what was submitted before still waits")
            return
        text = f"{words} ({first.next_step}); compiling here meanwhile"
        self._failed(self._to_submit, RETRY_S[first.kind], text)

    def _say_further(self, text: str) -> None:
        if text not in self._said_further:
            self._said_further.add(text)
            self._say(f"{self._driver.system}: {text}")

    async def _find_unanswered(self) -> None:
        """Before the same is submitted once more: what was not answered may have been taken all the same."""
        try:
            reply = await self._run_command(self._driver.search(self._name))
            found = self._driver.parse_search(self._name, reply)
        except ClusterError as exc:
            log.info("what was not answered can't be looked for: %s", exc)
            return
        known = set(self._known())
        jobs = [job for job in found if job.removesuffix("[]") not in known]
        orders, self._unanswered = self._unanswered, []
        if len(jobs) == len(orders) == 1:
            log.info("%s: taken, though it was not answered: %s", self._driver.system, jobs[0])
            batches = self._driver.batches(jobs[0], orders[0])
            self._roster.add(orders[0].tag, batches, self._settings.cpus_per_executor, trio.current_time())
        elif jobs:
            log.info("%s: not known, cancelled: %s", self._driver.system, " ".join(jobs))
            await self._cancel([BatchId(job) for job in jobs])

    async def _look(self) -> None:
        """Ask for a listing, and do what follows from it."""
        asked_at = trio.current_time()
        try:
            reply = await self._run_command(self._driver.listing(self._roster.jobs()))
            listing = self._driver.parse_listing(reply)
            verdict = self._roster.judge(listing, asked_at, trio.current_time())
            await self._carry_out(verdict)
            if verdict.explain is not None:
                argv = self._driver.explanation(verdict.explain)
                if argv is not None:
                    reason = self._driver.parse_explanation(await self._run_command(argv))
                    await self._carry_out(self._roster.explained(reason))
        except ClusterError as exc:
            # Executors that are connected don't need it; what is pending stays pending.
            log.warning("no listing: %s", exc)
        finally:
            self._next_look_at = trio.current_time() + self._settings.status_interval_s

    async def _carry_out(self, verdict: Verdict) -> None:
        for text in verdict.notes:
            self._say(f"{self._driver.system}: {text}")
        for count, retry_s, text in verdict.failed:
            if count:
                self._failed(count, retry_s, f"{self._driver.system}: {text}")
        if verdict.cancel:
            await self._cancel(verdict.cancel)

    async def _withdraw(self) -> None:
        """Nobody wants executors any more: cancel those that have not called home."""
        batches = self._roster.batches(awaited_only=True)
        missing = self._asked
        self._withdrawing = False
        self._roster.forget(batches)
        if batches:
            log.info("%s: %s are not wanted any more", self._driver.system, batch_jobs(len(batches)))
            await self._cancel(batches)
        self._failed(missing, _RETRY_AFTER_WITHDRAWAL_S, "")

    async def _cancel(self, batches: Sequence[BatchId]) -> None:
        try:
            await self._run_command(self._driver.cancellation(batches))
        except ClusterError as exc:
            self._uncertain = True
            log.warning("not cancelled: %s", exc)

    # -- the end, and a violent end's traces

    async def close(self) -> None:
        """Cancel whatever is there. The marker stays where that can't be done."""
        if self._scope.cancel_called:
            return
        self._scope.cancel()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S) as scope:
            try:
                batches = self._roster.batches()
                if batches:
                    await self._run_command(self._driver.cancellation(batches))
                if self._uncertain:
                    await _search_and_cancel(
                        self._driver, self._name, self._settings.cluster_timeout_s, self._run_cluster
                    )
                (self._state_dir / MARKER).unlink(missing_ok=True)
            except Exception as exc:
                log.warning("batch jobs may be left: %s", exc, exc_info=not isinstance(exc, (ClusterError, OSError)))
        if scope.cancelled_caught:
            log.warning("batch jobs may be left: they were not cancelled within %.0f s", CLOSE_S)

    def _mark(self) -> None:
        path = self._state_dir / MARKER
        if path.exists():
            return
        try:
            with open(path, "x", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600)) as file:
                json.dump({"name": self._name, "settings": asdict(self._settings)}, file)
        except OSError as exc:
            log.warning("%s: %s", path, exc.strerror)
