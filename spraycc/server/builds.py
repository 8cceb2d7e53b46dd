"""Builds: what one run of make or ninja owns, its jobserver above all."""

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

from spraycc.jobserver.fifo import JobserverFifo
from spraycc.jobserver.governor import Limits
from spraycc.model import BuildId, TaskId
from spraycc.server.figures import Figures
from spraycc.server.peer import Peer
from spraycc.server.pool import TokenPool
from spraycc.server.processes import BUILD_TOOLS
from spraycc.server.record import Record
from spraycc.server.tasks import Task
from spraycc.settings import Settings
from spraycc.wire.runner import FROM_SERVER, Notice

log = logging.getLogger(__name__)

#: ninja 1.13.0 to 1.13.2 look for new tokens only when a recipe of theirs ends, so they begin with the probing limit
#: or so many, if that is more, and narrow after this time.
_NINJAS = (b"ninja", b"ninja-build", b"samu")
_NINJAS_WINDOW = 8
_NINJAS_WINDOW_S = 1.0
#: What a make that bears no withdrawal gets, once and for all; the probing limit, if that is more.
_FIXED_WIDTH = 8


@dataclass(slots=True)
class Build:
    """One build, open from OpenBuild until its tool has ended (and its command line has been answered, or is gone)."""

    id: BuildId
    argv: tuple[bytes, ...]
    cap: int | None
    directory: Path
    #: the command line's connection
    control: Peer
    pool: TokenPool | None
    #: recipes beyond the scheduler's width, as there is other work on this host than on the executors'
    extra: int = 0
    figures: Figures = field(default_factory=Figures)
    started: float = field(default_factory=time.monotonic)
    width: int = 0
    #: what became of its tasks, for `spraycc why`
    record: Record | None = None
    #: texts that were shown already
    noticed: set[str] = field(default_factory=set)

    def set_width(self, width: int) -> None:
        """Let so many tasks run at once, and beside them the unseen recipes that this host has room for."""
        self.width = width
        if self.pool is not None:
            wider = width + self.extra
            self.pool.set_width(wider if self.cap is None else max(1, min(wider, self.cap)))

    def finish(self, task: TaskId, answer: Callable[[], None]) -> None:
        """A task has its result: ``answer`` is called, now or when the jobserver's account allows. It must not wait."""
        if self.pool is not None:
            self.pool.finish(task, answer)
        else:
            answer()

    def notice(self, text: str) -> None:
        """Show the user a line, once a build."""
        if text not in self.noticed:
            self.noticed.add(text)
            log.info("build %s: notice: %s", self.id, text)
            self.control.send_now(FROM_SERVER.pack(Notice(text)))

    def note(self, task: Task) -> None:
        """A task of it is over: it has its result, or its runner has gone. Noted once."""
        if self.record is not None and not task.is_noted:
            task.is_noted = True
            self.record.note(task)

    def recount(self) -> None:
        """Count the tokens at the build's end: all that were issued must be back (none is lost unless a process was
        killed)."""
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
            "argv": [os.fsdecode(word) for word in self.argv],
            "cap": self.cap,
            "width": self.width,
            "age_s": round(time.monotonic() - self.started, 3),
            **self.figures.as_map(),
            "running": self.figures.running,
            "tokens": self.pool.status() if self.pool is not None else {},
        }


