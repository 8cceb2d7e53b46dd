"""The server's counts of compiles, and its watch for compilers without a runner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from spraycc.model import BuildId
from spraycc.server.builds.unwrapped import SAMPLE_S, CompilerWatch, Program
from spraycc.server.host.process_end import HostProcesses
from spraycc.server.host.process_tree import Process
from spraycc.server.tasks.stats import Figures
from spraycc.wire import runner as wire
from tests.sim.server.world import Runner, serving, settle

TOP = 100
STATIC = Program(b"/opt/tool", obstacle="static")
MAKE = Program(b"/usr/bin/make", has_library=True)
GCC = Program(b"/usr/bin/gcc", b"gcc")


async def ends(*runners: Runner) -> None:
    for runner in runners:
        runner.close()
    await settle()


async def test_compiles_by_what_became_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=8, policy_here_light=("g++",)) as world:
        build = await world.build()
        sent = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        await sent.result()
        refused = world.compile(build, "b")
        await executor.done(await executor.task(), b"", refusal="no room", text="no room")
        assert isinstance((await refused.result())[1], wire.RunHere)
        here = [
            world.runner(build, "g++", "-c", "-o", "c.o", "c.cc"),
            world.runner(build, "gcc", "-o", "d", "d.c"),
            world.runner(build, "gcc", "-o", "e", "d.o"),
            world.runner(build, "gcc", "-c", "conftest.c"),
            world.runner(build, "gcc", "-E", "e.c"),
            world.runner(build, "ccache", "gcc", "-c", "f.c"),
        ]
        for runner in here:
            assert isinstance((await runner.result())[1], wire.RunHere)
        await ends(sent, refused, *here)
        figures = await build.finish()
        assert (figures["tasks"], figures["compiles"], figures["compiles_remote"]) == (8, 5, 1)
        kept = figures["compiles_here"]
        assert kept["reasons"] == {
            "here: refused": 1,
            "policy: here-light = 'g++'": 1,
            "link": 1,
            "started through a launcher": 1,
        }
        assert kept["first"]["started through a launcher"][0] == "/usr/bin/ccache"
        assert (kept["samples"], kept["unwrapped"]) == (0, {})


async def test_without_an_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        await ends(runner)
        figures = await build.finish()
        assert (figures["compiles"], figures["compiles_remote"]) == (1, 0)
        assert figures["compiles_here"]["reasons"] == {"here: no-executor": 1}


class Host(HostProcesses):
    """The processes of the test."""

    def __init__(self) -> None:
        self.processes: dict[int, Process] = {}
        self.read_at: list[float] = []
        self.cost_s = 0.0
        self.error: Exception | None = None

    def add(self, pid: int, parent: int, name: bytes) -> None:
        self.processes[pid] = Process(pid, parent, name, "S", 1, 0, pid)

    async def read_all(self) -> dict[int, Process]:
        self.read_at.append(trio.current_time())
        await trio.sleep(self.cost_s)
        if self.error is not None:
            raise self.error
        return dict(self.processes)


class Watched:
    """A build with a watch, and the programs of its processes."""

    def __init__(self) -> None:
        self.host = Host()
        self.figures = Figures()
        self.programs: dict[int, Program] = {}
        self.read: list[int] = []
        self.watch = CompilerWatch(BuildId("b"), self.figures, b"/ws", self.host, self._read)

    def _read(self, process: Process, workspace: bytes) -> Program | None:
        self.read.append(process.pid)
        return self.programs.get(process.pid)

    def add(self, pid: int, parent: int, program: Program, name: bytes = b"x") -> None:
        self.host.add(pid, parent, name)
        self.programs[pid] = program

    def compile_below(self, pid: int, driver: Program = GCC) -> None:
        """A compiler's driver ``pid + 1`` and its inner program."""
        self.add(pid + 1, pid, driver)
        self.host.add(pid + 2, pid + 1, b"cc1")


@pytest.fixture
async def watched(nursery: trio.Nursery) -> Watched:
    watched = Watched()
    watched.add(TOP, 1, MAKE)
    nursery.start_soon(watched.watch.run, TOP)
    return watched


async def samples(count: int) -> None:
    await trio.sleep(count * SAMPLE_S + 0.5)


async def test_the_first_compiler_without_a_runner_is_noted_and_samples_are_counted(watched: Watched) -> None:
    watched.add(200, TOP, STATIC)
    watched.compile_below(200)
    await samples(2)
    watched.host.processes = {TOP: watched.host.processes[TOP]}
    await samples(2)
    watched.watch.close()
    assert watched.figures.unwrapped == {
        "compiler": "/usr/bin/gcc",
        "by": "/opt/tool",
        "cause": "static",
        "culprit": "/opt/tool",
    }
    assert (watched.figures.samples, watched.figures.samples_unwrapped) == (4, 2)
    # The second sample reads the driver alone.
    assert watched.read == [201, 200, TOP, 201]


async def test_compilers_with_runners_cost_one_look_each(watched: Watched) -> None:
    for pid in (200, 300):
        watched.add(pid, TOP, MAKE)
        watched.compile_below(pid, Program(b"/usr/bin/gcc", has_slot=True))
    await samples(1)
    watched.watch.close()
    assert sorted(watched.read) == [201, 301]
    assert (watched.figures.samples_unwrapped, watched.figures.unwrapped) == (0, {})


async def test_a_process_that_ends_meanwhile_says_nothing(watched: Watched) -> None:
    watched.host.add(200, TOP, b"tool")
    watched.compile_below(200)
    await samples(1)
    assert watched.figures.unwrapped == {}
    watched.programs[200] = STATIC
    await samples(1)
    watched.watch.close()
    assert watched.figures.unwrapped["by"] == "/opt/tool"


async def test_a_compile_on_an_executor_ends_the_watch(watched: Watched) -> None:
    await samples(2)
    watched.figures.compiles_remote = 1
    await samples(5)
    assert len(watched.host.read_at) == 2


async def test_readings_use_little_of_a_cpu_and_become_rare(watched: Watched) -> None:
    watched.host.cost_s = 0.1
    await trio.sleep(100)
    assert len(watched.host.read_at) == 10
    watched.host.cost_s = 0.0
    await trio.sleep(10_000)
    watched.watch.close()
    assert len(watched.host.read_at) < 120


@pytest.mark.parametrize(("error", "readings"), [(OSError(24, "Too many open files"), 3), (RuntimeError("a bug"), 1)])
async def test_faults_disturb_no_build(watched: Watched, error: Exception, readings: int) -> None:
    watched.host.error = error
    await samples(3)
    watched.watch.close()
    assert len(watched.host.read_at) == readings


async def test_a_build_is_watched_from_its_tools_start_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()

    async def read_all(_: Any) -> dict[int, Process]:
        return await host.read_all()

    monkeypatch.setattr(HostProcesses, "read_all", read_all)
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(jobserver=False)
        await trio.sleep(10 * SAMPLE_S)
        assert host.read_at == []
        build.send(wire.ToolProcess(os.getpid()))
        await samples(3)
        assert (await build.finish())["compiles_here"]["samples"] == 3
        await samples(3)
        assert len(host.read_at) == 3
