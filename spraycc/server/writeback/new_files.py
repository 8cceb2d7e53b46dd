"""System calls that make the files of a staging."""

from __future__ import annotations

import errno
import os
import stat


def create(path: bytes, mode: int) -> int:
    """Make a new file, open for writing.

    An NFS client follows an exclusive creation with a SETATTR, because the file server keeps the proof of exclusiveness
    in the file's times. So the creation is not exclusive, and the opened file is checked: another process may have made
    it. For root the creation is exclusive: root may be another user on the file server (root_squash), and would fail
    the check.
    """
    flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    if os.geteuid() == 0:
        return os.open(path, flags | os.O_EXCL, mode)
    fd = os.open(path, flags, mode)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_size and found.st_uid == os.geteuid():
        return fd
    os.close(fd)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def link_unnamed(fd: int, name: bytes, directory: int) -> None:
    """Give an unnamed file a name in the directory (a descriptor), which must be free."""
    # Only linkat(2) can follow the link in /proc. With a directory's descriptor os.link calls linkat(2); otherwise it
    # calls link(2), which fails with EXDEV (seen: CPython 3.11).
    os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=directory, follow_symlinks=True)
