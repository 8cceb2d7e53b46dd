"""Whether the event loop or a thread writes back: a thread if the disk is slow or the result is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spraycc.server.host import offload
from spraycc.server.host.offload import Disk
from spraycc.server.writeback import commit
from spraycc.server.writeback.commit import WriteBack


class World:
    """A write-back to a disk that takes as long as the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.in_thread = False
        self.write_back = WriteBack(Disk(clock=lambda: self.now_s, cpu_clock=lambda: 0.0, in_thread=self._in_thread))

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.in_thread = True
        try:
            return function(*arguments)
        finally:
            self.in_thread = False

    async def commits_inline(
        self, memory_bytes: int = 10, changes: int = 1, takes_s: float = 0.0, removes: bool = False
    ) -> bool:
        """Whether the caller's thread makes this result visible."""
        staging = FakeStaging(self, memory_bytes, changes, takes_s, removes)
        await self.write_back.commit(staging)  # type: ignore[arg-type]
        return staging.was_inline()


class FakeStaging:
    """Records whether its commit ran in the caller's thread; the commit takes ``takes_s``."""

    def __init__(
        self, world: World, memory_bytes: int = 10, changes: int = 1, takes_s: float = 0.0, removes: bool = False
    ) -> None:
        self.memory_bytes = memory_bytes
        self.changes = changes
        self.removed = {b"/w/build"} if removes else set()
        self._world = world
        self._takes_s = takes_s
        self._inline: list[bool] = []

    def commit(self) -> None:
        self._inline.append(not self._world.in_thread)
        self._world.now_s += self._takes_s

    spill = commit

    def was_inline(self) -> bool:
        (inline,) = self._inline
        return inline


async def test_a_small_result_is_written_at_once() -> None:
    assert await World().commits_inline(commit.INLINE_BYTES, commit.INLINE_CHANGES)


async def test_a_large_one_is_written_in_a_thread() -> None:
    assert not await World().commits_inline(commit.INLINE_BYTES + 1)


async def test_many_files_are_made_visible_in_a_thread() -> None:
    assert not await World().commits_inline(changes=commit.INLINE_CHANGES + 1)


async def test_a_removal_is_done_in_a_thread() -> None:
    """It may be a large tree: ``rm -r build``."""
    assert not await World().commits_inline(removes=True)


async def test_where_the_disk_hangs_all_is_written_in_threads() -> None:
    world = World()
    assert await world.commits_inline(takes_s=offload.HANGS_S)
    assert not await world.commits_inline()
    staging = FakeStaging(world)
    await world.write_back.spill(staging)  # type: ignore[arg-type]
    assert not staging.was_inline()
