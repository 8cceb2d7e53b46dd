"""Which work on the disk the loop does itself, and which goes to a thread."""

from __future__ import annotations

import threading
import time

import pytest

from spraycc.server import disk as disk_module
from spraycc.server.disk import HANGS_S, SLOW_S, Disk, Kind

BOTH: list[Kind] = ["look", "write"]


async def is_inline(disk: Disk, kind: Kind, takes_s: float = 0.0) -> bool:
    """Whether work that takes so long is done by the caller's thread."""

    def work() -> int:
        time.sleep(takes_s)
        return threading.get_ident()

    return await disk.do(kind, work) == threading.main_thread().ident


@pytest.mark.parametrize("kind", BOTH)
async def test_a_slow_disk_sends_a_kind_to_threads_until_it_is_quick_again(kind: Kind) -> None:
    disk = Disk()
    (other,) = set(BOTH) - {kind}
    assert await is_inline(disk, kind, 2 * SLOW_S)
    for _ in range(20):
        await is_inline(disk, kind, 2 * SLOW_S)
    assert disk.is_slow(kind)
    assert not disk.is_slow(other)
    assert not await is_inline(disk, kind)
    assert await is_inline(disk, other)
    for _ in range(50):
        await is_inline(disk, kind)
    assert await is_inline(disk, kind)


@pytest.mark.parametrize("kind", BOTH)
async def test_a_single_slow_one_is_no_slow_disk(kind: Kind) -> None:
    disk = Disk()
    await is_inline(disk, kind, 10 * SLOW_S)
    assert await is_inline(disk, kind)


@pytest.mark.parametrize("kind", BOTH)
async def test_one_that_hangs_sends_the_next_to_threads_whatever_they_are(kind: Kind) -> None:
    disk = Disk()
    assert await is_inline(disk, kind, 1.1 * HANGS_S)
    assert not await is_inline(disk, "look")
    assert not await is_inline(disk, "write")


@pytest.mark.parametrize("in_thread", [False, True])
async def test_errors_are_the_callers_and_their_time_counts(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "HANGS_S", 0.01)
    disk = Disk()
    if in_thread:
        await is_inline(disk, "look", 0.02)

    def fail() -> None:
        time.sleep(0.02)
        raise OSError("hung, then failed")

    with pytest.raises(OSError, match="hung, then failed"):
        await disk.do("write", fail)
    assert disk.is_slow("write")
