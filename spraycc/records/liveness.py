"""Tells the record of an open build from one that has lost its end: its server was killed, or the disk was full.

The header names the server's process. No lock does this: on NFS, lock requests can hang, and the server must not wait.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: States of a process that has ended: nobody has read its exit status yet.
_ENDED = (b"Z", b"X")


def this_process() -> list[int]:
    """This process: its id, and when it started (clock ticks since boot); the second is 0 if /proc does not tell."""
    return [os.getpid(), _started(os.getpid()) or 0]


def is_open(header: Mapping[str, object]) -> bool:
    """Whether the server that began the record has the build open, as seen from this process's pid namespace.

    The server must be alive. A server that idles after the build is alive, too. So the build's directory must be there,
    which the server removes when it closes the build.
    """
    server, directory = header.get("server"), header.get("directory")
    if not isinstance(server, list) or len(server) != 2 or not all(type(part) is int for part in server):
        return False
    pid, started = server
    if not 0 < pid < 2**31 or _started(pid) != started:
        return False
    return isinstance(directory, str) and os.path.isdir(directory)


def _started(pid: int) -> int | None:
    """When the process started; None if it has ended or can't be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Fields 3 to 52 of proc_pid_stat(5). The name before them, in parentheses, may have parentheses itself.
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in _ENDED else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
