"""Scratch directories on the executor's local disk.

``<base>/spraycc-<uid>/executor-<host>-<pid>-<id>/`` belongs to one executor, which holds an flock on the file ``lock``
in this directory until the executor ends. The directory has one numbered directory for each task. A directory whose
lock is free was left by a killed executor: the next executor that starts removes it. ``<base>/spraycc-<uid>/lock``
serializes making and removing.

If somebody else has made ``<base>/spraycc-<uid>``, executors use a directory ``<base>/spraycc-<uid>-<random>``. To root
in a user namespace, the host's root is somebody else.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from spraycc.executor.box import Layer
from spraycc.system.paths import is_inside

_LOCK_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_PREFIX = b"executor-"
_DEAD_PREFIX = b"dead-"
#: A directory with at most this many entries (an overlay's work directory has four), and no larger file, is removed
#: at once.
_FEW_ENTRIES = 48
_FEW_BYTES = 1024 * 1024
#: The kernel takes shorter paths only (limits.h).
_PATH_MAX = 4096
_TEMPORARY_MODE = stat.S_IFDIR | 0o700


@dataclass(slots=True)
class Slot:
    """The directories of one task. Its layers are never mounted again: an overlay remembers earlier contents.

    A slot without layers serves the next task if its TMPDIR was left untouched.
    """

    path: bytes
    #: the command's TMPDIR
    temporary: bytes
    _n_layers: int = 0

    @classmethod
    def make(cls, path: bytes, layers: int) -> Slot:
        slot = cls(path, path + b"/tmp")
        os.mkdir(path, 0o700)
        os.mkdir(slot.temporary, 0o700)
        slot.have_layers(layers)
        return slot

    def have_layers(self, count: int) -> None:
        """Make the missing directories of the first ``count`` layers."""
        for number in range(self._n_layers, count):
            os.mkdir(self.path + b"/upper%d" % number, 0o700)
            os.mkdir(self.path + b"/work%d" % number, 0o700)
        self._n_layers = max(self._n_layers, count)

    def is_untouched(self) -> bool:
        """True if the slot is as :meth:`make` leaves it without layers: the command left nothing in its TMPDIR."""
        status = os.lstat(self.temporary)
        return (
            not self._n_layers
            and status.st_mode == _TEMPORARY_MODE
            and not os.listdir(self.temporary)
            and os.listdir(self.path) == [os.path.basename(self.temporary)]
            and all(name.startswith("security.") for name in os.listxattr(self.temporary))
        )

    def layers(self, roots: Sequence[bytes]) -> tuple[Layer, ...]:
        """The layers for these roots."""
        self.have_layers(len(roots))
        return tuple(
            [Layer(root, self.path + b"/upper%d" % i, self.path + b"/work%d" % i) for i, root in enumerate(roots)]
        )


class Scratch:
    """One executor's scratch directory."""

    def __init__(self, path: bytes, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._next_number = 0
        self._ready: Slot | None = None

    @classmethod
    def create(cls, base: str, name: str) -> Scratch:
        """Make ``name`` below ``base``, and remove directories that dead executors left below ``base``.

        Raises:
            OSError: ``base`` is missing or not writable.
        """
        home = _home_below(os.fsencode(os.path.realpath(base)))
        dead: list[bytes] = []
        with open(os.open(home + b"/lock", _LOCK_FLAGS, 0o600), "ab") as order:
            fcntl.flock(order, fcntl.LOCK_EX)
            for entry in os.listdir(home):
                if entry.startswith(_PREFIX) and not _is_alive(home + b"/" + entry):
                    corpse = home + b"/" + _DEAD_PREFIX + entry
                    with contextlib.suppress(FileNotFoundError):  # the executor was leaving, and is gone now
                        os.rename(home + b"/" + entry, corpse)
                        dead.append(corpse)
                elif entry.startswith(_DEAD_PREFIX):
                    dead.append(home + b"/" + entry)
            path = home + b"/" + _PREFIX + os.fsencode(name)
            os.mkdir(path, 0o700)
            lock = os.open(path + b"/lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for corpse in dead:
            remove_tree(corpse)
        return cls(path, lock)

    def prepare(self, layers: int) -> None:
        """Make a slot with this many layers for the next :meth:`take`, which is quicker then."""
        if self._ready is None:
            self._ready = self._make(layers)

    def take(self) -> Slot:
        """A fresh slot. The caller owns it, and removes it with :func:`remove_tree`."""
        slot, self._ready = self._ready or self._make(0), None
        return slot

    def take_again(self, slot: Slot) -> bool:
        """Keep a slot for the next :meth:`take`, if the task left it untouched. False if the caller still owns it."""
        with contextlib.suppress(OSError):
            if self._ready is None and slot.is_untouched():
                self._ready = slot
                return True
        return False

    def new_path(self) -> bytes:
        """The path of a new directory of this scratch directory. The caller makes the directory."""
        self._next_number += 1
        return self.path + b"/%d" % self._next_number

    def _make(self, layers: int) -> Slot:
        return Slot.make(self.new_path(), layers)

    def remove(self) -> None:
        """Remove the scratch directory."""
        remove_tree(self.path)
        os.close(self._lock)


def candidates(explicit: str | None, tmpdir: str | None, workspace: bytes) -> list[str]:
    """Directories to try, best first.

    No directory is in the workspace. Directories in /tmp come last unless asked for, because /tmp is overlaid too.
    """
    usual = [d for d in (tmpdir, "/var/tmp", "/tmp", "/dev/shm") if d]
    usual.sort(key=lambda d: is_inside(os.fsencode(os.path.realpath(d)), b"/tmp"))
    found = dict.fromkeys([explicit, *usual] if explicit else usual)
    return [d for d in found if not is_inside(os.fsencode(os.path.realpath(d)), workspace)]


def _home_below(base: bytes) -> bytes:
    """This user's directory below ``base``, which is made if it is missing."""
    usual = os.path.join(base, b"spraycc-%d" % os.geteuid())
    try:
        # Another user may have made the last part of the path, so do not follow a link at its place.
        _private_directory(usual)
    except PermissionError:
        if not os.path.lexists(usual):
            raise
    else:
        return usual
    for entry in sorted(os.listdir(base)):
        path = os.path.join(base, entry)
        if path.startswith(usual + b"-") and os.lstat(path).st_uid == os.geteuid():
            with contextlib.suppress(PermissionError):
                _private_directory(path)
                return path
    path = tempfile.mkdtemp(prefix=os.path.basename(usual) + b"-", dir=base)
    _private_directory(path)
    return path


def _private_directory(path: bytes) -> None:
    """Make the directory, or check that it is ours and that no other user can have written to it."""
    is_new = True
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        is_new = False
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise PermissionError(f"{os.fsdecode(path)} is not a directory of ours: {exc.strerror}") from None
    try:
        status = os.fstat(directory)
        if status.st_uid != os.geteuid() or (status.st_mode & 0o022 and not is_new):
            raise PermissionError(f"{os.fsdecode(path)} is not a directory of ours alone")
        # In a setgid directory the new directory inherits group and bit, and so would the layers below it.
        os.chown(directory, -1, os.getegid())
        os.chmod(directory, 0o700)
    finally:
        os.close(directory)


def _is_alive(path: bytes) -> bool:
    """True if the executor that made the directory holds its lock."""
    try:
        lock = os.open(path + b"/lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def remove_tree(path: bytes) -> None:
    """Remove a directory with its contents, whatever the modes are (an overlay's ``work/work`` has mode 0).

    No process may write to the directory any more. Other processes may remove entries meanwhile. Entries that can't be
    removed stay for the next executor. Links are removed, and never followed.
    """
    if os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    _remove(path, most_entries=math.inf, most_bytes=math.inf)


def remove_if_small(path: bytes) -> bool:
    """Remove a directory or file if the removal is quick. False if a part is left."""
    return _remove(path, most_entries=_FEW_ENTRIES, most_bytes=_FEW_BYTES)


def _remove(path: bytes, *, most_entries: float, most_bytes: float) -> bool:
    """Remove a directory. False, with a part left, if it holds more entries or larger files than the limits.

    A command can make a tree whose paths are too long for system calls. Its lower part is moved up, and then removed.
    """
    pending, directories = [path], []
    short_names = (path + b"/.spraycc-moved-%d" % number for number in itertools.count())
    while pending:
        directory = pending.pop()
        directories.append(directory)
        with contextlib.suppress(OSError):
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                os.chmod(directory, 0o700)
            with os.scandir(directory) as entries:
                for entry in entries:
                    most_entries -= 1
                    is_long = len(entry.path) >= _PATH_MAX
                    if most_entries < 0 or (is_long and most_bytes < math.inf):
                        return False
                    if is_long:
                        pending += _moved_up(directory, entry, next(short_names))
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        continue
                    if most_bytes < math.inf and entry.stat(follow_symlinks=False).st_size > most_bytes:
                        return False
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
    for directory in reversed(directories):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return True


def _moved_up(directory: bytes, entry: os.DirEntry[bytes], place: bytes) -> list[bytes]:
    """Remove an entry whose path is too long. A directory is moved to ``place``, and returned."""
    with contextlib.suppress(OSError):
        within = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=within)
                return []
            os.chmod(entry.name, 0o700, dir_fd=within)  # a rename changes the directory's own entry ".."
            os.rename(entry.name, place, src_dir_fd=within)
            return [place]
        finally:
            os.close(within)
    return []
