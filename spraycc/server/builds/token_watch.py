"""The watch over one build's tokens: replaces tokens that died with their holders, and helps a build that has stalled.

A build stalls when its recipes wait for something that only one more recipe would bring about.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping

import trio

from spraycc.jobserver.events import BuildStalled, Event, TokensChanged
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.governor import Governor
from spraycc.model import BuildId
from spraycc.server.builds.build_processes import BuildProcesses

log = logging.getLogger(__name__)

#: How often the account is compared with the FIFO.
SAMPLE_S = 0.5
#: Samples in a round. The watch searches for tokens that are unaccounted for in every sample of a round.
SAMPLES = 4
#: A search reads all processes of the host. After a search that finds none missing, the watch waits twice as many
#: rounds as before, and at most this many, before it searches for the same number again.
MOST_ROUNDS = 8
#: A build in which nothing has happened for this long gets one more recipe, if its processes use hardly any CPU.
STALLED_S = 10.0
#: After this long it gets one more recipe in any case: its processes may poll for what that recipe would bring about.
STUCK_S = 60.0
#: CPUs. A shell that polls for a file needs less.
_HARDLY_ANY_CPU = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class TokenWatch:
    """Samples one build's account in :meth:`run`. Belongs to the pool's trio thread."""

    def __init__(
        self,
        build: BuildId,
        fifo: JobserverFifo,
        governor: Governor,
        processes: BuildProcesses,
        *,
        has_runners: Callable[[], bool],
        tell: Callable[[Event], None],
        status: Callable[[], Mapping[str, int]],
    ) -> None:
        """
        Args:
            build: the build's id.
            fifo: the tokens.
            governor: only read.
            processes: the build's processes.
            has_runners: True while any registered runner has not gone.
            tell: tells the governor an event.
            status: returns the account, for the log.
        """
        self._build = build
        self._fifo = fifo
        self._governor = governor
        self._processes = processes
        self._has_runners = has_runners
        self._tell = tell
        self._status = status
        self._progress_at = trio.current_time()
        #: tokens that were written off and have not come back
        self.lost = 0

    def note_progress(self) -> None:
        """Something has happened in the build, so it has not stalled."""
        self._progress_at = trio.current_time()

    def adopt_surplus(self) -> int:
        """Take back the tokens that counted as lost and lie in the FIFO again. Returns their number."""
        found = self._fifo.adopt_surplus()
        self.lost -= found
        return found

    async def run(self) -> None:
        """Watch the tokens. Ends by cancellation."""
        missing_before = 0
        #: at the last search, this many unaccounted tokens were in use
        in_use = 0
        #: rounds since the last search, and rounds to wait before the next one
        rounds, wait_rounds = 0, 1
        stall_checked_at = -math.inf
        while True:
            unaccounted = await self._sample()
            now = trio.current_time()
            if unaccounted <= 0 or not self._governor.is_short(now):
                missing_before = 0
                continue
            rounds += 1
            may_be_stalled = now - max(self._progress_at, stall_checked_at) >= STALLED_S and not self._fifo.free()
            if unaccounted <= in_use and rounds < wait_rounds and not may_be_stalled:
                continue
            if may_be_stalled:
                stall_checked_at = now
            missing = min(await self._search(), unaccounted)
            wait_rounds = 1 if missing > 0 or unaccounted > in_use else min(2 * wait_rounds, MOST_ROUNDS)
            in_use, rounds = (unaccounted if missing <= 0 else 0), 0
            if (certain := min(missing, missing_before)) > 0:
                self._write_off(certain, "their holders have ended")
                missing = 0
            missing_before = missing

    async def _sample(self) -> int:
        """Take one round of samples. Returns the lowest number of unaccounted tokens; 0 while no token is needed.

        Once a sample has accounted for all tokens, or the build needs no token, the rest of the round can't change the
        result. The watch sleeps until its end: a server that wakes for nothing costs CPU in every second of a build.
        """
        fewest = 1 << 30
        end = trio.current_time() + SAMPLES * SAMPLE_S
        while trio.current_time() < end - SAMPLE_S / 2:
            await (trio.sleep_until(end) if fewest <= 0 and not self.lost else trio.sleep(SAMPLE_S))
            if found := self.adopt_surplus():
                log.info("build %s: %d tokens that counted as lost have come back", self._build, found)
                self._tell(TokensChanged())
            if not self._governor.is_short(trio.current_time()):
                fewest = 0
            fewest = min(fewest, self._governor.unseen - self._fifo.free())
        return fewest

    async def _search(self) -> int:
        """The number of tokens that are neither free nor in use. If the build has stalled, it gets one more recipe."""
        tokens = self._fifo.tokens
        if not self._has_runners() and self._fifo.is_abandoned() and (lost := tokens.issued - self._fifo.free()) > 0:
            self._write_off(lost, "no process has the jobserver open")
            return 0
        missing = await self._count_missing()
        if missing > 0:  # processes start and end during the count, so the smaller of two counts is right
            missing = min(missing, await self._count_missing())
        if self._fifo.free():  # no tool waits for a token, so one more would change nothing
            return missing
        quiet_s = trio.current_time() - self._progress_at
        if quiet_s >= STUCK_S or (quiet_s >= STALLED_S and await self._sleeps()):
            log.warning("build %s: nothing moves; one recipe more (%s)", self._build, self._status())
            self.note_progress()
            self._tell(BuildStalled())
        return missing

    async def _count_missing(self) -> int:
        out = self._slots_out()
        use = await self._processes.slots_in_use()
        return min(out, self._slots_out()) - use.slots if use.count else 0

    def _slots_out(self) -> int:
        """The number of tokens outside the FIFO and of implicit slots."""
        return self._fifo.tokens.issued + self._governor.tools - self._fifo.free()

    async def _sleeps(self) -> bool:
        """True if the build's processes use hardly any CPU, and wait for neither a CPU nor a disk."""
        before = await self._processes.slots_in_use()
        await trio.sleep(SAMPLE_S)
        after = await self._processes.slots_in_use()
        if not before.count or before.busy or after.busy:
            return False
        return after.ticks - before.ticks < _HARDLY_ANY_CPU * SAMPLE_S * _TICKS_PER_S

    def _write_off(self, count: int, why: str) -> None:
        count = min(count, self._fifo.tokens.issued)
        log.warning("build %s: %d tokens are lost, as %s: %s", self._build, count, why, self._status())
        self.lost += count
        self._fifo.tokens.lost(count)
        self._tell(TokensChanged())
