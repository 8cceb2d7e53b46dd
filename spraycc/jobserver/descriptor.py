"""The descriptor with which a build tool inherits the jobserver.

The command line imports this module, so it does not import trio.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from spraycc.errors import RuntimeDirError

#: make 3.81 to 4.4 keep descriptors in an fd_set (1024 bits), and scripts overwrite low numbers (``exec 4>file``)
LOWEST_TOOL_FD = 100
HIGHEST_TOOL_FD = 1023
#: the search for a free number starts above the numbers that shells, test harnesses and build tools commonly use
_PREFERRED_TOOL_FD = 198


def open_for_tool(path: str | bytes) -> int:
    """Opens the FIFO for a build tool that this process will execute.

    The descriptor is open for reading and writing, inheritable and blocking.

    Returns:
        The descriptor, LOWEST_TOOL_FD to HIGHEST_TOOL_FD; the caller owns it.

    Raises:
        OSError: from open(2), or EMFILE if no number in that range is free or allowed (``ulimit -n``).
        RuntimeDirError: this is not a FIFO of this user.
    """
    # O_NONBLOCK only for open(2), which must not wait. On Linux O_RDWR never waits for a FIFO, but may for other files.
    low = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(low)
        if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
            raise RuntimeDirError(f"{os.fsdecode(path)} is not a FIFO of this user")
        os.set_blocking(low, True)
        for start in (_PREFERRED_TOOL_FD, LOWEST_TOOL_FD):
            try:
                fd = fcntl.fcntl(low, fcntl.F_DUPFD, start)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EMFILE):  # both: beyond the limit on descriptors
                    raise
                continue
            if fd <= HIGHEST_TOOL_FD:
                return fd
            os.close(fd)
        raise OSError(errno.EMFILE, f"no free descriptor from {LOWEST_TOOL_FD} to {HIGHEST_TOOL_FD} for the jobserver")
    finally:
        os.close(low)
