"""Runs the commands of a cluster manager and reads their output."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from spraycc.cluster.driver import BatchId, BatchJob, ClusterError, Reply, Submission, Trouble
from spraycc.cluster.registry import client_environment, driver_for
from spraycc.notices import cluster as notices
from spraycc.server.host.subprocesses import run_command
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: A cancelled batch job may be listed for this long. (OpenPBS lists one that was running for ten seconds; at a server's
#: end, executors have left before.)
LISTED_S = 5.0
#: Pause before another look at what was cancelled.
LISTED_AGAIN_S = 1.0

#: Runs one command, as :func:`run_command` does: argv, stdin, environment, timeout_s.
RunCommand = Callable[[Sequence[str], bytes, Mapping[str, str], float], Awaitable[Reply]]


def user_name() -> str:
    """The owner of the batch jobs."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


class BatchCommands:
    """The commands of one cluster manager for one session of a server.

    All methods raise ClusterError if the command can't run or does not end in time; all but ``cancel`` and ``explain``
    also if the command fails.
    """

    def __init__(self, settings: Settings, name: str, run: RunCommand = run_command) -> None:
        """
        Args:
            settings: the cluster, and how its commands are called.
            name: the name of all batch jobs of the session.
            run: runs the commands.
        """
        self.driver = driver_for(settings, user_name())
        self.name = name
        self._timeout_s = settings.cluster_timeout_s
        self._environment = client_environment(os.environ, settings.kept_variables)
        self._run_command = run

    async def _run(self, argv: Sequence[str], stdin: bytes = b"") -> Reply:
        try:
            return await self._run_command(argv, stdin, self._environment, self._timeout_s)
        except ClusterError as exc:
            raise self.driver.in_time(exc) from None

    async def submit(self, submission: Submission) -> tuple[BatchId, ...]:
        """Submit an array. Returns the ids of its batch jobs."""
        command = self.driver.submit_command(submission)
        return self.driver.parse_submit(submission, await self._run(command.argv, command.stdin))

    async def list(self, submission_ids: Sequence[str]) -> Sequence[BatchJob]:
        """The batch jobs of at least these submissions."""
        return self.driver.parse_list(await self._run(self.driver.list_command(submission_ids)))

    async def explain(self, batch: BatchId) -> str:
        """The reason why a batch job is pending, or empty."""
        argv = self.driver.explain_command(batch)
        return "" if argv is None else self.driver.parse_explain(await self._run(argv))

    async def search(self) -> tuple[str, ...]:
        """The submissions with this session's name."""
        return self.driver.parse_search(self.name, await self._run(self.driver.search_command(self.name)))

    async def cancel(self, ids: Sequence[BatchId], done: Callable[[Sequence[BatchId]], None] | None = None) -> None:
        """Cancel batch jobs. It is no error if a batch job is gone already.

        Args:
            ids: the batch jobs.
            done: told of the batch jobs that each command has cancelled.
        """
        for command in self.driver.cancel_commands(ids):
            self.driver.check_cancel(await self._run(command.argv))
            if done is not None:
                done(command.batches)

    async def cancel_all(self) -> int:
        """Search by name and cancel all batch jobs of the session, until none is listed.

        Returns:
            The number of submissions.

        Raises:
            ClusterError: as above, or some are still listed after a while.
        """
        found = await self.search()
        if not found:
            return 0
        log.info("%s: cancelling %d submissions named %s", self.driver.system, len(found), self.name)
        await self.cancel([BatchId(submission_id) for submission_id in found])
        end = trio.current_time() + LISTED_S
        while left := await self.search():
            if trio.current_time() >= end:
                text = notices.STILL_LISTED.text(system=self.driver.system, ids=" ".join(left))
                raise ClusterError(Trouble.BUSY, text)
            await trio.sleep(LISTED_AGAIN_S)
        return len(found)
