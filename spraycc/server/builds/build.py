"""Open builds: the command line, the figures and the jobserver of each."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

import spraycc
from spraycc.build_tools import NINJAS, RECIPE_STARTERS, SAMURAI
from spraycc.jobserver.events import Limits
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.model import BuildId, TaskId
from spraycc.server.builds.expectation import Expectation
from spraycc.server.builds.token_pool import TokenPool
from spraycc.server.builds.unwrapped import CompilerWatch
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.log import Record
from spraycc.server.tasks.record_lines import header_of
from spraycc.server.tasks.stats import Figures
from spraycc.server.tasks.task import Task
from spraycc.settings import Settings
from spraycc.wire.runner import FROM_SERVER, Notice

log = logging.getLogger(__name__)

#: The first window of a ninja, see :class:`Limits`: the probing limit, or this many recipes if that is more.
_FIRST_WINDOW = 8
_FIRST_WINDOW_S = 1.0
#: The width of a make from which no token may be withdrawn: the probing limit, or this many recipes if that is more.
_FIXED_WIDTH = 8


@dataclass(slots=True)
class Build:
    """One build: open until its tool has ended, and its command line has got the summary or is gone."""

    id: BuildId
    argv: tuple[bytes, ...]
    #: the user's -j: recipes at once; None: any number
    cap: int | None
    directory: Path
    #: the command line's connection
    control: Peer
    #: the server uses the settings of the newest open build
    settings: Settings
    #: the command line as the user has typed it
    typed: tuple[bytes, ...]
    #: None: the tool uses no jobserver
    pool: TokenPool | None = None
    #: recipes beside the scheduler's width, for work that no runner wraps
    unwrapped_slots: int = 0
    figures: Figures = field(default_factory=Figures)
    #: monotonic
    started: float = field(default_factory=time.monotonic)
    #: the scheduler's limit of tasks at once
    width: int = 0
    #: the file with the build's tasks, executors and samples (docs/reference/records.md)
    record: Record | None = None
    expectation: Expectation = field(default_factory=Expectation)
    #: texts that the user has seen
    noticed: set[str] = field(default_factory=set)
    #: None: the tool's process is not known
    compiler_watch: CompilerWatch | None = None

    @property
    def tool(self) -> str:
        """The name of the program that the build runs."""
        return os.path.basename(os.fsdecode(self.argv[0])) if self.argv else ""

    def up_to_cap(self, width: int) -> int:
        """``width``, or the user's -j if that is less."""
        return width if self.cap is None else min(width, self.cap)

    def set_width(self, width: int) -> None:
        """Let ``width`` tasks run at once, and beside them the unwrapped recipes for which the submit host has room."""
        self.width = width
        if self.pool is not None:
            self.pool.set_width(self.up_to_cap(width + self.unwrapped_slots))

    def finish(self, task: TaskId, answer: Callable[[], None]) -> None:
        """A task has its result: call ``answer``, now or when the jobserver's account allows. It must not wait."""
        if self.pool is not None:
            self.pool.finish(task, answer)
        else:
            answer()

    def notice(self, text: str) -> None:
        """Show the user a line, once in a build."""
        if text not in self.noticed:
            self.noticed.add(text)
            log.info("build %s: notice: %s", self.id, text)
            self.control.send_now(FROM_SERVER.pack(Notice(text)))

    def note(self, task: Task) -> None:
        """Count the task's time, and write its line in the record. The task has its result, or its runner has gone."""
        self.figures.run_s += task.run_s()
        if self.record is not None:
            self.record.note(task)

    def flush_record(self) -> None:
        """Write the lines of the build's record that wait."""
        if self.record is not None:
            self.record.flush()

    def recount(self) -> None:
        """Count the tokens at the build's end: all that were issued must be back, unless a process was killed."""
        if self.pool is None:
            return
        self.pool.recount()
        self.figures.tokens_issued = self.pool.issued
        self.figures.tokens_free_at_end = self.pool.free()
        self.figures.tokens_lost = self.pool.lost
        lost = self.figures.tokens_issued - self.figures.tokens_free_at_end
        if lost:
            log.warning("build %s: %d of %d tokens did not come back", self.id, lost, self.figures.tokens_issued)

    def status(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "argv": [os.fsdecode(word) for word in self.typed],
            "cap": self.cap,
            "width": self.width,
            "age_s": round(time.monotonic() - self.started, 3),
            **self.figures.as_map(),
            "running": self.figures.running,
            "tokens": self.pool.status() if self.pool is not None else {},
        }


