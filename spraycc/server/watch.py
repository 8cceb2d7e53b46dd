"""Waiting for the end of processes that are not our children."""

from __future__ import annotations

import os
from contextlib import suppress

import trio


async def watch_process(pid: int) -> None:
    """Return when the process has ended; at once where it can't be seen."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        with suppress(RuntimeError):
            trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)
