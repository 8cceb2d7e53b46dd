"""Files on this host's own disks: which of a command's lookups there count, and how two hosts can compare them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from spraycc.stamps import CONTENTS, EXISTS, FILE, MISSING, Lookup, Stamp, is_failure, is_regular, of_existence
from spraycc.system.file_contents import FileContents
from spraycc.system.paths import is_inside

#: Directories in which each host has files of its own. Their contents are never compared.
_OWN_TO_EACH_HOST = tuple(b"/" + name for name in b"etc run var/cache var/log var/run var/spool proc sys dev".split())
#: Directories of the system in which programs look for many files that change nothing. /usr/include, /usr/local and
#: /opt are not in this list: if a header is only on the submit host, a compile may find another header.
_SYSTEM = _OWN_TO_EACH_HOST + tuple(
    b"/" + name
    for name in (
        b"usr/bin usr/sbin usr/lib usr/lib32 usr/lib64 usr/libx32 usr/libexec usr/share usr/local/bin usr/local/lib "
        b"usr/local/share bin sbin lib lib32 lib64 libx32"
    ).split()
)


class OwnDisk:
    """Selects the lookups of one command on this host's own disks that count."""

    def __init__(
        self,
        contents: FileContents,
        real: Callable[[bytes], bytes],
        opened: frozenset[Lookup],
        *,
        failed: bool,
        compiles: bool,
    ) -> None:
        """
        Args:
            contents: the contents that were read before.
            real: a directory's path without links.
            opened: the lookups by which the command had contents.
            failed: all lookups count.
            compiles: lookups in the system's directories count, too: the compiler looks there for its parts.
        """
        self._contents = contents
        self._real = real
        self._opened = opened
        self._failed = failed
        self._compiles = compiles
        #: directory -> whether files in it are compared by contents, whether all lookups in it count
        self._directories: dict[bytes, tuple[bool, bool]] = {}

    def unread(
        self, lookups: Iterable[tuple[Lookup, Stamp]], concerns: Callable[[bytes], bool]
    ) -> list[tuple[bytes, Stamp]]:
        """The files whose contents count and are not known yet, each with the state that the command saw."""
        found = []
        for lookup, stamp in lookups:
            if lookup in self._opened and is_regular(stamp):
                path = lookup[1:]
                directory = os.path.dirname(path)
                if not concerns(directory) and self._rules(directory)[0] and not self._contents.known(path, stamp):
                    found.append((path, stamp))
        return found

    def read(self, files: Iterable[tuple[bytes, Stamp]]) -> None:
        """Learn the contents of these files. For a thread."""
        for path, stamp in files:
            self._contents.stamp(path, stamp)

    def compared(self, lookup: Lookup, stamp: Stamp) -> tuple[Lookup, Stamp] | None:
        """The lookup and stamp that the server compares; None if the lookup means nothing."""
        kind, path = lookup[:1], lookup[1:]
        has_contents, counts = self._rules(os.path.dirname(path))
        if kind == FILE and is_regular(stamp) and lookup in self._opened:
            if not has_contents:
                return None
            return CONTENTS + path, self._contents.known(path, stamp) or self._contents.stamp(path, stamp)
        if not counts:
            return None
        if stamp == MISSING or (kind == FILE and not is_failure(stamp)):
            return EXISTS + path, of_existence(stamp)
        return (lookup, stamp) if is_failure(stamp) else None

    def _rules(self, directory: bytes) -> tuple[bool, bool]:
        rules = self._directories.get(directory)
        if rules is None:
            real = self._real(directory)
            has_contents = not is_in(real, _OWN_TO_EACH_HOST)
            ignored = _OWN_TO_EACH_HOST if self._compiles else _SYSTEM
            counts = self._failed or not is_in(real, ignored)
            rules = self._directories[directory] = (has_contents, counts)
        return rules


def is_in(directory: bytes, places: Iterable[bytes]) -> bool:
    """Whether the directory is one of these places, or is in one."""
    return any(is_inside(directory, place) for place in places)
