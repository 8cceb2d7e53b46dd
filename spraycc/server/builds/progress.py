"""Sends a build's progress to its command line, at an interval and only if something has changed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from spraycc.server.builds.build import Build
from spraycc.server.builds.expectation import Earlier, search
from spraycc.status_reply import BuildCounts
from spraycc.system.threads import run_in_thread
from spraycc.wire.runner import FROM_SERVER, Progress

log = logging.getLogger(__name__)

#: No command line needs figures more often.
LEAST_INTERVAL_S = 0.1


def progress_of(build: Build, counts: BuildCounts | None) -> dict[str, int | None]:
    """A build's progress: ``here``, ``waiting``, ``done``, ``expected`` and ``rest_s`` (docs/reference/protocol.md).

    ``counts``: the scheduler's counts of the build; None: the scheduler does not know the build.
    """
    remote = here = waiting = 0
    if counts is not None:
        remote = counts["remote"]
        here = counts["here_heavy"] + counts["here_light"] + counts["here_compile"] + counts["here_now"]
        waiting = counts["queued"] + counts["waiting_here"]
    tasks = build.figures.tasks
    # A task that is answered is done, although its runner has not ended yet.
    done = max(0, tasks - remote - here - waiting)
    expected, rest_s = build.expectation.of(tasks, done, time.monotonic() - build.started)
    return {"here": here, "waiting": waiting, "done": done, "expected": expected, "rest_s": rest_s}


class ProgressReports:
    """The messages to one command line. :meth:`close` ends :meth:`run`."""

    def __init__(
        self, build: Build, interval_s: float, figures: Callable[[], dict[str, Any]], state_dir: Path | None
    ) -> None:
        """
        Args:
            build: the messages go to its command line.
            interval_s: seconds between two messages, as the command line wants.
            figures: returns the figures, as docs/reference/protocol.md describes them. It must not wait.
            state_dir: has the records of earlier builds; None: there are none.
        """
        self._build = build
        self._interval_s = max(LEAST_INTERVAL_S, interval_s) if math.isfinite(interval_s) else math.inf
        self._state_dir = state_dir
        self._figures = figures
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Send messages until the end. A failure ends the messages and nothing else."""
        try:
            with self._scope:
                await self._run()
        except Exception:
            log.exception("the progress of a build is not sent any more")

    async def _run(self) -> None:
        sent: dict[str, Any] = {}
        expectation = self._build.expectation
        while True:
            await trio.sleep(self._interval_s)
            if expectation.wants_search:
                expectation.set(await self._search(tuple(expectation.first)))
            figures = self._figures()
            if figures != sent:
                sent = figures
                # Waits for a command line that does not read (it is stopped), so nothing piles up.
                await self._build.control.send(FROM_SERVER.pack(Progress(figures)))

    async def _search(self, first: tuple[str, ...]) -> Earlier | None:
        if self._state_dir is None:
            return None
        try:
            return await run_in_thread(search, self._state_dir, self._build.id, first, abandon_on_cancel=True)
        except Exception:  # a record may hold anything; the figures of this build don't depend on it
            log.exception("the records of earlier builds can't be searched")
            return None

    def close(self) -> None:
        self._scope.cancel()
