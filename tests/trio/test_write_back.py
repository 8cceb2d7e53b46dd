"""Where write-back happens: at once, unless the disk was slow or the result is large."""

from __future__ import annotations

import threading
import time

from spraycc.server import writeback
from spraycc.server.writeback import WriteBack


class FakeStaging:
    """Notes the thread of its commit, and takes its time."""

    def __init__(self, memory_bytes: int = 10, takes_s: float = 0.0, changes: int = 1) -> None:
        self.memory_bytes = memory_bytes
        self.changes = changes
        self._takes_s = takes_s
        self.thread: int | None = None

    def commit(self) -> None:
        self.thread = threading.get_ident()
        time.sleep(self._takes_s)

    @property
    def was_inline(self) -> bool:
        return self.thread == threading.main_thread().ident


async def committed(disk: WriteBack, staging: FakeStaging) -> FakeStaging:
    await disk.commit(staging)  # type: ignore[arg-type]
    assert staging.thread is not None
    return staging


async def test_a_small_result_is_written_at_once() -> None:
    assert (await committed(WriteBack(), FakeStaging())).was_inline


async def test_a_large_one_is_written_in_a_thread() -> None:
    assert not (await committed(WriteBack(), FakeStaging(writeback.INLINE_BYTES + 1))).was_inline


async def test_many_files_are_made_visible_in_a_thread() -> None:
    assert not (await committed(WriteBack(), FakeStaging(changes=writeback.INLINE_CHANGES + 1))).was_inline


async def test_a_slow_disk_sends_all_to_threads_until_it_is_quick_again() -> None:
    disk = WriteBack()
    assert (await committed(disk, FakeStaging(takes_s=2 * writeback.SLOW_S))).was_inline
    for _ in range(20):
        await committed(disk, FakeStaging(takes_s=2 * writeback.SLOW_S))
    assert disk.is_slow
    assert not (await committed(disk, FakeStaging())).was_inline
    for _ in range(50):
        await committed(disk, FakeStaging())
    assert (await committed(disk, FakeStaging())).was_inline


async def test_a_single_slow_write_is_no_slow_disk() -> None:
    disk = WriteBack()
    await committed(disk, FakeStaging(takes_s=10 * writeback.SLOW_S))
    assert (await committed(disk, FakeStaging())).was_inline


async def test_one_that_hangs_sends_the_next_to_threads() -> None:
    disk = WriteBack()
    assert (await committed(disk, FakeStaging(takes_s=1.1 * writeback.HANGS_S))).was_inline
    assert not (await committed(disk, FakeStaging())).was_inline
