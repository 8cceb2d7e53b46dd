"""Serves the command line: opens and closes builds, reports the status, stops the server."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

import spraycc
from spraycc.errors import ProtocolError, RuntimeDirError
from spraycc.notices import starting
from spraycc.scheduler.events import BuildEnded, BuildLeft, BuildStarted
from spraycc.server.builds.build import Build
from spraycc.server.builds.progress import ProgressReports
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.host.process_tree import read_process
from spraycc.server.host.unix_connection import Peer
from spraycc.server.lifetime import Lifetime
from spraycc.server.tasks.task import Phase
from spraycc.settings import Settings
from spraycc.wire.runner import (
    FROM_SERVER,
    RUNNER_PROTOCOL,
    TO_SERVER,
    AskStatus,
    BuildOpened,
    CloseBuild,
    Hello,
    OpenBuild,
    Refused,
    Status,
    Stop,
    Summary,
    ToolProcess,
    Welcome,
)

log = logging.getLogger(__name__)

#: Returns the reply to ``spraycc status``, as a map of CBOR's types.
GetStatus = Callable[[], Awaitable[dict[str, Any]]]
#: Descriptors that a server needs in addition to those of tasks.
_SPARE_DESCRIPTORS = 100
#: Turns of the event loop in which a coroutine certainly reads what has arrived: one sees it, and one reads it.
_TURNS = 5


class Control:
    """The connection of one command line."""

    def __init__(self, dispatcher: Dispatcher, lifetime: Lifetime, peer: Peer, status: GetStatus) -> None:
        self._dispatcher = dispatcher
        self._lifetime = lifetime
        self._peer = peer
        self._status = status
        self._build: Build | None = None
        self._progress: ProgressReports | None = None
        self._tool_pidfd: int | None = None
        #: the command line's parent, if a build was opened
        self._parent = 0
        #: the tool is a shell that uses the build, and has started the command line (`spraycc env --makeflags`)
        self._is_shell = False

    async def serve(self, hello: Hello) -> None:
        """Answer requests until the connection ends. If a build is still open then, close it after its tool's end."""
        self._peer.send_now(FROM_SERVER.pack(Welcome(RUNNER_PROTOCOL, spraycc.__version__, os.getpid())))
        foreign = hello.version != RUNNER_PROTOCOL
        if foreign or hello.release != spraycc.__version__:
            log.info("a command line of release %s, protocol %d", hello.release, hello.version)
        try:
            while (item := await self._peer.receive()) is not None:
                message = TO_SERVER.unpack(item)
                if foreign and not isinstance(message, AskStatus | Stop):
                    raise ProtocolError(f"{message.TAG!r} of protocol {hello.version}, this is {RUNNER_PROTOCOL}")
                if isinstance(message, OpenBuild):
                    if self._lifetime.is_ending:
                        return
                    self._open(message)
                elif isinstance(message, ToolProcess):
                    self._is_shell = message.pid == self._parent
                    with suppress(OSError):
                        self._tool_pidfd = os.pidfd_open(message.pid)
                    if self._build is not None:
                        self._dispatcher.builds.tool_started(self._build, message.pid)
                elif isinstance(message, CloseBuild):
                    await self._close(message.status, message.wall_s)
                elif isinstance(message, AskStatus):
                    await self._peer.send(FROM_SERVER.pack(Status(await self._status())))
                elif isinstance(message, Stop):
                    if message.if_idle and self._dispatcher.is_busy:
                        self._peer.send_now(FROM_SERVER.pack(Refused("builds are in flight")))
                    else:
                        self._lifetime.stop(message.now)
                else:
                    raise ProtocolError(f"unexpected message {message.TAG!r} on a control connection")
        finally:
            if self._progress is not None:
                self._progress.close()
            if self._build is not None:
                log.info("build %s: its command line is gone", self._build.id)
                if self._tool_pidfd is not None:
                    if not self._is_shell:
                        self._dispatcher.post(BuildLeft(self._build.id))
                    await trio.lowlevel.wait_readable(self._tool_pidfd)
                self._finish()
            if self._tool_pidfd is not None:
                os.close(self._tool_pidfd)

    def _open(self, request: OpenBuild) -> None:
        if self._build is not None:
            raise ProtocolError("a control connection holds one build")
        dispatcher = self._dispatcher
        try:
            settings = Settings.from_map(request.settings)
            dispatcher.apply(settings)
            build = dispatcher.builds.create(
                self._peer,
                request.argv,
                request.cap,
                request.jobserver,
                settings,
                live_tokens=request.live_tokens,
                cwd=request.cwd,
                typed=request.typed,
                recorded=not request.probe,
            )
        except (OSError, RuntimeDirError) as exc:
            self._peer.send_now(FROM_SERVER.pack(Refused(f"the server can't open a build: {exc}")))
            return
        self._build = build
        # Read it now: the command line waits for the answer, and may have gone when its next message is read.
        if process := read_process(self._peer.pid):
            self._parent = process.parent
        self._lifetime.build_opened(probe=request.probe)
        dispatcher.note_executors(build)
        dispatcher.tasks.build_begins()
        log.info("build %s: opened, cap %s: %s", build.id, request.cap, b" ".join(request.argv)[:200])
        dispatcher.post(BuildStarted(build.id, request.cap))
        fifo = os.fsencode(build.directory / "fifo") if build.pool is not None else b""
        self._peer.send_now(FROM_SERVER.pack(BuildOpened(build.id, fifo)))
        if request.progress_s > 0:
            report = partial(dispatcher.progress, build)
            self._progress = ProgressReports(build, request.progress_s, report, dispatcher.builds.state_dir)
            dispatcher.builds.start_soon(self._progress.run)
        if warning := _descriptor_warning(dispatcher.settings.executors_in_force):
            build.notice(warning)

    async def _close(self, status: int, wall_s: float) -> None:
        build = self._build
        if build is None:
            raise ProtocolError("no build to close")
        await self._hear_last_words(build)
        figures = self._finish(status, wall_s)
        figures |= {"exit_status": status, "wall_s": round(wall_s, 3)}
        if self._lifetime.is_over:
            figures["server_ends"] = True
        await self._peer.send(FROM_SERVER.pack(Summary(figures)))
        if self._lifetime.is_over:
            self._lifetime.stop(now=True)

    async def _hear_last_words(self, build: Build) -> None:
        """Let the runners' coroutines read the reports that came before this connection's message.

        One of them is often the report of the command that failed, after which the tool ended.
        """
        known = self._dispatcher.tasks.known
        for _ in range(_TURNS):
            if not any(task.build == build.id and task.phase is Phase.HERE_STAYS for task in known.values()):
                return
            await trio.lowlevel.checkpoint()

    def _finish(self, status: int | None = None, wall_s: float | None = None) -> dict[str, Any]:
        """Close the build; returns its figures. ``status`` and ``wall_s`` are None if the command line is gone."""
        build = self._build
        assert build is not None
        self._build = None
        if self._progress is not None:
            self._progress.close()
        build.recount()
        # The server may not have seen the end of some commands on the submit host. Note them before the record ends.
        for task in self._dispatcher.tasks.known.values():
            if task.build == build.id and task.runs_here:
                build.note(task)
        figures = build.figures.as_map()
        if build.record is not None:
            build.record.end(status, wall_s, figures)
        self._dispatcher.builds.close(build, self._dispatcher.settings)
        self._dispatcher.tasks.history.save_soon()
        log.info("build %s: closed after %.1f s: %s", build.id, time.monotonic() - build.started, figures)
        self._dispatcher.post(BuildEnded(build.id))
        self._dispatcher.build_ended()
        return figures


def _descriptor_warning(executors: int) -> str:
    """A line for the user if this host's limit of open files is too low for this many executors; else empty."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # For each executor: its connection, its task's runner, and a file that is being written.
    need = 3 * executors + _SPARE_DESCRIPTORS
    if need <= soft:
        return ""
    return starting.LOW_LIMIT_OF_FILES.text(limit=soft, executors=executors, need=need)
