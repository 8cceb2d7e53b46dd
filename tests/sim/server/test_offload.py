"""Which disk work the event loop does itself, and which work goes to a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spraycc.server.host.offload import HANGS_S, SLOW_S, Disk, Kind

BOTH: list[Kind] = ["read", "write"]


class SlowDisk:
    """A disk whose work takes as long as the test says. ``disk`` measures the work with this object's clocks."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.cpu_s = 5.0
        self.in_thread = False
        self.disk = Disk(clock=lambda: self.now_s, cpu_clock=lambda: self.cpu_s, in_thread=self._in_thread)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.in_thread = True
        try:
            return function(*arguments)
        finally:
            self.in_thread = False

    async def is_inline(self, kind: Kind, takes_s: float = 0.0, cpu_s: float = 0.0) -> bool:
        """Whether the caller's thread does work that takes this long."""

        def work() -> bool:
            self.now_s += takes_s
            self.cpu_s += cpu_s
            return not self.in_thread

        return await self.disk.do(kind, work)


@pytest.mark.parametrize("kind", BOTH)
async def test_a_slow_disk_sends_a_kind_to_threads_until_it_is_quick_again(kind: Kind) -> None:
    slow = SlowDisk()
    (other,) = set(BOTH) - {kind}
    inline = [await slow.is_inline(kind, 2 * SLOW_S) for _ in range(20)]
    # The moving mean decides: with a weight of 0.1, the seventh slow work brings the mean over the limit.
    assert inline == [True] * 7 + [False] * 13
    assert slow.disk.is_slow(kind)
    assert not slow.disk.is_slow(other)
    assert await slow.is_inline(other)
    inline = [await slow.is_inline(kind) for _ in range(50)]
    # The server also measures work in threads, so it notices when the disk is quick again.
    assert inline[0] is False
    assert inline[-1] is True
    assert inline == sorted(inline)


@pytest.mark.parametrize("kind", BOTH)
async def test_a_single_slow_one_is_no_slow_disk(kind: Kind) -> None:
    slow = SlowDisk()
    await slow.is_inline(kind, 10 * SLOW_S)
    assert await slow.is_inline(kind)


@pytest.mark.parametrize("kind", BOTH)
async def test_work_that_uses_the_cpu_is_no_slow_disk(kind: Kind) -> None:
    slow = SlowDisk()
    for _ in range(20):
        assert await slow.is_inline(kind, 2 * HANGS_S, cpu_s=2 * HANGS_S)


@pytest.mark.parametrize("kind", BOTH)
async def test_one_that_hangs_sends_the_next_to_threads_whatever_they_are(kind: Kind) -> None:
    slow = SlowDisk()
    assert await slow.is_inline(kind, HANGS_S)
    assert not await slow.is_inline("read")
    assert not await slow.is_inline("write")


@pytest.mark.parametrize("in_thread", [False, True])
async def test_errors_are_the_callers_and_their_time_counts(in_thread: bool) -> None:
    slow = SlowDisk()
    if in_thread:
        await slow.is_inline("read", HANGS_S)
    where = []

    def fail() -> None:
        where.append(slow.in_thread)
        slow.now_s += HANGS_S
        raise OSError("hung, then failed")

    with pytest.raises(OSError, match="hung, then failed"):
        await slow.disk.do("write", fail)
    assert where == [in_thread]
    assert slow.disk.is_slow("write")


async def test_what_always_goes_to_a_thread_says_nothing_of_the_disk() -> None:
    slow = SlowDisk()

    def work() -> bool:
        slow.now_s += 10 * HANGS_S
        return slow.in_thread

    assert await slow.disk.do_in_thread(work)
    assert await slow.is_inline("write")
