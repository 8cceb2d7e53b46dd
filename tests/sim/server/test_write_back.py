"""Where write-back happens: at once, unless the disk is slow or the result is large."""

from __future__ import annotations

import threading
import time

from spraycc.server import disk, writeback
from spraycc.server.disk import Disk
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

    spill = commit

    @property
    def was_inline(self) -> bool:
        return self.thread == threading.main_thread().ident


async def committed(staging: FakeStaging, disk: Disk | None = None) -> FakeStaging:
    await WriteBack(disk or Disk()).commit(staging)  # type: ignore[arg-type]
    assert staging.thread is not None
    return staging


async def test_a_small_result_is_written_at_once() -> None:
    assert (await committed(FakeStaging())).was_inline


async def test_a_large_one_is_written_in_a_thread() -> None:
    assert not (await committed(FakeStaging(writeback.INLINE_BYTES + 1))).was_inline


async def test_many_files_are_made_visible_in_a_thread() -> None:
    assert not (await committed(FakeStaging(changes=writeback.INLINE_CHANGES + 1))).was_inline


async def test_where_the_disk_hangs_all_is_written_in_threads() -> None:
    slow, staging = Disk(), FakeStaging()
    assert (await committed(FakeStaging(takes_s=1.1 * disk.HANGS_S), slow)).was_inline
    assert not (await committed(FakeStaging(), slow)).was_inline
    await WriteBack(slow).spill(staging)  # type: ignore[arg-type]
    assert not staging.was_inline
