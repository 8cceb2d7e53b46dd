"""Executors that are processes of the server: what becomes of the user's own commands that wait for a CPU."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from spraycc.server.fleet import process_launcher
from spraycc.server.fleet.process_launcher import WITHDRAWN_RETRY_S, ProcessLauncher
from spraycc.settings import Settings
from tests.sim.server.world import settle


class Process:
    """In place of a process: runs until the test or the launcher ends it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = trio.Event()

    def end(self, status: int) -> None:
        self.returncode = status
        self._ended.set()

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode


class World:
    """A launcher of ``cluster = "command"``, its processes, and what it has reported as failed."""

    def __init__(self, base: Path) -> None:
        self.processes: list[Process] = []
        self.executors: list[str] = []
        self.seen_off: list[int] = []
        self.failed: list[tuple[int, float, str]] = []
        settings = Settings(cluster="command", start_command=("wait", "{command}"))
        self.launcher = ProcessLauncher(settings, ["executor"], base / "executors.log", self._note)

    def _note(self, count: int, retry_s: float, text: str) -> None:
        self.failed.append((count, retry_s, text))

    async def start(self, argv: list[str], *_: object) -> Process:
        self.executors.append(argv[-1].split()[-1])
        self.processes.append(Process(len(self.processes)))
        return self.processes[-1]

    async def see_off(self, process: Process) -> None:
        if process.returncode is None:
            self.seen_off.append(process.pid)


@asynccontextmanager
async def waiting(count: int, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A launcher that was asked for executors; all commands wait."""
    world = World(base)
    monkeypatch.setattr(process_launcher, "start_process", world.start)
    monkeypatch.setattr(process_launcher, "see_off", world.see_off)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.launcher.run)
        world.launcher.ask(count)
        await settle()
        yield world
        await world.launcher.close()


async def test_commands_that_wait_end_by_a_withdrawal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with waiting(3, tmp_path, monkeypatch) as world:
        world.launcher.connected(world.executors[1])
        world.launcher.withdraw()
        await settle()
        assert sorted(world.seen_off) == [0, 2]
        assert world.failed == [(1, WITHDRAWN_RETRY_S, "")] * 2
        assert world.launcher.processes == 1
        assert world.launcher.pending() == []
        world.launcher.ask(1)
        await settle()
        assert len(world.processes) == 4
        assert world.launcher.processes == 2


async def test_an_executor_that_connects_while_its_command_is_ended_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with waiting(1, tmp_path, monkeypatch) as world:
        world.launcher.withdraw()
        world.launcher.connected(world.executors[0])
        await settle()
        assert world.seen_off == [0]
        assert world.failed == []


async def test_a_command_that_has_submitted_its_executor_is_not_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SprayCC can't cancel a batch job of the user's own command, so it keeps waiting for the executor."""
    async with waiting(1, tmp_path, monkeypatch) as world:
        world.processes[0].end(0)
        await settle()
        world.launcher.withdraw()
        await settle()
        assert world.failed == []
        assert world.launcher.processes == 1
        world.launcher.connected(world.executors[0])
        await trio.sleep(2)
        assert world.launcher.processes == 0
        assert world.failed == []
