"""The server as a whole: puts its parts together and runs them."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import trio

import spraycc
from spraycc import directories, leftovers
from spraycc.server.builds.build import Builds
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.frontend.decide import Decider
from spraycc.server.frontend.frontend import Frontend
from spraycc.server.host.loop_lag import LoopLag
from spraycc.server.host.offload import Disk
from spraycc.server.host.supervise import keep_going
from spraycc.server.lifetime import Lifetime
from spraycc.server.status import builds_status, submit_host
from spraycc.server.task_table import TaskTable
from spraycc.server.tasks.durations import TaskHistory
from spraycc.settings import Settings
from spraycc.system.filesystems import FileSystems
from spraycc.system.threads import run_in_thread

log = logging.getLogger(__name__)

#: The kernel cuts this to net.core.somaxconn. Runners connect blocking, so a full backlog only delays them.
BACKLOG = 65535
#: When a server starts it keeps this many logs of executors, the newest.
EXECUTOR_LOGS = 200


async def serve(
    listener: socket.socket,
    runtime_dir: Path,
    state_dir: Path,
    workspace: bytes,
    settings: Settings,
    disk: Disk | None = None,
    lingers: bool = True,
    for_probe: bool = False,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one user's builds in one workspace on one host. Returns when the server is stopped, or long idle.

    Args:
        listener: listens on the Unix socket. This function closes it.
        runtime_dir: exists, and the server holds its lock.
        state_dir: exists; logs, records and session files go there.
        workspace: the directory in which builds run.
        settings: for the time before the first build.
        disk: does work on the workspace's files; None: a new one.
        lingers: the server stays after its last build, until it was idle for some time.
        for_probe: the server does not, unless a build of the user's own comes.
    """
    with closing(listener), ExitStack() as at_end:
        async with trio.open_nursery() as nursery:
            server = Server(nursery, runtime_dir, state_dir, workspace, settings, disk or Disk(), lingers, for_probe)
            at_end.callback(server.clear_away)  # when all coroutines have ended
            task_status.started(server)
            await server.run(listener)


class Server:
    """All parts of one server."""

    def __init__(
        self,
        nursery: trio.Nursery,
        runtime_dir: Path,
        state_dir: Path,
        workspace: bytes,
        settings: Settings,
        disk: Disk,
        lingers: bool,
        for_probe: bool,
    ) -> None:
        home_name = directories.passwd_home() or os.environ.get("HOME") or "/nonexistent"
        workspace, home = os.path.realpath(workspace), os.path.realpath(os.fsencode(home_name))
        self._nursery = nursery
        self._runtime_dir = runtime_dir
        self._state_dir = state_dir
        self._workspace = workspace
        self._started = time.monotonic()
        self._lag = LoopLag()
        self._builds = Builds(runtime_dir, nursery, state_dir, workspace)
        self._history = TaskHistory(state_dir, workspace)
        is_own_disk = not FileSystems().is_shared(workspace)
        tasks = TaskTable(self._builds, self._history, disk, is_own_disk=is_own_disk)
        self._dispatcher = Dispatcher(nursery, settings, self._builds, tasks, state_dir, workspace)
        self.lifetime = Lifetime(nursery, self._dispatcher, runtime_dir / "socket", lingers, for_probe)
        decider = Decider(self._dispatcher, workspace, home)
        self._frontend = Frontend(nursery, self._dispatcher, self.lifetime, decider, self.status)

    async def run(self, listener: socket.socket) -> None:
        """Run all parts. Ends by cancellation of the nursery."""
        fleet, start_soon = self._dispatcher.fleet, self._nursery.start_soon
        trio.lowlevel.add_instrument(self._lag)
        # A killed server may have left files. This server holds the lock, so no process uses them.
        _clear_state(self._state_dir)
        leftovers.clear_builds(os.fspath(self._runtime_dir))
        _make_slots(self._runtime_dir / "slots", self._dispatcher.settings.local_slots_in_force)
        start_soon(self.lifetime.watch_signals)
        start_soon(keep_going, "deadlines", self._dispatcher.run_deadlines)
        start_soon(keep_going, "memory", self._dispatcher.run_memory)
        start_soon(keep_going, "wait notices", self._dispatcher.run_wait_notices)
        start_soon(keep_going, "heartbeats", fleet.run_heartbeats)
        start_soon(keep_going, "idleness", self.lifetime.watch_idleness)
        start_soon(self._history.run)
        start_soon(self._dispatcher.run_records)
        start_soon(self._prune)
        await self._frontend.accept(listener)

    async def _prune(self) -> None:
        try:
            removed = await run_in_thread(leftovers.prune, self._runtime_dir.name, abandon_on_cancel=True)
            if removed:
                log.info("removed %d old directories of servers, such as %s", len(removed), removed[0])
        except Exception:
            log.exception("old directories of servers were not removed")

    def clear_away(self) -> None:
        """Remove the server's files. Called after its last coroutine has ended."""
        self._dispatcher.fleet.remove_session()
        self._builds.close_records()
        # If builds continue without the server, their runners need the slots. Builds of an earlier server may be among
        # them.
        if self._builds.open or self.lifetime.is_displaced:
            return
        if leftovers.clear_builds(os.fspath(self._runtime_dir)):
            shutil.rmtree(self._runtime_dir / "builds", ignore_errors=True)
            shutil.rmtree(self._runtime_dir / "slots", ignore_errors=True)

    async def status(self) -> dict[str, Any]:
        """The reply to ``spraycc status``, a :class:`spraycc.status_reply.StatusReply`."""
        fleet = await self._dispatcher.fleet.status()
        snapshot = self._dispatcher.snapshot()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "server": {
                "pid": os.getpid(),
                "release": spraycc.__version__,
                "uptime_s": round(time.monotonic() - self._started, 3),
                "workspace": os.fsdecode(self._workspace),
                "runtime_dir": str(self._runtime_dir),
                "state_dir": str(self._state_dir),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 5),
                "peak_rss_bytes": usage.ru_maxrss * 1024,
                "descriptors": len(os.listdir("/proc/self/fd")),
                "loop_lag": self._lag.figures(),
                "local_slots": self._dispatcher.settings.local_slots_in_force,
                "compile_slots": self._dispatcher.settings.compile_slots_in_force,
                "starts_executors": self._dispatcher.settings.starts_executors,
            },
            "builds": builds_status(self._dispatcher, snapshot),
            "scheduler": dict(snapshot),
            "submit_host": submit_host(self._dispatcher, self._workspace),
            **fleet,
        }


def _clear_state(state_dir: Path) -> None:
    for path in state_dir.glob("session-*.json"):
        path.unlink(missing_ok=True)
    logs = sorted(state_dir.glob("executor-*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[:-EXECUTOR_LOGS]:
        path.unlink(missing_ok=True)


def _make_slots(directory: Path, count: int) -> None:
    """Make lock files for runners without a server: they limit the commands that run on the submit host at once.

    Files of an earlier server stay, because runners of its builds may hold them or wait for them.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    known = {int(path.name) for path in directory.iterdir() if path.name.isdecimal()}
    for number in range(count):
        (directory / str(number)).touch(mode=0o600)
    for number in sorted(known - set(range(count)), reverse=True):  # runners count the files up to the first gap
        (directory / str(number)).unlink()
