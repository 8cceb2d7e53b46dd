"""Removes what a command has removed, but no file that a parallel task has made meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress

#: The clocks of the kernel and its file systems differ by some milliseconds.
_CLOCK_SLACK_NS = 1_000_000_000


class Remover:
    """The removals of one attempt."""

    def __init__(self, since_ns: int | None, is_shared: Callable[[bytes], bool]) -> None:
        """
        Args:
            since_ns: start of the attempt by this host's clock (ns). Files that have changed since then are not
                removed: a parallel task made them, so the command has not seen them. None: nothing uses that clock.
            is_shared: True for directories whose file system may use another clock; there all is removed.
        """
        self._since_ns = since_ns
        self._is_shared = is_shared
        #: (device, inode) of files with several names of which this attempt has removed or replaced one
        self._names_removed: set[tuple[int, int]] = set()

    def knows_times(self, path: bytes) -> bool:
        """True if the times at the path tell which files a parallel task has made. Otherwise all files are removed."""
        return self._since_ns is not None and not self._is_shared(os.path.dirname(path))

    def remove(self, path: bytes) -> None:
        """Remove a file, or a directory with all its contents. Files that changed since the attempt's start stay."""
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            knows_times = self.knows_times(path)
            if stat.S_ISDIR(status.st_mode):
                self._remove_directory(path, knows_times)
            elif not knows_times or self._may_remove(status):
                os.unlink(path)

    def will_replace(self, path: bytes) -> None:
        """Note that the attempt replaces the file: its other names may still be removed, although its ctime changes."""
        if self.knows_times(path):
            with suppress(FileNotFoundError):
                self._may_remove(os.lstat(path))

    def _remove_directory(self, path: bytes, knows_times: bool) -> None:
        if not knows_times:
            shutil.rmtree(path)
            return
        for _, directories, files, fd in os.fwalk(path, topdown=False, onerror=_fail):
            for name in (*files, *directories):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    _remove_if_empty(name, fd)
                elif self._may_remove(status):
                    os.unlink(name, dir_fd=fd)
        _remove_if_empty(path)

    def _may_remove(self, status: os.stat_result) -> bool:
        """False if the file has changed since the attempt's start. Our removal of another name is no such change.

        A time in the future is from before this host's clock was set back.
        """
        file = (status.st_dev, status.st_ino)
        assert self._since_ns is not None
        if not self._since_ns <= status.st_ctime_ns <= time.time_ns() + _CLOCK_SLACK_NS:
            if status.st_nlink > 1:
                self._names_removed.add(file)
            return True
        return file in self._names_removed


def _fail(error: OSError) -> None:
    raise error


def _remove_if_empty(name: bytes, within: int | None = None) -> None:
    try:
        os.rmdir(name, dir_fd=within)
    except OSError as exc:
        if exc.errno != errno.ENOTEMPTY:
            raise
