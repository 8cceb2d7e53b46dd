"""The fence: before a command, make this host's file cache agree with the submit host, or refuse the task.

The server sends the submit host's stamps of files that the command may read, of names that may be missing, and of
directories that the command searches. Only stamps that are new to this executor arrive, so in a build's steady state
there is nothing to do. A cache never goes back to an older state: once a stamp agreed, the cache holds that state or a
newer one, and the proof (spraycc/executor/proof.py) finds the newer one.

Where the cache disagrees, the directories above are refreshed first: a refreshed file is of no use if the name leads
to another file. All directories at once, then all files at once, so the usual change costs two round trips. A
directory that was replaced far above needs one round trip for each level, from the top.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import trio

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.proof import directory_of
from spraycc.stamps import NAMES, Lookup, Stamp, describe
from spraycc.system.file_cache import cached, refresh
from spraycc.system.threads import run_in_thread

#: Requests to the file server in flight at once.
PARALLEL_REQUESTS = 16


class Fence:
    """Compares and refreshes. The functions that reach the disk can be replaced for tests."""

    def __init__(
        self,
        cached: Callable[[Lookup], Stamp] = cached,
        refresh: Callable[[Iterable[bytes]], None] = refresh,
        in_thread: Callable[..., Awaitable[None]] = run_in_thread,
    ) -> None:
        self._cached = cached
        self._refresh = refresh
        self._in_thread = in_thread

    async def pass_with(self, stamps: Sequence[tuple[Lookup, Stamp]]) -> None:
        """Return when this host's cache agrees with these stamps of the submit host.

        Raises:
            CaptureError: (STALE) the cache disagrees even after a refresh. The text has the first file and both stamps.
        """
        differing = await self._differing(stamps)
        if not differing:
            return
        await self.refresh_all(_directories_of(differing))
        differing = await self._differing(differing)
        if not differing:
            return
        await self.refresh_all([lookup[1:] for lookup, _ in differing])
        differing = await self._differing(differing)
        if not differing:
            return
        for level in _levels(_directories_of(differing)):
            await self.refresh_all(level)
        await self.refresh_all([lookup[1:] for lookup, _ in differing])
        if differing := await self._differing(differing):
            lookup, stamp = differing[0]
            what = "the directory " if lookup[:1] == NAMES else ""
            raise CaptureError(
                CaptureRefusal.STALE,
                f"{what}{os.fsdecode(lookup[1:])} is not as on the submit host: {describe(self._cached(lookup))} "
                f"in place of {describe(stamp)}",
            )

    async def _differing(self, stamps: Sequence[tuple[Lookup, Stamp]]) -> list[tuple[Lookup, Stamp]]:
        # For a name that is not in the cache the client asks the file server, so the comparison waits in threads.
        agrees = [False] * len(stamps)

        def compare(indices: Sequence[int]) -> None:
            for index in indices:
                lookup, stamp = stamps[index]
                agrees[index] = self._cached(lookup) == stamp

        await self._spread(compare, range(len(stamps)))
        return [entry for entry, same in zip(stamps, agrees, strict=True) if not same]

    async def refresh_all(self, paths: Sequence[bytes]) -> None:
        """Ask the file server for the attributes of these files and directories, many at once."""
        await self._spread(self._refresh, list(dict.fromkeys(paths)))

    async def _spread(self, work: Callable[..., None], items: Sequence[object]) -> None:
        """Divide the items among threads: each item may wait for a round trip."""
        async with trio.open_nursery() as nursery:
            for first in range(min(PARALLEL_REQUESTS, len(items))):
                nursery.start_soon(partial(self._in_thread, work, items[first::PARALLEL_REQUESTS]))


def _directories_of(stamps: Iterable[tuple[Lookup, Stamp]]) -> list[bytes]:
    """All directories on the way to these lookups, and those whose names count, without the root."""
    found: dict[bytes, None] = {}
    for lookup, _ in stamps:
        path = directory_of(lookup)
        while path not in found and path != b"/" and path:
            found[path] = None
            path = os.path.dirname(path)
    return list(found)


def _levels(directories: Iterable[bytes]) -> list[list[bytes]]:
    """The directories by their depth, from the top down."""
    by_depth: dict[int, list[bytes]] = {}
    for directory in directories:
        by_depth.setdefault(directory.count(b"/"), []).append(directory)
    return [by_depth[depth] for depth in sorted(by_depth)]