class Builds:
    """All open builds, and the figures of tasks without a build."""

    def __init__(
        self, runtime_dir: Path, nursery: trio.Nursery, state_dir: Path | None = None, workspace: bytes = b""
    ) -> None:
        """``state_dir`` gets the builds' records; None: no records. ``workspace`` has no symbolic links."""
        self._directory = runtime_dir / "builds"
        self.state_dir = state_dir
        self._workspace = workspace
        self._nursery = nursery
        self.open: dict[BuildId, Build] = {}
        self.without_build = Figures()

    def create(
        self,
        control: Peer,
        argv: tuple[bytes, ...],
        cap: int | None,
        jobserver: bool,
        settings: Settings,
        *,
        live_tokens: bool = True,
        cwd: bytes = b"",
        typed: tuple[bytes, ...] = (),
        recorded: bool = True,
    ) -> Build:
        """A new build with its directory and, if ``jobserver``, a jobserver.

        Args:
            control: the command line's connection.
            argv: the tool's command line without its -j.
            cap: the user's -j.
            jobserver: whether the tool is a client of the jobserver.
            settings: all settings in force.
            live_tokens: whether a token may be withdrawn from the tool.
            cwd: the tool's working directory.
            typed: the command line as the user has typed it; empty: ``argv``.
            recorded: False for a build that the user has not started.

        Raises:
            OSError, RuntimeDirError: the directory or the jobserver can't be made. Nothing is left of the build.
        """
        build_id = BuildId(secrets.token_hex(4))
        directory = self._directory / build_id
        directory.mkdir(mode=0o700, parents=True)
        build = Build(build_id, argv, cap, directory, control, settings, typed or argv)
        try:
            if jobserver:
                build.pool = self._make_pool(build, settings, fixed=not live_tokens)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if self.state_dir is not None and recorded:
            header = header_of(
                build_id, argv, cwd, began=time.time(), release=spraycc.__version__, cluster=settings.cluster,
                executors=settings.executors_in_force, cap=cap, tool=build.tool, directory=build.directory,
            )  # fmt: skip
            build.record = Record(self.state_dir, header, build.started)
        # With the local driver every recipe takes a CPU of the executors.
        build.unwrapped_slots = 0 if settings.cluster == "local" else settings.local_slots_in_force
        self.open[build_id] = build
        self.share(settings)
        return build

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine function until the server ends."""
        self._nursery.start_soon(function)

    def _make_pool(self, build: Build, settings: Settings, *, fixed: bool) -> TokenPool:
        """A running pool. ``fixed``: the width stays so small that all recipes may run on the submit host.

        So no token of a fixed pool is ever withdrawn, and no completion is held.
        """
        local, probing = settings.unseen_limit_in_force, settings.probing_limit_in_force
        if fixed:
            width = build.up_to_cap(max(_FIXED_WIDTH, probing))
            # One more token may wake a make that blocks in read(2). With -j1 there are no tokens, so no make blocks.
            limits = Limits(width, width, cap=1 if build.cap == 1 else None)
        else:
            width = build.up_to_cap(local)
            first_window = max(_FIRST_WINDOW, probing) if build.tool in (*NINJAS, *SAMURAI) else 0
            limits = Limits(local, probing, first_window=first_window, first_window_s=_FIRST_WINDOW_S, cap=build.cap)
        fifo = JobserverFifo.create(os.fsencode(build.directory / "fifo"))
        pool = TokenPool(build.id, fifo, limits, width, starts_recipes=build.tool in RECIPE_STARTERS, fixed=fixed)
        self._nursery.start_soon(pool.run)
        return pool

    def share(self, settings: Settings) -> None:
        """Divide the submit host's limits for unseen recipes between the open builds."""
        pools = self._pools()
        # Without executors, the widths of the builds are the limit: no completion is ever held.
        parts = len(pools) if settings.starts_executors else 1
        for pool in pools:
            local = max(1, settings.unseen_limit_in_force // parts)
            pool.set_limits(local, max(local, settings.probing_limit_in_force // parts))

    def tool_started(self, build: Build, pid: int) -> None:
        """The build's tool runs as this process."""
        if build.pool is not None:
            build.pool.tool_started(pid)
        if build.compiler_watch is None:
            build.compiler_watch = CompilerWatch(build.id, build.figures, self._workspace)
            self._nursery.start_soon(build.compiler_watch.run, pid)

    def close(self, build: Build, settings: Settings) -> None:
        """Remove a build. Its tool has ended, and its figures have been read."""
        del self.open[build.id]
        self.share(settings)
        if build.pool is not None:
            build.pool.close()
        if build.compiler_watch is not None:
            build.compiler_watch.close()
        if build.record is not None:
            build.record.close()
        shutil.rmtree(build.directory, ignore_errors=True)

    def close_records(self) -> None:
        """Write the rest of the open builds' records, at the server's end. They get no end line."""
        for build in self.open.values():
            if build.record is not None:
                build.record.close()

    def make_room(self) -> None:
        """Free a descriptor for the next runner: release the held completion of another runner."""
        pool = max(self._pools(), key=lambda pool: pool.held, default=None)
        if pool is not None and pool.held:
            pool.release_one()

    def figures(self, build: BuildId) -> Figures:
        found = self.open.get(build)
        return found.figures if found is not None else self.without_build

    def _pools(self) -> list[TokenPool]:
        return [build.pool for build in self.open.values() if build.pool is not None]
