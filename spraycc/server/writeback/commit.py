"""Commits results to the disk: large results and removals in a thread, others as ``server/host/offload.py`` decides."""

from __future__ import annotations

import time

from spraycc.server.host.offload import Disk
from spraycc.server.host.temp_names import Temporaries
from spraycc.server.writeback.staging import Staging
from spraycc.system.filesystems import FileSystems

#: Results with more unwritten bytes or more changes than this are large.
INLINE_BYTES = 512 * 1024
INLINE_CHANGES = 64


class WriteBack:
    """Commits stagings to ``disk``."""

    def __init__(self, disk: Disk, *, is_own_disk: bool = False) -> None:
        """
        Args:
            is_own_disk: the workspace is on a file system of this host, whose times come from this host's clock.
        """
        self._disk = disk
        self._temporaries = Temporaries()
        self._is_own_disk = is_own_disk
        self._file_systems = FileSystems()

    def begin(self, roots: tuple[bytes, ...], token: bytes, *, is_repeatable: bool = False) -> Staging:
        """A staging for an attempt that begins now."""
        since_ns = time.time_ns() if self._is_own_disk else None
        is_shared = self._file_systems.is_shared
        return Staging(roots, token, self._temporaries, since_ns, is_shared, is_repeatable=is_repeatable)

    async def commit(self, staging: Staging) -> None:
        """Make all changes of the staging visible.

        Raises:
            ProtocolError, WriteBackError: as :meth:`Staging.commit`.
        """
        # A removal may be a large tree: only the disk knows its size.
        if staging.memory_bytes > INLINE_BYTES or staging.changes > INLINE_CHANGES or staging.removed:
            await self._disk.do_in_thread(staging.commit)
        else:
            await self._disk.do("write", staging.commit)

    async def spill(self, staging: Staging) -> None:
        """Write the contents that the staging holds in memory.

        Raises:
            WriteBackError: as :meth:`Staging.spill`.
        """
        await self._disk.do("write", staging.spill)
