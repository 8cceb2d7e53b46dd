"""The whole server on the virtual clock: command lines, runners and executors are coroutines at socket pairs.

Executors speak real TLS by the executor's own link; starting them is noted, and the test connects them.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import spraycc
from spraycc.errors import ConfigError
from spraycc.executor import link as link_module
from spraycc.executor.link import Link, LinkLost, tls_context
from spraycc.executor.session import read_session
from spraycc.server import server as server_module
from spraycc.server.builds.token_watch import STUCK_S
from spraycc.server.fleet.process_launcher import RETRY_S
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks import toolchains
from spraycc.settings import Settings
from spraycc.stamps import FILE, MISSING, look
from spraycc.system.tls import TlsSocket
from spraycc.wire import runner as wire
from spraycc.wire.executor import (
    CancelTask,
    Leave,
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
from tests.sim.server.silent_watcher import SilentWatcher

SETTINGS = Settings(executors=4, cluster="command", start_command=("true", "{command}"), listen="127.0.0.1",
                    capture="overlay", local_slots=2, light_slots=2, link_memory_mb=0)  # fmt: skip


class FakeStarter:
    """In place of what starts executors: notes how many are asked for."""

    def __init__(self, *_: object) -> None:
        self.asked: list[int] = []
        self.withdrawn = 0
        self.ids: set[str] = set()
        self.closed = False
        self.processes = 0

    def submission_ids(self) -> list[str]:
        return []

    async def run(self) -> None:
        pass

    def ask(self, count: int) -> None:
        self.asked.append(count)

    def withdraw(self) -> None:
        self.withdrawn += 1

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
        """The next message that is no notice."""
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
        """The tool has ended; the build's figures."""
        self.send(wire.CloseBuild(0, 1.0))
        summary = await self.answer()
        assert isinstance(summary, wire.Summary)
        self.close()
        return summary.figures

    async def status(self) -> dict[str, Any]:
        self.send(wire.AskStatus())
        status = await self.answer()
        assert isinstance(status, wire.Status)
        return status.figures


class Runner(Connection):
    """A wrapped command's runner."""

    async def result(self) -> tuple[dict[int, bytes], Message | None]:
        """What it was given of the command's output, and the last frame."""
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
        """The next message that is no ping."""
        return await self._take.receive()

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
        """The task has ended, and has written its output. ``reads``: what it has read; None where that is not known."""
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

    def __init__(self, base: Path, nursery: trio.Nursery, settings: Settings) -> None:
        self.run_dir, self.state_dir, self.workspace = base / "run", base / "state" / "server", base / "ws"
        for directory in (self.run_dir, self.state_dir, self.workspace):
            directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        (self.run_dir / "socket").touch()
        self.door = Door()
        self.ports: list[Pairs] = []
        self.starters: list[FakeStarter] = []
        self.settings = settings
        self.ended = trio.Event()
        self._nursery = nursery
        self._links: list[Link] = []
        self.server = server_module.Server(self.run_dir, self.state_dir, os.fsencode(self.workspace), settings)

    async def run(self) -> None:
        await self.server.run(self.door)  # type: ignore[arg-type]
        self.ended.set()

    def close(self) -> None:
        """Close what is left of peers and executors."""
        self.door.close_peers()
        for link in self._links:
            link.close()

    @property
    def asked(self) -> list[int]:
        """Executors that were asked for, of the newest starter."""
        return self.starters[-1].asked

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

    async def executor(self, name: str, number: int = -1, host: str = "node") -> Executor:
        """An executor that connects by the newest port, or another one."""
        files = sorted(self.state_dir.glob("session-*.json"), key=lambda path: path.stat().st_mtime_ns)
        session = read_session(str(files[-1]))
        connection = TlsSocket(self.ports[number].connect(), tls_context(session.certificate), server_side=False)
        await link_module._shake_hands(connection, session, name)
        executor = Executor(Link(connection))
        self._links.append(executor.link)
        seen = tuple(look(lookup) for lookup in session.landmarks)
        await executor.link.send(Ready("0", host, 7, ("overlay",), {}, landmarks=seen))
        self._nursery.start_soon(executor.run)
        await settle()
        return executor


