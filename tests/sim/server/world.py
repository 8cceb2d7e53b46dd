"""A whole server on the virtual clock: command lines, runners and executors are coroutines at socket pairs.

Executors use real TLS through the executor's own link. A fake launcher records how many executors the server asks for, and
the test connects them.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import spraycc
from spraycc.cluster.plan_actions import Limited
from spraycc.executor import link as link_module
from spraycc.executor.link import Link, LinkLost, tls_context
from spraycc.executor.session import read_session
from spraycc.server.fleet import launch as launch_module
from spraycc.server.host.offload import Disk
from spraycc.server.host.unix_connection import Peer
from spraycc.server.server import Server, serve
from spraycc.server.tasks import toolchains
from spraycc.settings import Settings
from spraycc.stamps import look
from spraycc.status_reply import Pending
from spraycc.system.tls import TlsSocket
from spraycc.system.toolchain import Identity
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    MadeFile,
    Ping,
    Pong,
    Reads,
    Ready,
    StartTask,
    TaskEnded,
    TaskOutput,
)
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Message
from tests.sim.server.pairs import Door, Pairs
from tests.tools import status_schema

SCHEMA = status_schema.schema()

SETTINGS = Settings(executors=4, cluster="command", start_command=("true", "{command}"), listen="127.0.0.1",
                    capture="overlay", local_slots=2, light_slots=2, link_memory_mb=0)  # fmt: skip


class FakeLauncher:
    """In place of a launcher: records how many executors it is asked for."""

    def __init__(self, *arguments: Any) -> None:
        #: the settings, an executor's command line, the log, and the function that reports failures
        self.arguments = arguments
        self.asked: list[int] = []
        self.withdrawals = 0
        self.ids: set[str] = set()
        self.closed = False
        self.processes = 0

    @property
    def is_idle(self) -> bool:
        return not self.processes

    def submission_ids(self) -> list[str]:
        return []

    def pending(self) -> list[Pending]:
        return []

    def limited(self) -> Limited | None:
        return None

    async def run(self) -> None:
        pass

    def ask(self, count: int) -> None:
        self.asked.append(count)

    def withdraw(self) -> None:
        self.withdrawals += 1

    async def withdrawn(self) -> None:
        pass

    def connected(self, executor_id: str) -> None:
        self.ids.add(executor_id)

    def gone(self, executor_id: str) -> None:
        self.ids.discard(executor_id)

    async def close(self) -> None:
        self.closed = True


class Connection:
    """A peer of the Unix socket."""

    def __init__(self, door: Door) -> None:
        self._sock = door.connect()
        self._sock.setblocking(False)
        self._reader = FrameReader()

    def send(self, *messages: Message) -> None:
        self._sock.sendall(b"".join(encode_frame(wire.TO_SERVER.pack(message)) for message in messages))

    def send_item(self, item: Any) -> None:
        self._sock.sendall(encode_frame(item))

    async def receive(self) -> Message | None:
        """The next message; None at the end."""
        while (item := self._reader.next_item()) is None:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._reader.feed(data)
        return wire.FROM_SERVER.unpack(item)

    def close(self) -> None:
        self._sock.close()


class CommandLine(Connection):
    """A build's command line."""

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self.notices: list[str] = []
        self.build = b""
        self.fifo = b""

    async def answer(self) -> Message | None:
        """The next message that is not a notice."""
        while isinstance(message := await self.receive(), wire.Notice):
            self.notices.append(message.text)
        return message

    async def hello(self, version: int = wire.RUNNER_PROTOCOL) -> None:
        self.send(wire.Hello(version, spraycc.__version__))
        assert isinstance(await self.answer(), wire.Welcome)

    async def open(self, settings: Settings, cap: int | None = None, **values: Any) -> CommandLine:
        await self.hello()
        self.send(wire.OpenBuild(cap, (b"make",), b"/", asdict(settings), **values))
        opened = await self.answer()
        assert isinstance(opened, wire.BuildOpened), opened
        self.build, self.fifo = os.fsencode(opened.build), opened.fifo
        return self

    async def finish(self) -> dict[str, Any]:
        """Reports that the tool has ended; returns the build's figures."""
        self.send(wire.CloseBuild(0, 1.0))
        summary = await self.answer()
        assert isinstance(summary, wire.Summary)
        self.close()
        return summary.figures

    async def status(self) -> dict[str, Any]:
        self.send(wire.AskStatus())
        status = await self.answer()
        assert isinstance(status, wire.Status)
        found = status_schema.problems(json.loads(json.dumps(status.figures)), SCHEMA)
        assert not found, found
        return status.figures