def clear_builds(runtime_dir: Path) -> None:
    """Remove builds of an earlier server, but for those whose tool still has the jobserver open."""
    for directory in (runtime_dir / "builds").glob("*"):
        try:
            os.close(os.open(directory / "fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError:  # ENXIO: nobody reads it; ENOENT: a build without one
            shutil.rmtree(directory, ignore_errors=True)


class Builds:
    """All open builds, and the figures of tasks that belong to none."""

    def __init__(self, runtime_dir: Path, nursery: trio.Nursery, state_dir: Path | None = None) -> None:
        """``state_dir`` is where builds' records go; without it there are none."""
        self._directory = runtime_dir / "builds"
        self._state_dir = state_dir
        self._nursery = nursery
        self.open: dict[BuildId, Build] = {}
        self.strays = Figures()

    def create(
        self,
        control: Peer,
        argv: tuple[bytes, ...],
        cap: int | None,
        jobserver: bool,
        settings: Settings,
        *,
        live_tokens: bool = True,
    ) -> Build:
        """A new build with its directory and, where the tool is a client of it, its jobserver.

        Raises:
            OSError, RuntimeDirError: its directory or its jobserver can't be made; nothing of it is left.
        """
        build_id = BuildId(secrets.token_hex(4))
        directory = self._directory / build_id
        directory.mkdir(mode=0o700, parents=True)
        build = Build(build_id, argv, cap, directory, control, None)
        try:
            if jobserver:
                build.pool = self._make_pool(build, settings) if live_tokens else self._make_fixed_pool(build, settings)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if self._state_dir is not None:
            build.record = Record(self._state_dir, build_id, argv)
        # On one host with the executors every recipe takes a CPU of theirs.
        build.extra = 0 if settings.cluster == "local" else settings.local_slots_in_force
        self.open[build_id] = build
        self.share(settings)
        return build

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine function until the server ends."""
        self._nursery.start_soon(function)

    def _make_pool(self, build: Build, settings: Settings) -> TokenPool:
        tool = os.path.basename(build.argv[0]) if build.argv else b""
        limits = Limits(
            settings.local_slots_in_force,
            settings.probing_limit_in_force,
            first_window=max(_NINJAS_WINDOW, settings.probing_limit_in_force) if tool in _NINJAS else 0,
            first_window_s=_NINJAS_WINDOW_S,
            most=build.cap,
        )
        width = settings.local_slots_in_force if build.cap is None else min(build.cap, settings.local_slots_in_force)
        return self._run_pool(build, limits, width, fixed=False)

    def _make_fixed_pool(self, build: Build, settings: Settings) -> TokenPool:
        """So many recipes as this host bears if all of them run here: then nothing need be taken back, or held."""
        width = max(_FIXED_WIDTH, settings.probing_limit_in_force)
        width = width if build.cap is None else min(build.cap, width)
        # A make that blocks in read(2) is woken by one token more (Governor.stalled). Without tokens none blocks.
        most = 1 if build.cap == 1 else None
        return self._run_pool(build, Limits(width, width, most=most), width, fixed=True)

    def _run_pool(self, build: Build, limits: Limits, width: int, *, fixed: bool) -> TokenPool:
        fifo = JobserverFifo.create(os.fsencode(build.directory / "fifo"))
        tool = os.path.basename(build.argv[0]) if build.argv else b""
        pool = TokenPool(build.id, fifo, limits, width, starts_recipes=tool in BUILD_TOOLS, fixed=fixed)
        self._nursery.start_soon(pool.run)
        return pool

    def share(self, settings: Settings) -> None:
        """Divide this host's slots for unseen recipes between the builds that are open."""
        pools = [build.pool for build in self.open.values() if build.pool is not None]
        for pool in pools:
            local = max(1, settings.local_slots_in_force // len(pools))
            pool.set_limits(local, max(local, settings.probing_limit_in_force // len(pools)))

    def close(self, build: Build, settings: Settings) -> None:
        """The tool has ended and the figures were read: nothing of it is left."""
        del self.open[build.id]
        self.share(settings)
        if build.pool is not None:
            build.pool.close()
        if build.record is not None:
            build.record.close()
        shutil.rmtree(build.directory, ignore_errors=True)

    def make_room(self) -> None:
        """A runner can't be accepted for want of descriptors: one whose completion is held gives up its own."""
        pools = [build.pool for build in self.open.values() if build.pool is not None]
        most = max(pools, key=lambda pool: pool.held, default=None)
        if most is not None and most.held:
            most.runner_waits()

    def figures(self, build: BuildId) -> Figures:
        found = self.open.get(build)
        return found.figures if found is not None else self.strays