async def settle() -> None:
    """Until everybody waits."""
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def serving(base: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[World]:
    """A server with these settings, which is stopped at the end."""
    async with trio.open_nursery() as nursery:
        world = World(base, nursery, replace(SETTINGS, **settings))

        def acceptor(host: str) -> Pairs:
            world.ports.append(Pairs())
            return world.ports[-1]

        def starter(*arguments: object) -> FakeStarter:
            world.starters.append(FakeStarter(*arguments))
            return world.starters[-1]

        async def no_pack(_: Path) -> None:
            return None

        monkeypatch.setattr(server_module, "TcpAcceptor", acceptor)
        monkeypatch.setattr(server_module, "ProcessLauncher", starter)
        monkeypatch.setattr(server_module, "ready_pack", no_pack)
        # All peers are this process, which does not end: a runner's process ends with its connection.
        monkeypatch.setattr(Peer, "open_pidfd", lambda _: None)
        monkeypatch.setattr(toolchains, "identity", lambda name: f"identity of {os.fsdecode(name)}")
        nursery.start_soon(world.run)
        await settle()
        try:
            yield world
            if not world.ended.is_set():
                world.server.stop(now=True)
                await world.ended.wait()
            assert all(starter.closed for starter in world.starters)
            assert list(world.state_dir.glob("session-*.json")) == []
            nursery.cancel_scope.cancel()
        finally:
            world.close()


# -- a task's way


async def test_a_compile_goes_to_an_executor_and_its_file_and_words_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        assert world.asked == [4]
        executor = await world.executor("e1")
        start = await executor.task()
        assert start.argv == (b"gcc", b"-c", b"-o", b"a.o", b"a.c")
        await executor.done(start, b"object", b"a.c:1: warning\n")
        output, last = await runner.result()
        assert output == {1: b"", 2: b"a.c:1: warning\n"}
        assert last == wire.Exited(0, 0)
        assert (world.workspace / "a.o").read_bytes() == b"object"
        runner.close()
        figures = await build.finish()
        assert (figures["tasks"], figures["remote"], figures["local"], figures["retried"]) == (1, 1, 0, 0)
        assert figures["tokens_free_at_end"] == figures["tokens_issued"]
        assert figures["exit_status"] == 0


async def test_a_status_that_is_not_zero_reaches_the_runner_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", b"a.c:1: error\n", code=1)
        output, last = await runner.result()
        assert (output[2], last) == (b"a.c:1: error\n", wire.Exited(1, 0))
        runner.close()
        assert (await build.finish())["failed"] == 1


async def test_an_executor_that_is_lost_has_its_task_done_by_another_and_no_word_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        first = await world.executor("e1")
        start = await first.task()
        await first.link.send(TaskOutput(start.task, 2, b"warn"))
        first.link.close()
        second = await world.executor("e2")
        again = await second.task()
        assert (again.task, again.attempt) == (start.task, 2)
        await second.done(again, b"object", b"warning\n")
        output, last = await runner.result()
        assert (output[2], last) == (b"warning\n", wire.Exited(0, 0))
        runner.close()
        assert (await build.finish())["retried"] == 1


async def test_an_executor_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        silent = await world.executor("e1")
        await silent.task()
        idle = await world.executor("e2")
        silent.is_silent = True
        began = trio.current_time()
        await idle.task()
        waited_s = trio.current_time() - began
        assert world.settings.lost_after_s < waited_s <= world.settings.lost_after_s + 2 * world.settings.heartbeat_s


async def test_executors_that_answer_are_kept_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.task()
        await trio.sleep(600)
        assert [e["id"] for e in (await build.status())["executors"]] == ["e1"]


async def test_a_runner_that_is_killed_has_its_task_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        start = await executor.task()
        runner.close()
        assert await executor.next() == CancelTask(start.task)
        await executor.done(start, cancelled=True, contents=b"")
        other = world.compile(build, "b")
        await executor.done(await executor.task())
        assert (await other.result())[1] == wire.Exited(0, 0)
        other.close()
        figures = await build.finish()
        assert (figures["cancelled"], figures["remote"]) == (1, 1)
        assert not (world.workspace / "a.o").exists()


async def test_what_an_executor_refuses_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"part", b"words", refusal="copy-up", text="it writes elsewhere")
        output, last = await runner.result()
        assert isinstance(last, wire.RunHere)
        assert output == {1: b"", 2: b""}
        assert not (world.workspace / "a.o").exists()
        runner.close()
        figures = await build.finish()
        assert (figures["local"], figures["remote"], figures["retried"]) == (1, 0, 1)


