"""Before the first change of a result: its deletions that come first, the rights, and a place for the new contents."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence, Set

from spraycc.errors import WriteBackError
from spraycc.wire.executor import Deleted, MadeDirectory, MadeFile, MadeSymlink

#: A message that changes one path.
PathChange = Deleted | MadeDirectory | MadeSymlink | MadeFile


def made_paths(changes: Iterable[PathChange]) -> set[bytes]:
    """The paths of all that a command has made, and of the directories above. A deletion of such a path makes room."""
    made: set[bytes] = set()
    for change in changes:
        path = b"" if isinstance(change, Deleted) else change.path
        while len(path) > 1 and path not in made:
            made.add(path)
            path = os.path.dirname(path)
    return made


def check_rights(changes: Sequence[PathChange], making_room: Set[bytes]) -> None:
    """Check that all changes are allowed, while nothing is changed yet.

    The command may have changed modes for a moment: ``chmod u+w d; echo x > d/new; chmod u-w d``.

    Args:
        changes: a result.
        making_room: deletions of these paths come before all other changes.

    Raises:
        WriteBackError: a directory on this host does not let its entries be changed.
    """
    # A directory of the result is writable from its own change on.
    opened = {change.path for change in changes if isinstance(change, MadeDirectory)}
    for change in changes:
        path = change.path
        within = os.path.dirname(path)
        if isinstance(change, MadeDirectory) and not change.emptied and os.path.isdir(path):
            continue  # only its mode and time change
        if within not in opened or (isinstance(change, Deleted) and path in making_room):
            _check_directory(path, within, os.W_OK | os.X_OK)
        is_removed = isinstance(change, Deleted) or (isinstance(change, MadeDirectory) and change.emptied)
        if is_removed and not os.path.islink(path):
            for directory, *_ in os.walk(path):
                _check_directory(path, directory, os.R_OK | os.W_OK | os.X_OK)


def kept_directory(directory: bytes, removed: Set[bytes], made: Set[bytes]) -> bytes:
    """A place for a temporary file: the directory, or the nearest one above it in which the file can stay.

    Args:
        directory: the place of the final file.
        removed: the result removes these directories with all that is in them.
        made: the result makes these directories, or changes their modes. The file can't be made in some of them yet.
    """
    kept = directory
    while (removed or made) and len(directory) > 1:
        above = os.path.dirname(directory)
        if directory in removed or (directory in made and _is_closed(directory, above)):
            kept = above
        directory = above
    return kept


def _is_closed(directory: bytes, above: bytes) -> bool:
    """True if a file can't be made in the directory, and would have the same group if it came from the one above."""
    try:
        statuses = os.stat(directory), os.stat(above)
    except OSError:
        return False
    groups = {(status.st_gid, status.st_mode & stat.S_ISGID) for status in statuses}
    return len(groups) == 1 and not os.access(directory, os.W_OK | os.X_OK)


def _check_directory(path: bytes, directory: bytes, rights: int) -> None:
    # A directory that is missing is made by the same result.
    if not os.access(directory, rights) and os.path.isdir(directory):
        raise WriteBackError(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
