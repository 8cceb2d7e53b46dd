"""The processes of this host as a build's jobserver meets them: looked at, and waited for."""

from __future__ import annotations

import os
from contextlib import suppress

import trio

from spraycc.server.host.process_tree import Process, Recipe, read_processes, recipe_of, top_tool
from spraycc.system.threads import run_in_thread


class HostProcesses:
    """This host's processes. Tests give the jobserver others."""

    def recipe_of(self, runner: int, top: int) -> Recipe:
        """The recipe that the process ``runner`` is part of, in a build that was started with the process ``top``."""
        return recipe_of(runner, top)

    def top_tool(self, tool: int, top: int) -> int:
        """The uppermost build tool on the way from ``tool`` to ``top``."""
        return top_tool(tool, top)

    async def read_all(self) -> dict[int, Process]:
        """All processes, by process id.

        Raises:
            OSError: they can't be told now.
        """
        return await run_in_thread(read_processes, abandon_on_cancel=True)

    async def wait_ended(self, pid: int) -> None:
        """Return when the process has ended; at once where it can't be seen."""
        await watch_process(pid)


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