class Runner(Connection):
    """A wrapped command's runner."""

    async def result(self) -> tuple[dict[int, bytes], Message | None]:
        """The output that the runner was given, by stream, and the last frame."""
        output = {1: b"", 2: b""}
        while isinstance(message := await self.receive(), wire.Output):
            output[message.fd] += message.data
        return output, message


class Executor:
    """An executor, which does what the test says. It answers pings."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._put, self._take = trio.open_memory_channel[Message](100)
        self.is_silent = False

    async def run(self) -> None:
        with suppress(LinkLost), self._put:
            while True:
                message = await self.link.receive()
                if not isinstance(message, Ping):
                    self._put.send_nowait(message)
                elif not self.is_silent:
                    await self.link.send(Pong(message.number, {"tasks": 1}))

    async def next(self) -> Message:
        """The next message that is not a ping."""
        return await self._take.receive()

    def take_now(self) -> Message:
        """The next message that is not a ping, if it has arrived."""
        return self._take.receive_nowait()

    async def task(self) -> StartTask:
        message = await self.next()
        assert isinstance(message, StartTask), message
        return message

    async def done(
        self,
        start: StartTask,
        contents: bytes = b"object",
        words: bytes = b"",
        reads: tuple[tuple[bytes, bytes], ...] | None = (),
        complete: bool | None = None,
        refreshed: bool = False,
        **changes: Any,
    ) -> None:
        """The task has ended and has written its output. ``reads``: the lookups that it read; None if they are unknown."""
        ended: dict[str, Any] = {
            "task": start.task, "code": 0, "signal": 0, "cancelled": False, "refusal": "", "text": "",
            "user_s": 0.1, "system_s": 0.1, "wall_s": 0.2, "peak_rss_bytes": 1000,
        }  # fmt: skip
        messages: list[Message] = [TaskOutput(start.task, 2, words)] if words else []
        if contents:
            messages.append(MadeFile(start.task, start.outputs[-1], 0o644, len(contents), None, contents))
        if start.prove:
            messages.append(
                Reads(start.task, (reads is not None) if complete is None else complete, refreshed, others=reads or ())
            )
        await self.link.send(*messages, TaskEnded(**(ended | changes)))


class World:
    """A running server."""

    def __init__(
        self,
        base: Path,
        nursery: trio.Nursery,
        settings: Settings,
        disk: Disk | None,
        lingers: bool,
        for_probe: bool = False,
    ) -> None:
        self.run_dir, self.state_dir, self.workspace = base / "run", base / "state" / "server", base / "ws"
        for directory in (self.run_dir, self.state_dir, self.workspace):
            directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        (self.run_dir / "socket").touch()
        self.door = Door()
        self.ports: list[Pairs] = []
        self.launchers: list[FakeLauncher] = []
        self.settings = settings
        self.ended = trio.Event()
        self._nursery = nursery
        self._links: list[Link] = []
        self._disk = disk
        self._lingers = lingers
        self._for_probe = for_probe
        #: set by :meth:`run` when it has started
        self.server: Server

    async def run(self, task_status: trio.TaskStatus[Server]) -> None:
        await serve(
            self.door, self.run_dir, self.state_dir, os.fsencode(self.workspace), self.settings, self._disk, self._lingers, self._for_probe, task_status  # type: ignore[arg-type]
        )  # fmt: skip
        self.ended.set()

    def close(self) -> None:
        """Close the peers and executors that are left."""
        self.door.close_peers()
        for link in self._links:
            link.close()

    @property
    def asked(self) -> list[int]:
        """The requests to the newest launcher: the number of executors of each."""
        return self.launchers[-1].asked

    async def build(self, cap: int | None = None, settings: Settings | None = None, **values: Any) -> CommandLine:
        return await CommandLine(self.door).open(settings or self.settings, cap, **values)

    def runner(self, build: CommandLine | None, *argv: str, wish: str = "auto") -> Runner:
        runner = Runner(self.door)
        words = tuple(os.fsencode(word) for word in argv)
        cwd = os.fsencode(self.workspace)
        streams = (("null", 0, 0), ("pipe", 0, 1), ("pipe", 0, 2))
        name = build.build if build is not None else b""
        runner.send(
            wire.RunTask(wire.RUNNER_PROTOCOL, wish, name, words, b"/usr/bin/" + words[0], cwd, (b"PATH=/usr/bin",),
                         0o022, (), 0, streams)
        )  # fmt: skip
        return runner

    def compile(self, build: CommandLine | None, name: str, **values: Any) -> Runner:
        return self.runner(build, "gcc", "-c", "-o", f"{name}.o", f"{name}.c", **values)

    def link(self, build: CommandLine | None, name: str) -> Runner:
        return self.runner(build, "gcc", "-o", name, f"{name}.o")

    async def executor(
        self, name: str, number: int = -1, host: str = "node", captures: tuple[str, ...] = ("overlay",)
    ) -> Executor:
        """An executor that connects to the newest port, or to the port with index ``number``."""
        files = sorted(self.state_dir.glob("session-*.json"), key=lambda path: path.stat().st_mtime_ns)
        session = read_session(str(files[-1]))
        connection = TlsSocket(self.ports[number].connect(), tls_context(session.certificate), server_side=False)
        await link_module._shake_hands(connection, session, name)
        executor = Executor(Link(connection))
        self._links.append(executor.link)
        seen = tuple(look(lookup) for lookup in session.landmarks)
        await executor.link.send(Ready("0", host, 7, captures, {}, landmarks=seen))
        self._nursery.start_soon(executor.run)
        await settle()
        return executor


async def settle() -> None:
    """Waits until all coroutines wait."""
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def serving(
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: Disk | None = None,
    lingers: bool = True,
    for_probe: bool = False,
    **settings: Any,
) -> AsyncIterator[World]:
    """A server with these settings. It is stopped at the end."""
    async with trio.open_nursery() as nursery:
        world = World(base, nursery, replace(SETTINGS, **settings), disk, lingers, for_probe)

        def acceptor(host: str, ports: Sequence[int]) -> Pairs:
            world.ports.append(Pairs())
            return world.ports[-1]

        def launcher(*arguments: object) -> FakeLauncher:
            world.launchers.append(FakeLauncher(*arguments))
            return world.launchers[-1]

        async def no_pack(_: Path) -> None:
            return None

        monkeypatch.setattr(launch_module, "TcpAcceptor", acceptor)
        monkeypatch.setattr(launch_module, "ProcessLauncher", launcher)
        monkeypatch.setattr(launch_module, "ready_pack", no_pack)
        # All peers are in this process, which does not end. So a runner's end must show by its connection only.
        monkeypatch.setattr(Peer, "open_pidfd", lambda peer: setattr(peer, "pidfd", os.eventfd(1)))
        monkeypatch.setattr(toolchains, "identity", lambda name: Identity(f"identity of {os.fsdecode(name)}"))
        world.server = await nursery.start(world.run)
        await settle()
        try:
            yield world
            if not world.ended.is_set():
                world.server.lifetime.stop(now=True)
                await world.ended.wait()
            assert all(launcher.closed for launcher in world.launchers)
            assert list(world.state_dir.glob("session-*.json")) == []
            nursery.cancel_scope.cancel()
        finally:
            world.close()
