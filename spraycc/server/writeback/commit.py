"""Commits results to the disk: small ones at once if the disk is quick, others in a thread (server/host/offload.py)."""

from __future__ import annotations

import time

from spraycc.server.host.offload import Disk
from spraycc.server.host.temp_names import Temporaries
from spraycc.server.writeback.staging import Staging

#: Results that have so much still to be written are candidates for writing at once; with more files than that a thread
#: makes them visible.
INLINE_BYTES = 512 * 1024
INLINE_CHANGES = 64


class WriteBack:
    """Commits stagings to ``disk``."""

    def __init__(self, disk: Disk, *, is_own_disk: bool = False) -> None:
        """``is_own_disk``: the workspace is on a file system of this host, which takes times from this host's clock."""
        self._disk = disk
        #: for all stagings that are committed here
        self.temporaries = Temporaries()
        self._is_own_disk = is_own_disk

    def begin(self, roots: tuple[bytes, ...], token: bytes) -> Staging:
        """A staging for an attempt that begins now."""
        return Staging(roots, token, self.temporaries, time.time_ns() if self._is_own_disk else None)

    async def commit(self, staging: Staging) -> None:
        """Make everything of it visible.

        Raises:
            ProtocolError, WriteBackError: as :meth:`Staging.commit`.
        """
        if staging.memory_bytes > INLINE_BYTES or staging.changes > INLINE_CHANGES:
            await self._disk.do_in_thread(staging.commit)
        else:
            await self._disk.do("write", staging.commit)

    async def spill(self, staging: Staging) -> None:
        """Write what it holds in memory.

        Raises:
            WriteBackError: as :meth:`Staging.spill`.
        """
        await self._disk.do("write", staging.spill)
