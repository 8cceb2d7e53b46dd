"""The number of system calls that a task costs the server, without a clock. A rise is a regression, or needs an explanation here."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import trio

import spraycc.server
from spraycc.executor.link import Link, connect
from spraycc.executor.session import read_session
from spraycc.server.__main__ import listen
from spraycc.server.server import serve
from spraycc.settings import Settings
from spraycc.stamps import look
from spraycc.wire.executor import MadeFile, Ping, Pong, Reads, Ready, StartTask, TaskEnded
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import RUNNER_PROTOCOL, TO_SERVER, RunTask

_SERVER = str(Path(spraycc.server.__file__).parent)
_TASKS = 20
#: Seen: 30 to 34, as the kernel reports changed files one by one or together. The margin is for the server's occasional
#: other work.
_MOST_CALLS = 38


class Calls:
    """Counts system calls of the server's Python code, without trio's own."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "c_call":
            return
        owner = getattr(argument, "__self__", None)
        kind = getattr(owner, "__name__", "") if isinstance(owner, type(os)) else type(owner).__name__
        if kind not in ("posix", "fcntl", "socket", "SSLSocket", "_SSLSocket"):
            return
        if argument.__name__ in _PURE:
            return
        above: FrameType | None = frame
        while above is not None:
            if above.f_code.co_filename.startswith(_SERVER):
                self.names[argument.__name__] += 1
                return
            above = above.f_back

    def __enter__(self) -> Calls:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


#: Functions of these modules that make no system call.
_PURE = frozenset({"fspath", "fileno", "gettimeout", "getpid", "pending", "urandom", "_path_normpath"})


@asynccontextmanager
async def serving(base: Path) -> AsyncIterator[tuple[Path, Link]]:
    """A whole server in this process, with one simulated executor."""
    run, state, workspace = base / "run", base / "state" / "server", base / "ws"
    for directory in (run, state, workspace):
        directory.mkdir(parents=True, mode=0o700)
    told = base / "told"
    settings = Settings(
        executors=1, cluster="command", listen="127.0.0.1", wait_for_cluster=True, capture="overlay",
        start_command=("/bin/sh", "-c", f'printf "%s" "$0" >{told}.new; mv {told}.new {told}', "{command}"),
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, listen(run / "socket"), run, state, os.fsencode(workspace), settings)
        with trio.fail_after(60):
            # The first task makes the server ask for the executor.
            first = await submit(run / "socket", workspace, 0)
            while not told.exists():
                await trio.sleep(0.01)
            words = shlex.split(told.read_text())
            session = read_session(words[words.index("--session") + 1])
            link = await connect(session, words[words.index("--id") + 1])
            seen = tuple(look(lookup) for lookup in session.landmarks)
            await link.send(Ready("0", "host", os.getpid(), ("overlay",), {}, landmarks=seen))
            await do_task(link, b"first")
            await result(first)
            yield run / "socket", link
        link.close()
        server.lifetime.stop(now=True)


async def submit(path: Path, workspace: Path, number: int) -> trio.SocketStream:
    request = RunTask(
        RUNNER_PROTOCOL, "auto", b"", (b"gcc", b"-c", b"-o", b"unit%d.o" % number, b"unit%d.c" % number),
        b"/usr/bin/gcc", os.fsencode(workspace), (b"PATH=/usr/bin",), 0o022, (), 0,
        (("null", 0, 0), ("pipe", 0, 1), ("pipe", 0, 2)),
    )  # fmt: skip
    stream = await trio.open_unix_socket(str(path))
    await stream.send_all(encode_frame(TO_SERVER.pack(request)))
    return stream


async def do_task(link: Link, contents: bytes) -> None:
    """Does the executor's part of the next task."""
    while True:
        message = await link.receive()
        if isinstance(message, Ping):
            await link.send(Pong(message.number, {}))
        elif isinstance(message, StartTask):
            made = MadeFile(message.task, message.outputs[-1], 0o644, len(contents), None, contents)
            reads = Reads(message.task, complete=True)
            await link.send(made, reads, TaskEnded(message.task, 0, 0, False, "", "", 0.1, 0.1, 0.2, 1000))
            return


async def result(stream: trio.SocketStream) -> list[Any]:
    """The runner's last frame."""
    reader = FrameReader()
    async with stream:
        while (item := reader.next_item()) is None:
            data = await stream.receive_some(65536)
            assert data, "the server hung up"
            reader.feed(data)
    return item


async def test_a_task_costs_the_server_few_system_calls(tmp_path: Path) -> None:
    async with serving(tmp_path) as (path, link):
        with Calls() as calls:
            for number in range(1, _TASKS + 1):
                stream = await submit(path, tmp_path / "ws", number)
                await do_task(link, b"x" * 20_000)
                assert await result(stream) == ["exit", 0, 0]
        assert (tmp_path / "ws" / f"unit{_TASKS}.o").stat().st_size == 20_000
    each = {name: count / _TASKS for name, count in calls.names.most_common()}
    assert calls.names["recv"] >= _TASKS, each  # else the count itself is broken
    assert sum(each.values()) <= _MOST_CALLS, each
