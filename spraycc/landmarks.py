"""Landmarks: files by which an executor shows that its workspace is the submit host's directory, not one of that name.

A stamp has the inode and the change time of a file. No other directory has the same ones, neither a copy nor another
disk's. So the server names some files of the workspace, and each executor answers with the stamps that its host sees.
Nothing is written into the workspace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from spraycc.stamps import FILE, MISSING, NAMES, Lookup, Stamp, look

#: Files that are named besides the workspace itself.
_MOST = 8
#: Names of the workspace's root that are considered.
_CONSIDERED = 1000


def choose(workspace: bytes) -> tuple[Lookup, ...]:
    """The workspace itself, and those names in it that have not changed for longest. Takes a look at each."""
    found: list[tuple[int, Lookup]] = []
    try:
        with os.scandir(workspace) as entries:
            for _, entry in zip(range(_CONSIDERED), entries, strict=False):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                    kind = NAMES if stat.S_ISDIR(status.st_mode) else FILE
                    found.append((status.st_ctime_ns, kind + os.path.join(workspace, entry.name)))
    except OSError:
        pass  # it may be entered and not be read
    return (NAMES + workspace, *(lookup for _, lookup in sorted(found)[:_MOST]))


class Landmarks:
    """The submit host's side: what is named, and what it looked like."""

    def __init__(self, workspace: bytes) -> None:
        """Takes a look at each."""
        self.lookups = choose(workspace)
        self._first = self._look()

    def agree(self, stamps: Sequence[Stamp]) -> bool:
        """Whether a host with these stamps, in the order of ``lookups``, sees the same directory as this host.

        One equal stamp shows it: other files may be changed, made anew or removed while executors start. A stamp of the
        first look counts as well, as all of them may be changed at once (``chown -R``).
        """
        seen = self._first | self._look()
        pairs = zip(self.lookups, stamps, strict=False)
        return any(stamp not in (MISSING, b"") and (lookup, stamp) in seen for lookup, stamp in pairs)

    def _look(self) -> set[tuple[Lookup, Stamp]]:
        return {(lookup, look(lookup)) for lookup in self.lookups}
