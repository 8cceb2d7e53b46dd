"""Reads stamps of the submit host from its disks: one function for each kind of lookup."""

from __future__ import annotations

import os

from spraycc.stamps import (
    ALLOWED,
    CHANGE,
    CONTENTS,
    DENIED,
    EXECUTE,
    EXISTS,
    FILE,
    MISSING,
    PERMISSIONS,
    READ,
    WRITE,
    Lookup,
    Stamp,
    of_existence,
)
from spraycc.system.file_cache import as_opened, cached
from spraycc.system.file_contents import FileContents

_MODES = {READ: os.R_OK, WRITE: os.W_OK, EXECUTE: os.X_OK}


class SubmitHost:
    """Looks at the submit host as a program of the user would, now. Threads may share it."""

    def __init__(self) -> None:
        self._contents = FileContents()

    def look(self, lookup: Lookup) -> Stamp:
        """The stamp of the submit host. May wait for the file server. Never raises OSError."""
        kind, path = lookup[:1], lookup[1:]
        if kind == CONTENTS:
            return self._contents.stamp(path)
        if kind == EXISTS:
            return of_existence(cached(FILE + path))
        if kind in PERMISSIONS:
            return permission(kind, path)
        return as_opened(lookup)

    def is_slow(self, lookup: Lookup) -> bool:
        """Whether the look reads a whole file."""
        return lookup[:1] == CONTENTS and not self._contents.has(lookup[1:])


def permission(kind: bytes, path: bytes) -> Stamp:
    """ALLOWED or DENIED; MISSING if a file that must be read or executed does not exist."""
    directory = os.path.dirname(path) or b"/"
    if kind == CHANGE or (kind == WRITE and not os.path.lexists(path)):
        return ALLOWED if _may(directory, os.W_OK | os.X_OK) else DENIED
    if _may(path, _MODES[kind]):
        return ALLOWED
    return DENIED if os.path.lexists(path) or not _may(directory, os.X_OK) else MISSING


def _may(path: bytes, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