async def test_a_task_whose_host_saw_another_file_is_tried_once_more_and_then_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        header = FILE + bytes(world.workspace / "a.h")
        executor = await world.executor("e1")
        start = await executor.task()
        assert header not in [lookup for _, lookup, _ in start.stamps]
        (world.workspace / "a.h").touch()
        await executor.done(start, words=b"no a.h\n", reads=((header, MISSING),))
        start = await executor.task()
        assert look(header) in [stamp for _, lookup, stamp in start.stamps if lookup == header]
        await executor.done(start, words=b"no a.h\n", reads=((header, MISSING),))
        output, last = await runner.result()
        assert isinstance(last, wire.RunHere)
        assert output == {1: b"", 2: b""}
        assert not (world.workspace / "a.o").exists()
        runner.close()
        figures = await build.finish()
        assert (figures["local"], figures["remote"], figures["stale"], figures["retried"]) == (1, 0, 1, 2)


async def test_a_task_that_read_what_is_here_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        (world.workspace / "a.h").touch()
        runner = world.compile(build, "a")
        await settle()
        header = FILE + bytes(world.workspace / "a.h")
        executor = await world.executor("e1")
        await executor.done(await executor.task(), reads=((header, look(header)), (header + b"x", MISSING)))
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
        assert (await build.finish())["stale"] == 0


async def test_a_build_sees_what_other_hosts_changed_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event tells of such a change, so the time is all that makes the server look again; and here it stands."""
    monkeypatch.setattr("spraycc.server.dispatcher.Watcher.open", SilentWatcher)
    async with serving(tmp_path, monkeypatch) as world:
        header = FILE + bytes(world.workspace / "a.h")
        executor = None
        for contents in ("", "longer"):
            (world.workspace / "a.h").write_text(contents)
            build = await world.build()
            runner = world.compile(build, "a")
            await settle()
            executor = executor or await world.executor("e1")
            await executor.done(await executor.task(), reads=((header, look(header)),))
            assert (await runner.result())[1] == wire.Exited(0, 0)
            runner.close()
            assert (await build.finish())["stale"] == 0


async def test_a_compile_of_which_it_is_not_known_what_it_read_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), reads=None)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        assert (await build.finish())["local"] == 1


async def test_another_command_of_which_that_is_not_known_is_tried_again_after_a_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it counts, and the next one of its kind is refreshed at once."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        executor = None
        for is_first in (True, False):
            runner = world.runner(build, "gen", "x", wish="remote")
            await settle()
            executor = executor or await world.executor("e1")
            start = await executor.task()
            assert start.incomplete is not is_first
            if is_first:
                await executor.done(start, b"", reads=None)
                start = await executor.task()
                assert start.incomplete
            await executor.done(start, b"", reads=None, refreshed=True)
            assert (await runner.result())[1] == wire.Exited(0, 0)
            runner.close()
        figures = await build.finish()
        assert (figures["remote"], figures["stale"]) == (2, 1)


async def test_a_command_that_could_not_be_recorded_counts_if_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its executor has refreshed first, as it knew that."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", reads=None, refreshed=True)
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()
        assert (await build.finish())["stale"] == 0


async def test_where_no_refresh_helps_it_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        for _ in range(2):
            await executor.done(await executor.task(), b"", reads=None)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await build.finish()


async def test_what_is_known_of_an_incomplete_record_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        (world.workspace / "a.h").touch()
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        other = (FILE + bytes(world.workspace / "a.h"), MISSING)
        for _ in range(2):
            start = await executor.task()
            await executor.done(start, b"", reads=(other,), complete=False, refreshed=True)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        assert (await build.finish())["stale"] == 1


async def test_a_command_that_fails_and_of_which_that_is_not_known_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, "gen", "x", wish="remote")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task(), b"", reads=None, refreshed=True, code=1)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await build.finish()


async def test_links_run_here_and_no_more_at_once_than_there_are_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runners = []
        for number in range(3):
            runners.append(world.link(build, f"p{number}"))
            await settle()  # else any of them may be the first one
        for runner in runners[:2]:
            assert isinstance((await runner.result())[1], wire.RunHere)
        with trio.move_on_after(60) as waited:
            await runners[2].result()
        assert waited.cancelled_caught
        runners[0].close()
        assert isinstance((await runners[2].result())[1], wire.RunHere)
        for runner in runners[1:]:
            runner.close()
        await settle()
        assert (await build.finish())["local"] == 3


async def test_the_record_of_a_build_has_the_link_whose_end_was_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.link(build, "p")
        assert isinstance((await runner.result())[1], wire.RunHere)
        await build.finish()
        runner.close()
        await settle()
        (record,) = world.state_dir.glob("builds/*.jsonl")
        tasks = [json.loads(line) for line in record.read_text().splitlines()[1:]]
        assert [(task["target"], task["ran"]) for task in tasks] == [("p", "here")]


async def test_a_link_that_stays_gives_its_slot_up_before_it_may_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where completions may be held, its runner stays as its parent and asks before it ends."""
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build()
        compile_ = world.compile(build, "a")
        await settle()
        for name in ("e1", "e2"):
            await world.executor(name)
        first = world.link(build, "p")
        await settle()
        second = world.link(build, "q")
        assert (await first.result())[1] == wire.RunHere(0, 0, 1)
        first.send(wire.Done())
        assert (await second.result())[1] == wire.RunHere(0, 0, 1)
        # make has taken no token, so there is room, and the first one may end.
        assert (await first.result())[1] is None
        for runner in (first, second, compile_):
            runner.close()
        await settle()
        assert (await build.finish())["local"] == 2


