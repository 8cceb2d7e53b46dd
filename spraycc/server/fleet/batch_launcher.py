"""Executors that run in batch jobs: carries out the plan of :mod:`spraycc.cluster.submission_plan`.

One coroutine runs one command at a time and tells the plan its result.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from spraycc.cluster.batch_jobs import counted
from spraycc.cluster.driver import ClusterError, Submission
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
from spraycc.cluster.registry import batch_name
from spraycc.cluster.submission_plan import SubmissionPlan
from spraycc.server.fleet.batch_commands import BatchCommands, RunCommand
from spraycc.server.fleet.executors_log import ExecutorsLog
from spraycc.server.fleet.launcher import Failed
from spraycc.server.fleet.stale_jobs import write_marker
from spraycc.server.host.subprocesses import run_command
from spraycc.server.host.supervise import PAUSE_S
from spraycc.settings import Settings
from spraycc.status_reply import Pending

log = logging.getLogger(__name__)

#: Seconds for the cancel commands at the end.
CLOSE_S = 12.0


class BatchLauncher:
    """A :class:`Launcher` whose executors run in batch jobs."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        state_dir: Path,
        *,
        failed: Failed,
        say: Callable[[str], None],
        wanted: Callable[[], bool],
        run: RunCommand = run_command,
    ) -> None:
        """
        Args:
            settings: how executors are started. Other settings need another launcher.
            command: an executor's command line without its id.
            state_dir: directory of the marker and of the executors' log.
            failed: told of executors that will not connect.
            say: shows the user a line.
            wanted: returns True if any build may use an executor now.
            run: runs the cluster manager's commands.
        """
        self._settings = settings
        self._command = tuple(command)
        self._state_dir = state_dir
        self._failed = failed
        self._say = say
        self._wanted = wanted
        #: the name of this launcher's batch jobs
        self.name = batch_name(settings, secrets.token_hex(3))
        self._commands = BatchCommands(settings, self.name, run)
        self._system = self._commands.driver.system
        self._plan = SubmissionPlan(settings, self._commands.driver)
        self._log = ExecutorsLog(state_dir / "executors.log")
        #: the file that says that batch jobs may exist; None: nothing was submitted
        self._marker: Path | None = None
        self._wake = trio.Event()
        #: set after each step of the plan, and made anew
        self._step_over = trio.Event()
        #: cancel commands that failed
        self._failed_cancels = 0
        self._scope = trio.CancelScope()

    @property
    def processes(self) -> int:
        return self._plan.processes

    @property
    def is_idle(self) -> bool:
        return self._plan.is_idle

    def submission_ids(self) -> list[str]:
        return self._plan.batch_jobs.submission_ids()

    def pending(self) -> list[Pending]:
        return self._plan.pending(trio.current_time())

    def limited(self) -> Limited | None:
        return self._plan.limited()

    def ask(self, count: int) -> None:
        self._plan.ask(count)
        self._wake.set()

    def withdraw(self) -> None:
        self._plan.withdraw()
        self._wake.set()

    async def withdrawn(self) -> None:
        failed = self._failed_cancels
        while self._plan.is_cancelling(trio.current_time()) and self._failed_cancels == failed:
            await self._step_over.wait()

    def connected(self, executor_id: str) -> None:
        self._plan.connected(executor_id)
        self._wake.set()

    def gone(self, executor_id: str) -> None:
        self._plan.left(executor_id, trio.current_time())
        self._wake.set()

    async def run(self) -> None:
        with self._scope:
            while True:
                # Make the new event before the plan, so that an event during a command leads to another plan.
                self._wake = trio.Event()
                try:
                    actions, at = self._plan.next(trio.current_time(), wanted=self._wanted())
                    for action in actions:
                        await self._carry_out(action)
                except Exception:
                    log.exception("%s: a command failed through a fault of SprayCC", self._system)
                    self._plan.failed(trio.current_time())
                    self._failed_cancels += 1
                    await trio.sleep(PAUSE_S)
                    continue
                finally:
                    self._step_over.set()
                    self._step_over = trio.Event()
                if not actions:
                    with trio.move_on_at(at):
                        await self._wake.wait()

    async def _carry_out(self, action: Command | Report) -> None:
        match action:
            case Say(text):
                self._say(text)
            case ReportFailed(count, retry_s, text, is_logged):
                self._failed(count, retry_s, self._log.explain(text) if is_logged else text)
            case Submit():
                await self._submit(action)
            case Search():
                await self._search()
            case List():
                await self._list(action)
            case Explain():
                await self._explain(action)
            case Cancel():
                await self._cancel(action)

    async def _submit(self, action: Submit) -> None:
        tag = secrets.token_hex(3)
        submission = Submission(tag, action.count, self.name, action.queue, self._command, str(self._log.path))
        if self._marker is None:
            self._marker = write_marker(self._state_dir, self._settings, self.name)
        self._plan.submitting(tag)
        try:
            ids = await self._commands.submit(submission)
        except ClusterError as exc:
            log.info("%s: %s not submitted: %s", self._system, counted(action.count), exc)
            self._plan.refused(submission, exc, trio.current_time())
            return
        log.info("%s: %s submitted as %s, tag %s", self._system, counted(action.count), ids[0].submission_id, tag)
        self._plan.submitted(submission, ids, trio.current_time())

    async def _search(self) -> None:
        try:
            found = await self._commands.search()
        except ClusterError as exc:
            log.info("%s: no search for unanswered submissions: %s", self._system, exc)
            self._plan.search_failed()
            return
        if adopted := self._plan.found(found, trio.current_time()):
            log.info("%s: adopted the unanswered submission %s", self._system, adopted)

    async def _list(self, action: List) -> None:
        asked_at = trio.current_time()
        try:
            listing = await self._commands.list(action.submission_ids)
        except ClusterError as exc:
            log.warning("%s: no listing: %s", self._system, exc)
            self._plan.list_failed(exc, trio.current_time())
            return
        self._plan.listed(listing, asked_at, trio.current_time())

    async def _explain(self, action: Explain) -> None:
        reason, error = "", None
        try:
            reason = await self._commands.explain(action.batch)
        except ClusterError as exc:
            log.warning("%s: no reason for a pending batch job: %s", self._system, exc)
            error = exc
        self._plan.explained(reason, trio.current_time(), error)

    async def _cancel(self, action: Cancel) -> None:
        log.info("%s: cancelling %s: %s", self._system, counted(len(action.ids)), action.why)
        try:
            await self._commands.cancel(action.ids, self._plan.cancelled)
        except ClusterError as exc:
            log.warning("%s: not cancelled: %s", self._system, exc)
            self._failed_cancels += 1
            self._plan.cancel_failed(exc, trio.current_time())

    async def close(self) -> None:
        """Cancel all batch jobs. If this fails, the marker stays for the next server."""
        if self._scope.cancel_called:
            return
        self._scope.cancel()
        if self._marker is None:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
            try:
                if ids := self._plan.everything():
                    await self._commands.cancel(ids)
                # By name too: a submission may have been taken without an answer.
                await self._commands.cancel_all()
                self._marker.unlink(missing_ok=True)
                return
            except Exception as exc:
                is_ours = not isinstance(exc, (ClusterError, OSError))
                log.warning("%s: not cancelled: %s", self._system, exc, exc_info=is_ours)
        log.warning("%s: batch jobs may be left; %s says which", self._system, self._marker)
