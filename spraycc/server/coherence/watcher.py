"""Changes in directories, reported by inotify(7).

Inotify sees the changes that are made on this host through a path in a watched directory. It sees no change by another
host on a shared file system, no write through a memory map, and no change through a hard link in another directory.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import struct
import termios
import threading
from typing import NamedTuple

#: The most watched directories. The kernel's limit for a user was 8,192 before Linux 5.11; since then it depends on the
#: host's memory.
LIMIT = 20_000

# <sys/inotify.h>
_MODIFY = 0x2
_ATTRIB = 0x4
_CLOSE_WRITE = 0x8
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_DELETE_SELF = 0x400
_MOVE_SELF = 0x800
_UNMOUNT = 0x2000
_Q_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x01000000
_ISDIR = 0x40000000

_NAMES = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT
_WATCHED = _NAMES | _MODIFY | _ATTRIB | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

#: struct inotify_event without the name: watch descriptor, mask, cookie, length of the name with its padding
_EVENT = struct.Struct("=iIII")


class Change(NamedTuple):
    """Something happened in a watched directory, or to it."""

    #: the path as given to ``watch``; b"": see ``everything``
    directory: bytes
    #: the name in the directory; b"": the directory itself
    name: bytes = b""
    #: the name is that of a directory
    is_directory: bool = False
    #: the name was made, removed or replaced; False: the file's contents or attributes changed
    names: bool = False
    #: the watched directory itself was removed, renamed or unmounted
    gone: bool = False
    #: changes were lost: anything may have changed in any directory
    everything: bool = False


EVERYTHING = Change(b"", everything=True)


class Watcher:
    """An inotify descriptor and the directories it watches. The owner calls :meth:`close`.

    Threads may call :meth:`watch` while another calls :meth:`events`.
    """

    def __init__(self, fd: int, libc: ctypes.CDLL, limit: int = LIMIT) -> None:
        """Takes ownership of an inotify descriptor. Use :meth:`open` instead."""
        self._fd = fd
        self._libc = libc
        self._limit = limit
        #: Held for a moment, never during a system call that may wait for a file server.
        self._lock = threading.Lock()
        #: watch descriptor -> paths: the kernel has one descriptor for a directory, even if several paths lead to it
        self._paths: dict[int, list[bytes]] = {}
        self._descriptors: dict[bytes, int] = {}
        self._kernel_is_full = False
        #: removed watch descriptors of which events may still be queued
        self._removed: set[int] = set()

    @staticmethod
    def open(limit: int = LIMIT) -> Watcher | None:
        """A new watcher; None if the kernel refuses (max_user_instances, or the process's limit of files)."""
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:  # a C library without inotify
            return None
        return Watcher(fd, libc, limit) if fd >= 0 else None

    def close(self) -> None:
        """End all watches. May be called twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1
            self._paths.clear()
            self._descriptors.clear()

    def fileno(self) -> int:
        """Readable while events are queued."""
        return self._fd

    def __len__(self) -> int:
        """How many paths are watched."""
        return len(self._descriptors)

    @property
    def full(self) -> bool:
        """No more directories can be watched, by this limit or the kernel's (max_user_watches)."""
        return self._kernel_is_full or len(self._descriptors) >= self._limit

    def watch(self, directory: bytes) -> bool:
        """True if :meth:`events` reports changes from now on. May wait for the file server.

        False if the path is no directory, or it can't be watched: no permission to read it, a limit of the kernel or
        of this class. A path that is given again is resolved again.
        """
        if self._fd < 0 or (directory not in self._descriptors and self.full) or b"\0" in directory:
            return False
        # With "/." the kernel mounts an automounted directory first; else it would watch the empty mount point.
        descriptor = self._libc.inotify_add_watch(self._fd, directory + b"/.", _WATCHED)
        error = ctypes.get_errno()
        with self._lock:
            before = self._descriptors.get(directory)
            if descriptor == before:
                return True
            if before is not None:
                self._unwatch(directory, before)
            if descriptor < 0:
                self._kernel_is_full |= error == errno.ENOSPC
                return False
            self._descriptors[directory] = descriptor
            self._paths.setdefault(descriptor, []).append(directory)
            return True

    def unwatch_all(self) -> None:
        """End all watches. The watcher stays usable."""
        with self._lock:
            for directory, descriptor in list(self._descriptors.items()):
                self._unwatch(directory, descriptor)
            self._kernel_is_full = False

    def events(self) -> list[Change]:
        """All changes that are queued now, in their order. Never blocks."""
        if self._fd < 0:
            return []
        size = array.array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, size)
            # The descriptor does not block, and the kernel fails a read that has no room for a whole event.
            data = os.read(self._fd, size[0]) if size[0] else b""
        except BlockingIOError:
            return []
        changes: list[Change] = []
        position = 0
        with self._lock:
            while position < len(data):
                descriptor, mask, _, length = _EVENT.unpack_from(data, position)
                position += _EVENT.size
                name = data[position : position + length].rstrip(b"\0")
                position += length
                self._translate(descriptor, mask, name, changes)
        return changes

    def _translate(self, descriptor: int, mask: int, name: bytes, changes: list[Change]) -> None:
        if mask & _Q_OVERFLOW:
            changes.append(EVERYTHING)
            return
        paths = self._paths.get(descriptor)
        if paths is None:
            if descriptor not in self._removed:
                # A thread is in ``watch``: the kernel has the watch already, but this table does not.
                changes.append(EVERYTHING)
            if mask & _IGNORED:
                self._removed.discard(descriptor)
            return
        if mask & _IGNORED:  # the kernel has ended the watch; an earlier event gave the reason
            for path in self._paths.pop(descriptor):
                del self._descriptors[path]
            return
        gone = bool(mask & _GONE)
        changes += [Change(path, name, bool(mask & _ISDIR), bool(mask & _NAMES), gone) for path in paths]
        if mask & _MOVE_SELF:  # the paths lead elsewhere now
            for path in list(paths):
                self._unwatch(path, descriptor)

    def _unwatch(self, directory: bytes, descriptor: int) -> None:
        del self._descriptors[directory]
        paths = self._paths[descriptor]
        paths.remove(directory)
        if not paths:
            del self._paths[descriptor]
            # Fails with EINVAL if the directory was removed and IN_IGNORED is queued or read already.
            self._libc.inotify_rm_watch(self._fd, descriptor)
            self._removed.add(descriptor)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
