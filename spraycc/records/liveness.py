"""Tells a record that a server still writes from one whose server was killed.

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


def is_written(header: Mapping[str, object]) -> bool:
    """Whether the server that began the record is alive, as seen from this process's pid namespace."""
    server = header.get("server")
    if not isinstance(server, list) or len(server) != 2 or not all(isinstance(part, int) for part in server):
        return False
    pid: int = server[0]
    started: int = server[1]
    return pid > 0 and _started(pid) == started


def _started(pid: int) -> int | None:
    """When the process started; None if it has ended or can't be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Fields 3 to 52 of proc_pid_stat(5). The name before them, in parentheses, may have parentheses itself.
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in _ENDED else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
