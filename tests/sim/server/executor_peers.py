"""Executors' connections to a part of the server: real TLS on socket pairs, and a fake in place of the rest of the server."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from spraycc.model import BuildId, Command, Description, ExecutorId, Kind, Placement, TaskId, Usage
from spraycc.scheduler.events import Event, ExecutorJoined, Outcome
from spraycc.server.coherence.inputs import Inputs
from spraycc.server.coherence.tracker import Tracker
from spraycc.server.fleet.connection import ExecutorLink
from spraycc.server.fleet.credentials import Credentials
from spraycc.server.fleet.listener import ExecutorListener
from spraycc.server.host.offload import Disk
from spraycc.server.tasks.capture_roots import CaptureRoots
from spraycc.server.tasks.predicted_outputs import Predictions
from spraycc.server.tasks.task import Task
from spraycc.server.writeback.commit import WriteBack
from spraycc.settings import Settings
from spraycc.wire import executor as wire
from spraycc.wire.framing import encode_frame
from tests.sim.server.pairs import Pairs

READY = wire.Ready("0", "host", 1, ("overlay",), {})


async def inline(function: Callable[..., Any], *arguments: Any, limiter: trio.CapacityLimiter | None = None) -> Any:
    """In place of a thread."""
    return function(*arguments)


class FakeHub:
    """In place of the rest of the server: records the calls of connections."""

    settings = Settings(cluster="ssh")
    inputs = Inputs(Tracker(None), Disk())
    predictions = Predictions(Disk(), {})
    write_back = WriteBack(Disk())
    disk = Disk(in_thread=inline)

    def __init__(self) -> None:
        self.links: dict[ExecutorId, ExecutorLink] = {}
        self.unfit: list[str] = []
        self.finished: list[tuple[int, int, int]] = []
        self._send, self.events = trio.open_memory_channel[Event](100)

    async def why_unusable(self, ready: object, landmarks: object) -> str:
        return ""

    def lasts_s(self, link: ExecutorLink) -> float | None:
        return None

    def post(self, event: Event) -> None:
        self._send.send_nowait(event)

    def executor_ready(self, link: ExecutorLink) -> None:
        self.links[link.id] = link

    def executor_gone(self, link: ExecutorLink) -> None:
        del self.links[link.id]

    def executor_unfit(self, link: ExecutorLink, text: str) -> None:
        self.unfit.append(text)

    def host_differs(self, task: Task, text: str) -> None:
        raise AssertionError("no test has an executor refuse a task's compiler")

    def finish(self, task: Task, code: int, signal: int) -> None:
        self.finished.append((task.id, code, signal))

    def attempt_over(
        self, task: Task, executor: ExecutorId, outcome: Outcome, usage: Usage, returned_bytes: int, ok: bool
    ) -> None:
        pass


class FakePeer:
    """In place of a runner's connection: records the frames that were sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, *items: Any) -> None:
        self.send_now(*items)

    def send_now(self, *items: Any) -> None:
        self.sent += items


class Server:
    def __init__(self, hub: FakeHub, pairs: Pairs, session: Credentials) -> None:
        self.hub = hub
        self.pairs = pairs
        self.session = session
        self.opened: list[trio.SocketStream] = []

    async def plain(self) -> trio.SocketStream:
        """A connection without TLS."""
        self.opened.append(trio.SocketStream(trio.socket.from_stdlib_socket(self.pairs.connect())))
        return self.opened[-1]

    async def tls(self, session: Credentials | None = None) -> trio.SSLStream[trio.SocketStream]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=(session or self.session).certificate)
        stream = trio.SSLStream(await self.plain(), context, https_compatible=True)
        await stream.do_handshake()
        return stream

    async def proved(self, name: bytes = b"e1", secret: bytes | None = None) -> trio.SSLStream[trio.SocketStream]:
        stream = await self.tls()
        nonce = wire.read_challenge(await exactly(stream, wire.CHALLENGE_BYTES))
        await stream.send_all(wire.proof(secret or self.session.secret, nonce, name))
        return stream

    async def ready(self, name: bytes = b"e1") -> trio.SSLStream[trio.SocketStream]:
        stream = await self.proved(name)
        await send(stream, READY)
        assert await self.hub.events.receive() == ExecutorJoined(ExecutorId(name.decode()), host="host", holds_all=True)
        return stream


async def exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        assert more, "closed too early"
        data += more
    return data


async def send(stream: Any, *messages: Any) -> None:
    await stream.send_all(b"".join(encode_frame(wire.FROM_EXECUTOR.pack(m)) for m in messages))


async def send_contents(stream: Any, data: bytes, announced: int | None = None) -> None:
    """Send a piece of the file of task 1, which has another size than the message says if ``announced`` is given."""
    await send(stream, wire.FileContents(TaskId(1), len(data) if announced is None else announced))
    await stream.send_all(data)


async def is_closed(stream: Any) -> bool:
    """True if the other end closes without sending another byte."""
    with trio.fail_after(60):
        try:
            return bytes(await stream.receive_some(1)) == b""
        except trio.BrokenResourceError:
            return True


@asynccontextmanager
async def serving(
    session: Credentials, links: dict[ExecutorId, ExecutorLink] | None = None, hub: FakeHub | None = None
) -> AsyncIterator[Server]:
    hub = hub or FakeHub()
    pairs = Pairs()
    listening = ExecutorListener(hub, hub, session, pairs, {} if links is None else links, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listening.run)
        server = Server(hub, pairs, session)
        try:
            with trio.fail_after(600):
                yield server
        finally:
            for stream in server.opened:
                stream.socket.close()
            nursery.cancel_scope.cancel()
    assert pairs.closed


def task(workspace: Path, number: int = 1) -> Task:
    command = Command((b"gcc",), b"/usr/bin/gcc", os.fsencode(workspace), (b"A=b", b"SPRAYCC_X=y"), 0o022)
    description = Description(Kind.COMPILE, Placement.REMOTE, "compile")
    plan = CaptureRoots((os.fsencode(workspace),), (), ())
    return Task(TaskId(number), BuildId("b"), command, description, FakePeer(), plan, live=False)  # type: ignore[arg-type]


def ended(number: int = 1, **changes: Any) -> wire.TaskEnded:
    values: dict[str, Any] = {
        "task": TaskId(number), "code": 0, "signal": 0, "cancelled": False, "refusal": "", "text": "",
        "user_s": 0.1, "system_s": 0.1, "wall_s": 0.2, "peak_rss_bytes": 1,
    }  # fmt: skip
    return wire.TaskEnded(**(values | changes))
