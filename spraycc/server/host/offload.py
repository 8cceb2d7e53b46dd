"""The disk of the workspace, as the server's loop meets it: what is quick is done at once, the rest in a thread.

A thread costs some 0.2 ms of CPU a task, more than a look at a directory or writing a small object to a local disk; on
NFS a close can take many milliseconds, and a server that does not answer holds whoever asks: all builds would wait for
it, and executors give a silent server up. So work is done at once as long as its kind takes little time on the whole:
one piece that takes long may have lost the CPU to another process, and says nothing of the disk.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from spraycc.system.threads import run_in_thread

T = TypeVar("T")

#: Kinds of work that differ in what they take: on NFS a look is answered from a cache that a write is not.
Kind = Literal["look", "write"]

#: Where the mean of the last ones takes longer than this, the disk is slow.
SLOW_S = 0.003
#: How much the newest counts in that mean, and how long one can count for at most.
_WEIGHT = 0.1
_MOST_S = 0.020
#: A single piece of work that takes so long has held up everybody: the next ones go to threads, of whatever kind they
#: are and whatever the mean was.
HANGS_S = 0.25


class Disk:
    """Does work on the workspace's disk; one for all of a server, as they share it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        in_thread: Callable[..., Awaitable[Any]] = run_in_thread,
    ) -> None:
        """
        Args:
            clock: seconds of real time.
            cpu_clock: seconds of CPU time of the calling thread.
            in_thread: awaits ``function(*arguments)`` in a thread, as :func:`run_in_thread`.
        """
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._in_thread = in_thread
        #: exponential means of what work of a kind takes, in seconds that the disk was waited for
        self._mean_s: dict[Kind, float] = {"look": 0.0, "write": 0.0}

    def is_slow(self, kind: Kind) -> bool:
        """Whether work of this kind goes to threads now."""
        return self._mean_s[kind] > SLOW_S

    async def do(self, kind: Kind, work: Callable[[], T]) -> T:
        """What ``work()`` returns or raises. Others may go on meanwhile."""
        if self.is_slow(kind):
            # The mean goes on from there: a disk that is quick again is noticed.
            done: T = await self._in_thread(self._do_timed, kind, work)
            return done
        return self._do_timed(kind, work)

    async def do_in_thread(self, work: Callable[[], T]) -> T:
        """Return or raise as ``work()``, done in a thread however quick the disk is. Large work says nothing of the
        disk, so its time does not count."""
        done: T = await self._in_thread(work)
        return done

    def _do_timed(self, kind: Kind, work: Callable[[], T]) -> T:
        began, cpu_began = self._clock(), self._cpu_clock()
        try:
            return work()
        finally:
            waited_s = (self._clock() - began) - (self._cpu_clock() - cpu_began)
            if waited_s >= HANGS_S:
                self._mean_s = dict.fromkeys(self._mean_s, _MOST_S)
            else:
                self._mean_s[kind] += _WEIGHT * (min(waited_s, _MOST_S) - self._mean_s[kind])