@pytest.mark.parametrize(
    ("wish", "argv"), [("local", ["gcc", "-c", "-o", "a.o", "a.c"]), ("auto", ["gcc", "--version"])]
)
async def test_what_is_to_run_here_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, argv: list[str]
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.runner(build, *argv, wish=wish)
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        assert (await build.finish())["local"] == 1


@pytest.mark.parametrize("place", ["output", "input"])
async def test_a_command_at_a_fifo_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        os.mkfifo(world.workspace / ("a.o" if place == "output" else "a.c"))
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        runner.close()
        await settle()
        (reason,) = (await build.finish())["reasons"]
        assert "special file" in reason


async def test_a_task_of_no_build_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        runner = world.compile(None, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await runner.result())[1] == wire.Exited(0, 0)
        runner.close()


# -- no executor


async def test_without_an_executor_compiles_run_here_after_the_grace_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        began = trio.current_time()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        assert trio.current_time() - began == pytest.approx(world.settings.pending_grace_s)
        runner.close()
        await settle()
        await build.finish()
        assert any("no executor has connected yet (4 asked of 'command')" in text for text in build.notices)


async def test_who_waits_for_the_cluster_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch, wait_for_cluster=True) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        with trio.move_on_after(300) as waited:
            await runner.result()
        assert waited.cancelled_caught
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        assert (await runner.result())[1] == wire.Exited(0, 0)


async def test_executors_that_can_not_be_started_are_told_of_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        tries: list[float] = []

        def fail(*_: object) -> None:
            tries.append(trio.current_time())
            raise ConfigError("`hosts` names no host")

        monkeypatch.setattr(server_module, "ProcessLauncher", fail)
        build = await world.build()
        runner = world.compile(build, "a")
        assert isinstance((await runner.result())[1], wire.RunHere)
        other = world.compile(build, "b")
        await trio.sleep(30)
        assert len(tries) >= 2
        assert tries[1] - tries[0] >= RETRY_S
        assert any("executors can't be started: `hosts` names no host" in text for text in [
            *build.notices, (await build.status())["trouble"]])  # fmt: skip
        runner.close()
        other.close()
        assert all(port.closed for port in world.ports)


@pytest.mark.parametrize(
    ("captures", "refusals", "words"),
    [
        ((), {"overlay": "EPERM"}, "can't capture outputs by overlay: EPERM"),
        (("overlay",), {"recorder": "it is too new"}, "can't record what commands read (it is too new)"),
        (("overlay",), {"workspace": "/w is not a directory on this host"}, "/w is not a directory on this host"),
    ],
)
async def test_an_executor_that_can_t_be_used_is_asked_to_leave_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captures: tuple[str, ...], refusals: dict[str, str], words: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        executor.link.close()
        session = read_session(str(next(world.state_dir.glob("session-*.json"))))
        connection = TlsSocket(world.ports[-1].connect(), tls_context(session.certificate), server_side=False)
        await link_module._shake_hands(connection, session, "e2")
        link = Link(connection)
        seen = tuple(look(lookup) for lookup in session.landmarks)
        await link.send(Ready("0", "node7", 1, captures, refusals, landmarks=seen))
        assert isinstance(await link.receive(), Leave)
        trouble = (await build.status())["trouble"]
        assert "node7" in trouble
        assert words in trouble
        link.close()


