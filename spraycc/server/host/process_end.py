"""Reads the submit host's processes for a build's jobserver, and waits for their ends."""

from __future__ import annotations

import os
from contextlib import suppress

import trio

from spraycc.server.host.process_tree import Process, Recipe, read_processes, recipe_of, top_tool
from spraycc.system.threads import run_in_thread


class HostProcesses:
    """The processes of this host. Tests give the jobserver simulated processes."""

    def recipe_of(self, runner: int, top: int) -> Recipe:
        """The recipe that the process ``runner`` is part of, in a build that was started with the process ``top``."""
        return recipe_of(runner, top)

    def top_tool(self, tool: int, top: int) -> int:
        """The uppermost build tool on the way from ``tool`` to ``top``."""
        return top_tool(tool, top)

    async def read_all(self) -> dict[int, Process]:
        """All processes, by process id.

        Raises:
            OSError: as :func:`read_processes`.
        """
        return await run_in_thread(read_processes, abandon_on_cancel=True)

    async def wait_ended(self, pid: int) -> None:
        """Return when the process has ended; at once if the server can't see it."""
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
