"""The contents of files on a host's own disks, as stamps that hosts with other inodes and times can compare.

A digest is computed once for each state of a file: its size and its times.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from spraycc.stamps import DIGEST_BYTES, FILE, Stamp, is_same_state, of_contents, of_error, of_status

#: Of a larger file, only the first and the last bytes, the size and the modification time count. Packages install a
#: file with the same modification time on all hosts.
WHOLE_BYTES = 32 * 1024 * 1024
_END_BYTES = 1024 * 1024
#: The digests of this many files are kept at most.
_MOST = 50_000
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class FileContents:
    """Stamps of contents, each kept until the file changes. Threads may share it."""

    def __init__(self) -> None:
        #: path -> the file's state, and the stamp of its contents
        self._known: dict[bytes, tuple[Stamp, Stamp]] = {}

    def known(self, path: bytes, state: Stamp) -> Stamp | None:
        """The stamp of the contents that the file had in this state (its stamp for FILE), if it was computed before."""
        known = self._known.get(path)
        return known[1] if known is not None and is_same_state(known[0], state) else None

    def has(self, path: bytes) -> bool:
        """Whether the file's contents were read before, so that :meth:`stamp` is quick unless the file has changed."""
        return path in self._known

    def stamp(self, path: bytes, state: Stamp | None = None) -> Stamp:
        """The stamp of the file's contents now. Reads the file unless it is known. Never raises OSError.

        Args:
            state: the stamp for FILE that the file must have now. In another state the result is an error (ESTALE),
                because the contents of that time are gone.
        """
        try:
            fd = os.open(path, _OPEN_FLAGS)
        except OSError as exc:
            return of_error(exc.errno or errno.EIO)
        try:
            return self._of_open_file(path, fd, state)
        except OSError as exc:
            return of_error(exc.errno or errno.EIO)
        finally:
            os.close(fd)

    def _of_open_file(self, path: bytes, fd: int, state: Stamp | None) -> Stamp:
        status = os.fstat(fd)
        now = _state(status)
        if state is not None and not is_same_state(now, state):
            return of_error(errno.ESTALE)
        if not stat.S_ISREG(status.st_mode):
            return now
        known = self._known.get(path)
        if known is not None and known[0] == now:
            return known[1]
        digest = _digest(fd, status)
        if _state(os.fstat(fd)) != now:  # it changes at this moment
            return of_error(errno.ESTALE)
        contents = of_contents(status.st_size, digest)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[path] = (now, contents)
        return contents


def _state(status: os.stat_result) -> Stamp:
    return of_status(FILE, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest(fd: int, status: os.stat_result) -> bytes:
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    if status.st_size > WHOLE_BYTES:
        found.update(b"%d\0" % status.st_mtime_ns)
        found.update(os.pread(fd, _END_BYTES, 0))
        found.update(os.pread(fd, _END_BYTES, status.st_size - _END_BYTES))
        return found.digest()
    while data := os.read(fd, _END_BYTES):
        found.update(data)
    return found.digest()