# -- builds


async def test_a_build_is_as_wide_as_there_are_executors_and_its_fifo_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, local_slots=1) as world:
        build = await world.build()
        assert os.path.exists(build.fifo)
        world.compile(build, "a")
        await settle()
        widths = [(await build.status())["builds"][0]["width"]]
        for name in ("e1", "e2", "e3"):
            await world.executor(name)
            widths.append((await build.status())["builds"][0]["width"])
        assert widths[1:] == [1, 2, 3]
        await build.finish()
        assert not os.path.exists(build.fifo)


async def test_a_build_whose_command_line_is_gone_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        build.close()
        await settle()
        other = CommandLine(world.door)
        await other.hello()
        assert (await other.status())["builds"] == []
        assert not os.path.exists(build.fifo)
        other.close()


async def test_a_build_without_a_jobserver_has_no_fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(jobserver=False)
        assert build.fifo == b""
        runner = world.runner(build, "gcc", "--version")
        await runner.result()
        runner.close()
        await settle()
        assert (await build.finish())["tokens_issued"] == 0


async def test_a_make_that_bears_no_withdrawal_gets_a_fixed_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        widths = []
        for cap in (None, 3, 1):
            build = await world.build(cap, live_tokens=False)
            widths.append((await build.status())["builds"][0]["tokens"]["issued"] + 1)
            await build.finish()
        assert widths == [8, 3, 1]


@pytest.mark.parametrize("live_tokens", [True, False])
async def test_a_build_that_the_user_wants_one_recipe_wide_stays_so_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live_tokens: bool
) -> None:
    """With ``-j1``, of either kind of make, recipes may rely on it that no other one runs."""
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build(1, live_tokens=live_tokens)
        await trio.sleep(3 * STUCK_S)
        assert (await build.status())["builds"][0]["tokens"]["issued"] == 0
        await build.finish()


async def test_builds_with_other_ways_of_starting_executors_get_a_session_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        first = world.compile(build, "a")
        await settle()
        old = await world.executor("e1")
        start = await old.task()
        other = await world.build(settings=replace(world.settings, setup="module load gcc", executors=6))
        second = world.compile(other, "b")
        await settle()
        assert len(world.starters) == len(world.ports) == 2
        new = await world.executor("e2")
        await new.done(await new.task())
        assert (await second.result())[1] == wire.Exited(0, 0)
        # Who was there before serves on.
        await old.done(start)
        assert (await first.result())[1] == wire.Exited(0, 0)


# -- peers that misbehave


@pytest.mark.parametrize(
    ("item", "words"),
    [(["nonsense"], "nonsense"), (["build-close", 0, 1.0], "does not begin with"), ([], "")],
)
async def test_a_connection_that_begins_with_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: Any, words: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = Connection(world.door)
        peer.send_item(item)
        refused = await peer.receive()
        assert isinstance(refused, wire.Refused)
        assert words in refused.text
        assert await peer.receive() is None
        peer.close()


async def test_a_peer_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = Connection(world.door)
        began = trio.current_time()
        assert await peer.receive() is None
        assert trio.current_time() - began == pytest.approx(server_module.FIRST_FRAME_S)
        peer.close()


async def test_a_runner_of_another_version_is_refused_and_its_build_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        peer = Connection(world.door)
        peer.send_item(["task", 99, "auto", build.build, "what", "ever"])
        refused = await peer.receive()
        assert isinstance(refused, wire.Refused)
        peer.close()
        await build.finish()
        assert any("was installed anew" in text for text in build.notices)


@pytest.mark.parametrize("what", ["a second build", "close without a build", "a task's frame"])
async def test_a_command_line_that_breaks_the_protocol_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = await world.build() if what == "a second build" else CommandLine(world.door)
        if what == "a second build":
            peer.send(wire.OpenBuild(None, (b"make",), b"/", {}))
        else:
            await peer.hello()
            peer.send(wire.CloseBuild(0, 1.0) if what.startswith("close") else wire.Done())
        assert isinstance(await peer.answer(), wire.Refused)
        assert await peer.answer() is None
        peer.close()


