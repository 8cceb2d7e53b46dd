"""A batch launcher on the virtual clock, with its cluster manager in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from spraycc.server.fleet.batch_launcher import BatchLauncher
from spraycc.server.fleet.stale_jobs import markers
from spraycc.settings import Settings
from tests.sim.server.fake_clusters import Manager

#: The default of `cluster_timeout_s`.
TIMEOUT_S = 60.0


class World:
    """A launcher, its cluster manager, and its reports to the server."""

    def __init__(self, manager: Manager, state_dir: Path, settings: Settings) -> None:
        state_dir.mkdir(exist_ok=True)
        self.manager = manager
        self.state_dir = state_dir
        self.settings = settings
        #: (executors, seconds until the next request, text), and the time of each report
        self.failed: list[tuple[int, float, str]] = []
        self.failed_at: list[float] = []
        self.said: list[str] = []
        self.wanted = True
        self.launcher = BatchLauncher(
            settings,
            ("executor",),
            state_dir,
            failed=self._failed,
            say=self.said.append,
            wanted=lambda: self.wanted,
            run=manager.run,
        )

    def _failed(self, count: int, retry_s: float, text: str) -> None:
        self.failed.append((count, retry_s, text))
        self.failed_at.append(trio.current_time())

    @property
    def markers(self) -> list[Path]:
        return markers(self.state_dir)

    @property
    def name_option(self) -> str:
        """The option that submits with this session's name, of sbatch and squeue."""
        return f"name={self.launcher.name}"

    def ended_early(self, count: int, words: str = "") -> str:
        """The message about executors that ended, with the last words of the executors' log."""
        log = self.state_dir / "executors.log"
        return f"Slurm: {count} executors ended before connecting to the server{words} (see {log})"

    def connect(self, *indices: int, number: int = -1, copy: int | None = None) -> None:
        """Executors of a submission (the last one by default) connect to the server."""
        suffix = "" if copy is None else f".{copy}"
        for index in indices:
            self.launcher.connected(f"{self.manager.tag(number)}-{index}{suffix}")

    def leave(self, *indices: int, number: int = -1) -> None:
        """Executors of a submission end their connections."""
        for index in indices:
            self.launcher.gone(f"{self.manager.tag(number)}-{index}")


@asynccontextmanager
async def running(manager: Manager, tmp_path: Path, **settings: Any) -> AsyncIterator[World]:
    """A running launcher, for Slurm by default. It is killed at the end, unless the test has closed it."""
    world = World(manager, tmp_path / "state", Settings(**{"cluster": "slurm", **settings}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.launcher.run)
        await trio.testing.wait_all_tasks_blocked()
        yield world
        nursery.cancel_scope.cancel()


def arrays(manager: Manager, program: str = "sbatch") -> list[int]:
    """The number of batch jobs of each submission."""
    return [int(line.partition("--array=1-")[2].split()[0]) for line in manager.lines(program)]


def queues(manager: Manager) -> list[str]:
    return [line.partition("--partition=")[2].split()[0] for line in manager.lines("sbatch")]
