"""Work on the workspace's disk: in the event loop while the disk is quick, otherwise in a thread.

A thread costs some 0.2 ms of CPU a task. That is more than reading a directory of a local disk or writing a small
object to it. On NFS a close can take many milliseconds. All builds wait while the event loop does, and executors give
up a silent server. So the mean time of each kind of work decides. A single slow piece may have lost the CPU to another
process, and says nothing about the disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import trio

from spraycc.system.threads import run_in_thread

T = TypeVar("T")

#: Each kind has its own mean time: on NFS a cache answers a read, but not a write.
Kind = Literal["read", "write"]

#: The disk is slow for a kind of work if the mean wait is longer than this.
SLOW_S = 0.003
#: The weight of the newest piece of work in the mean, and the longest wait that a piece can count with.
_WEIGHT = 0.1
_MOST_S = 0.020
#: After one piece of work with a wait of this length, work of both kinds goes to threads, whatever the means were.
HANGS_S = 0.25
#: More threads would mostly wait for the interpreter lock.
_FEW_THREADS = 8


class Disk:
    """Does work on the workspace's disk. All parts of a server share one, because they share the disk."""

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
        #: number of connections that receive contents for this disk now
        self.receiving = 0
        self._few = trio.CapacityLimiter(max(2, min(len(os.sched_getaffinity(0)), _FEW_THREADS)))
        #: exponential means of the time that a piece of work waits for the disk, in seconds
        self._mean_s: dict[Kind, float] = {"read": 0.0, "write": 0.0}

    def is_slow(self, kind: Kind) -> bool:
        """Whether work of this kind goes to threads now."""
        return self._mean_s[kind] > SLOW_S

    async def do(self, kind: Kind, work: Callable[[], T]) -> T:
        """Do ``work()`` in the event loop or a thread. Returns or raises as ``work()``."""
        if self.is_slow(kind):
            # Timed in the thread as well, so that the mean falls when the disk is quick again.
            done: T = await self._in_thread(self._do_timed, kind, work)
            return done
        return self._do_timed(kind, work)

    async def do_in_thread(self, work: Callable[[], T]) -> T:
        """Do large ``work()`` in a thread. Its time says nothing about the disk, and does not count."""
        done: T = await self._in_thread(work)
        return done

    async def do_in_few_threads(self, work: Callable[[], T]) -> T:
        """Do ``work()`` that needs a core all the time, in one of few threads: one for each core, at most eight."""
        done: T = await self._in_thread(work, limiter=self._few)
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