async def test_a_command_line_of_another_version_may_look_and_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = CommandLine(world.door)
        await peer.hello(version=99)
        assert (await peer.status())["server"]["release"] == spraycc.__version__
        peer.send(wire.OpenBuild(None, (b"make",), b"/", {}))
        assert isinstance(await peer.answer(), wire.Refused)
        peer.close()
        peer = CommandLine(world.door)
        await peer.hello(version=99)
        peer.send(wire.Stop(if_idle=True))
        await world.ended.wait()
        peer.close()


async def test_a_build_that_can_not_be_opened_is_refused_and_the_connection_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        peer = CommandLine(world.door)
        await peer.hello()

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "mkfifo", fail)
            peer.send(wire.OpenBuild(None, (b"make",), b"/", asdict(world.settings)))
            refused = await peer.answer()
        assert isinstance(refused, wire.Refused)
        assert "No space left" in refused.text
        assert (await peer.status())["builds"] == []
        peer.close()


async def test_runners_wait_where_there_is_no_descriptor_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        for _ in range(5):
            world.door.fail(errno.EMFILE)
        began = trio.current_time()
        runner = world.runner(build, "gcc", "--version")
        await runner.result()
        assert trio.current_time() - began == pytest.approx(5 * server_module.SHORT_S)
        assert caplog.text.count("runners wait") == 1
        runner.close()


async def test_an_error_of_accept_that_is_no_shortage_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is retried is named; everything else is loud."""
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with serving(tmp_path, monkeypatch) as world:
            world.door.fail(errno.EINVAL)
            await world.ended.wait()


# -- its end


async def test_an_idle_server_ends_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        await trio.sleep(300)
        assert not world.ended.is_set()
        await build.finish()
        began = trio.current_time()
        await world.ended.wait()
        waited_s = trio.current_time() - began
        assert world.settings.idle_shutdown_s - 2 <= waited_s <= world.settings.idle_shutdown_s + 2


async def test_executors_that_nobody_uses_are_released_and_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.done(await executor.task())
        await runner.result()
        runner.close()
        await build.finish()
        began = trio.current_time()
        assert await executor.next() == Leave()
        assert trio.current_time() - began == pytest.approx(world.settings.release_delay_s)
        executor.link.close()
        await world.ended.wait()


async def test_a_server_whose_socket_is_gone_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        (world.run_dir / "socket").unlink()
        await trio.sleep(10)
        assert not world.ended.is_set()  # who is connected is served
        await build.finish()
        with trio.fail_after(5):
            await world.ended.wait()


async def test_a_server_that_is_to_stop_ends_after_its_last_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        peer = CommandLine(world.door)
        await peer.hello()
        peer.send(wire.Stop(if_idle=True))
        assert isinstance(await peer.answer(), wire.Refused)
        peer.send(wire.Stop())
        await trio.sleep(100)
        assert not world.ended.is_set()
        await build.finish()
        with trio.fail_after(5):
            await world.ended.wait()
        assert await peer.answer() is None
        peer.close()


async def test_a_server_that_is_to_stop_now_has_its_executors_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as world:
        build = await world.build()
        runner = world.compile(build, "a")
        await settle()
        executor = await world.executor("e1")
        await executor.task()
        build.send(wire.Stop(now=True))
        assert await executor.next() == Leave()
        began = trio.current_time()
        await world.ended.wait()
        # This one does not leave, so it is waited for as long as may be.
        assert trio.current_time() - began <= server_module.LEAVE_S + 0.1
        assert (await runner.result())[1] is None
        runner.close()
        build.close()


async def test_a_server_clears_away_what_a_killed_one_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state" / "server"
    state.mkdir(parents=True)
    (state / "session-old.json").touch()
    for number in range(server_module.EXECUTOR_LOGS + 5):
        path = state / f"executor-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    async with serving(tmp_path, monkeypatch):
        assert not (state / "session-old.json").exists()
        logs = {path.name for path in state.glob("executor-*.log")}
        assert len(logs) == server_module.EXECUTOR_LOGS
        assert "executor-4.log" not in logs
