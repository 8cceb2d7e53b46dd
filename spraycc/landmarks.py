"""Landmarks: files by which an executor shows that its workspace is the submit host's directory.

A stamp has the inode and the change time of a file. In a copy of the directory, and on another disk, the stamps differ.
So the server names some files of the workspace, and each executor answers with the stamps that its host sees. SprayCC
writes nothing into the workspace for this.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from spraycc.stamps import FILE, MISSING, NAMES, Lookup, Stamp, look

#: Most landmarks besides the workspace itself.
_MOST = 8
#: Most names in the workspace's root from which the landmarks are chosen.
_CONSIDERED = 1000


def choose(workspace: bytes) -> tuple[Lookup, ...]:
    """Lookups of the workspace itself, and of the names in it that have not changed for the longest time."""
    found: list[tuple[int, Lookup]] = []
    try:
        with os.scandir(workspace) as entries:
            for _, entry in zip(range(_CONSIDERED), entries, strict=False):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                    kind = NAMES if stat.S_ISDIR(status.st_mode) else FILE
                    found.append((status.st_ctime_ns, kind + os.path.join(workspace, entry.name)))
    except OSError:
        pass  # this user may enter the directory, but not read it
    return (NAMES + workspace, *(lookup for _, lookup in sorted(found)[:_MOST]))


class Landmarks:
    """The submit host's side: the lookups, and the stamps from the start."""

    def __init__(self, workspace: bytes) -> None:
        self.lookups = choose(workspace)
        self._first = self._look()

    def agree(self, stamps: Sequence[Stamp]) -> bool:
        """Whether a host with these stamps, in the order of ``lookups``, sees the same directory as this host.

        One equal stamp is enough, because other files may change or disappear while executors start. The stamps from
        the start count too, because all files may change at once (``chown -R``).
        """
        seen = self._first | self._look()
        pairs = zip(self.lookups, stamps, strict=False)
        return any(stamp not in (MISSING, b"") and (lookup, stamp) in seen for lookup, stamp in pairs)

    def _look(self) -> set[tuple[Lookup, Stamp]]:
        return {(lookup, look(lookup)) for lookup in self.lookups}
