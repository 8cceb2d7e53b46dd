"""Where write-back happens: at once where the disk is quick, in a thread where it is not.

A thread costs some 0.2 ms of CPU a task, more than writing a small object to a local disk; on NFS a close can take many
milliseconds, and all builds would wait for it. So small results are written at once as long as that takes little time
on the whole: one that takes long may have lost the CPU to another process, and says nothing of the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from spraycc.server.temporaries import Temporaries
from spraycc.server.writer import Staging
from spraycc.threads import run_in_thread

#: Results that have so much still to be written are candidates for writing at once; with more files than that a thread
#: makes them visible.
INLINE_BYTES = 512 * 1024
INLINE_CHANGES = 64
#: Where the mean of the last ones takes longer than this, the disk is slow.
SLOW_S = 0.003
#: How much the newest counts in that mean, and how long one can count for at most.
_WEIGHT = 0.1
_MOST_S = 0.020
#: A single result that takes so long has held up everybody: the next ones go to threads, whatever the mean was.
HANGS_S = 0.25


class WriteBack:
    """Commits stagings; one for all executors of a server, as they share its disk."""

    def __init__(self) -> None:
        #: for all stagings that are committed here
        self.temporaries = Temporaries()
        #: exponential mean of what small results take, in seconds that the disk was waited for
        self._mean_s = 0.0

    @property
    def is_slow(self) -> bool:
        return self._mean_s > SLOW_S

    async def commit(self, staging: Staging) -> None:
        """Make everything of it visible.

        Raises:
            ProtocolError, WriteBackError: as :meth:`Staging.commit`.
        """
        if staging.memory_bytes > INLINE_BYTES or staging.changes > INLINE_CHANGES:
            await run_in_thread(staging.commit)
        else:
            await self._do(staging.commit)

    async def spill(self, staging: Staging) -> None:
        """Write what it holds in memory.

        Raises:
            WriteBackError: as :meth:`Staging.spill`.
        """
        await self._do(staging.spill)

    async def _do(self, work: Callable[[], None]) -> None:
        if self.is_slow:
            # The mean goes on from there: a disk that is quick again is noticed.
            await run_in_thread(self._do_timed, work)
        else:
            self._do_timed(work)

    def _do_timed(self, work: Callable[[], None]) -> None:
        began, cpu_began = time.perf_counter(), time.thread_time()
        try:
            work()
        finally:
            waited_s = (time.perf_counter() - began) - (time.thread_time() - cpu_began)
            weight = _WEIGHT if waited_s < HANGS_S else 1.0
            self._mean_s += weight * (min(waited_s, _MOST_S) - self._mean_s)
