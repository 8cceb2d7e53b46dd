"""Hundreds of executors in one process: the real protocol over real TLS connections, and nothing run.

A simulated executor answers each task after a set time with outputs of a set size. What it shows is everything on the
submit host's side: tokens, runners, scheduler, write-back. It is of no use for a real build: the objects hold nothing.

``python -m benchmarks.simulated_executors DIRECTORY`` makes DIRECTORY/asked, a FIFO; each line written to it that has
``--session FILE`` and ``--id ID`` in it (an executor's command line) is one more executor. So a server starts them with
the settings that :func:`settings` names. On SIGTERM it ends, and writes DIRECTORY/counters.json: tasks done, most at
once, and the times at which each number at once was first reached.

The word ``-DSIMULATED_S=0.7`` on a compile line sets that task's time, ``-DSIMULATED_BYTES=5000`` its outputs' size.
Tests use two more words, so that they need not rely on times. With ``-DSIMULATED_UNTIL=NAME`` the task ends after the
file DIRECTORY/NAME was made. With ``-DSIMULATED_TOGETHER=NAME:8`` the task ends after eight tasks with this NAME were
running at the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import trio

from spraycc import __version__
from spraycc.errors import SprayccError
from spraycc.executor.file_piece import FilePiece
from spraycc.executor.link import Link, LinkLost, connect, frame_of
from spraycc.executor.session import read_session
from spraycc.system.allocator import keep_freed_memory
from spraycc.system.file_cache import cached
from spraycc.wire.executor import (
    PIECE_BYTES,
    CancelTask,
    Leave,
    MadeFile,
    Ping,
    Pong,
    Reads,
    Ready,
    StartTask,
    TaskEnded,
)
from spraycc.wire.framing import CHUNK_BYTES
from spraycc.wire.session_file import Session

#: Seconds after which a barrier that is not reached lets one task go.
DRIP_S = 1.0

_ASKED = "asked"
COUNTERS = "counters.json"


@dataclass
class Counters:
    """Counts of all simulated executors together."""

    executors: int = 0
    tasks: int = 0
    cancelled: int = 0
    running: int = 0
    running_peak: int = 0
    #: time.monotonic() when each executor was ready
    joined: list[float] = field(default_factory=list)
    #: time.monotonic() when N + 1 tasks ran at once for the first time, by index N
    reached: list[float] = field(default_factory=list)
    #: most tasks at once for each NAME of SIMULATED_TOGETHER
    together: dict[str, int] = field(default_factory=dict)
    #: contents of files that were sent
    bytes_sent: int = 0
    #: compressed contents, and the same before they were compressed
    packed_bytes: int = 0
    packed_from_bytes: int = 0
    #: user and system seconds of this process
    cpu_s: float = 0.0

    def began(self) -> None:
        self.running += 1
        if self.running > self.running_peak:
            self.running_peak = self.running
            self.reached.append(time.monotonic())

    def ended(self) -> None:
        self.running -= 1
        self.tasks += 1


class Barrier:
    """Holds the tasks of one name until ``count`` of them have been running at the same time."""

    def __init__(self, count: int) -> None:
        self.peak = 0
        self._count = count
        self._running = 0
        self._held: list[trio.Event] = []

    def drip(self) -> None:
        """Let the task go that was held longest.

        ninja 1.13.2 and older ask for further tokens only when one of their commands ends.
        """
        if self._held:
            self._held.pop(0).set()

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Note that a task is running; enter the block when the task may end."""
        self._running += 1
        self.peak = max(self.peak, self._running)
        try:
            event = trio.Event()
            self._held.append(event)
            if self.peak >= self._count:
                for held in self._held:
                    held.set()
                self._held.clear()
            await event.wait()
            yield
        finally:
            self._running -= 1
            with contextlib.suppress(ValueError):
                self._held.remove(event)


@dataclass
class Simulation:
    """The simulated executors of one process."""

    directory: Path
    seconds: tuple[float, float]
    size_bytes: int
    #: executors beyond this many connect late, each this much later than the one before
    prompt: int = 1 << 30
    late_s: float = 0.0
    #: number K of the executors beyond this many connects after DIRECTORY/join-K was made
    free: int = 1 << 30
    #: this many of the first leave after DIRECTORY/leave was made
    leaving: int = 0
    #: the outputs' content, repeated: by default a real program's bytes, which are as compressible as an object's
    contents: Path = Path(sys.executable)
    #: never compress
    plain: bool = False
    barriers: dict[str, Barrier] = field(default_factory=dict)
    asked: int = 0
    counters: Counters = field(default_factory=Counters)

    async def run(self) -> None:
        """Run until SIGTERM."""
        path = self.directory / _ASKED
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        sessions: dict[str, Session] = {}
        buffer = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_signal, nursery.cancel_scope)
            nursery.start_soon(self._drip)
            print("ready", flush=True)
            while True:
                await trio.lowlevel.wait_readable(fd)
                buffer += os.read(fd, 65536)
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    words = shlex.split(os.fsdecode(line))
                    file, name = words[words.index("--session") + 1], words[words.index("--id") + 1]
                    if file not in sessions:
                        sessions[file] = read_session(file)
                    nursery.start_soon(self._serve, sessions[file], name)

    async def _end_on_signal(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            async for _ in received:
                self.write_counters()
                scope.cancel()

    def write_counters(self) -> None:
        self.counters.cpu_s = time.process_time()
        self.counters.together = {name: barrier.peak for name, barrier in self.barriers.items()}
        (self.directory / COUNTERS).write_text(json.dumps(asdict(self.counters)))

    async def _drip(self) -> None:
        while True:
            await trio.sleep(DRIP_S)
            for barrier in self.barriers.values():
                barrier.drip()

    async def _made(self, name: str) -> None:
        """Wait for a file in the directory."""
        while not (self.directory / name).exists():
            await trio.sleep(0.02)

    async def _serve(self, session: Session, name: str) -> None:
        self.asked += 1
        if self.asked > self.prompt:
            # One after the other, so that the effect of each can be told apart.
            await trio.sleep(self.late_s * (self.asked - self.prompt))
        if self.asked > self.free:
            await self._made(f"join-{self.asked - self.free}")
        try:
            link = await connect(session, name)
            seen = tuple(map(cached, session.landmarks))
            captures = ("overlay", "in-place")
            await link.send(Ready(__version__, "simulated", os.getpid(), captures, {}, landmarks=seen))
            self.counters.executors += 1
            self.counters.joined.append(time.monotonic())
            async with trio.open_nursery() as nursery:
                if self.counters.executors <= self.leaving:
                    nursery.start_soon(self._leave, nursery.cancel_scope)
                await self._serve_tasks(link)
                nursery.cancel_scope.cancel()
            link.close()
            self.counters.packed_bytes += link.packer.packed_bytes
            self.counters.packed_from_bytes += link.packer.packed_from_bytes
        except* (LinkLost, SprayccError):
            pass

    async def _leave(self, scope: trio.CancelScope) -> None:
        await self._made("leave")
        scope.cancel()

    async def _serve_tasks(self, link: Link) -> None:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            while True:
                message = await link.receive()
                if isinstance(message, StartTask):
                    scope = trio.CancelScope()
                    nursery.start_soon(self._do, link, message, scope)
                elif isinstance(message, CancelTask):
                    scope.cancel()
                elif isinstance(message, Ping):
                    await link.send(Pong(message.number, {}))
                elif isinstance(message, Leave):
                    nursery.cancel_scope.cancel()
                    await trio.lowlevel.checkpoint()

    async def _do(self, link: Link, task: StartTask, scope: trio.CancelScope) -> None:
        seconds = _given(task, b"-DSIMULATED_S=", random.uniform(*self.seconds))
        size = int(_given(task, b"-DSIMULATED_BYTES=", self.size_bytes))
        gate = _word(task, b"-DSIMULATED_UNTIL=")
        name, _, count = _word(task, b"-DSIMULATED_TOGETHER=").partition(":")
        link.packer.is_allowed = task.may_pack and not self.plain
        self.counters.began()
        with scope:
            async with AsyncExitStack() as stack:
                if count:
                    barrier = self.barriers.setdefault(name, Barrier(int(count)))
                    await stack.enter_async_context(barrier.hold())
                await trio.sleep(seconds)
                if gate:
                    await self._made(gate)
        self.counters.ended()
        self.counters.cancelled += scope.cancelled_caught
        usage = (seconds, 0.0, seconds, 50_000_000)
        ended = frame_of(TaskEnded(task.task, 0, 0, scope.cancelled_caught, "", "", *usage))
        if task.prove:
            ended = frame_of(Reads(task.task, complete=True)) + ended
        with contextlib.suppress(LinkLost):
            frames = bytearray()
            for message in () if scope.cancelled_caught else _files(task, size, self.contents):
                # As a real executor does: the last piece goes with TaskEnded.
                if isinstance(message, FilePiece):
                    before, frames = frames, bytearray()
                    await link.send_piece(message, before)
                    self.counters.bytes_sent += message.size_bytes
                    continue
                frames += link.small_file(message)
                self.counters.bytes_sent += len(message.data)
                if len(frames) >= CHUNK_BYTES:
                    await link.send_frames(frames)
                    frames = bytearray()
            await link.send_frames(frames + ended)


def _given(task: StartTask, option: bytes, default: float) -> float:
    return float(_word(task, option) or default)


def _word(task: StartTask, option: bytes) -> str:
    """The rest of the word that begins with ``option``; empty without such a word."""
    for word in task.argv:
        if word.startswith(option):
            return os.fsdecode(word[len(option) :])
    return ""


@functools.cache
def _contents(is_depfile: bool, of_objects: Path) -> tuple[int, int]:
    """An open file with the outputs' content, and its size, a multiple of PIECE_BYTES.

    A depfile has empty lines: ninja reads it, and an empty line names no dependency.
    """
    contents = b"\n" * PIECE_BYTES if is_depfile else of_objects.read_bytes()
    descriptor = os.memfd_create("contents")
    size = len(contents) // PIECE_BYTES * PIECE_BYTES
    with open(descriptor, "wb", closefd=False) as file:
        file.write(contents[:size])
    return descriptor, size


def _files(task: StartTask, size: int, of_objects: Path) -> Iterator[MadeFile | FilePiece]:
    for path in task.outputs:
        descriptor, have = _contents(path.endswith(b".d"), of_objects)
        data = os.pread(descriptor, size, 0) if size <= CHUNK_BYTES else b""
        yield MadeFile(task.task, path, 0o666 & ~task.umask, size, None, data)
        for at in range(0, size if size > CHUNK_BYTES else 0, PIECE_BYTES):
            yield FilePiece(task.task, descriptor, at % have, min(PIECE_BYTES, size - at))


def settings(directory: Path, real: int = 0, listen: str = "127.0.0.1") -> dict[str, str]:
    """Environment variables by which a server takes its executors from the simulation in ``directory``, except the
    first ``real`` executors, which the server starts on this host. The server listens at the address ``listen``."""
    hand_over = f'printf "%s\\n" "$0" >{shlex.quote(str(directory / _ASKED))}'
    for number in range(real):
        hand_over = f"if mkdir {shlex.quote(str(directory))}/real-{number} 2>/dev/null; then exec $0; fi; {hand_over}"
    return {
        "SPRAYCC_CLUSTER": "command",
        "SPRAYCC_START_COMMAND": shlex.join(["/bin/sh", "-c", hand_over, "{command}"]),
        "SPRAYCC_LISTEN": listen,
    }


@contextlib.contextmanager
def simulation(
    directory: Path,
    seconds: tuple[float, float] = (0.5, 1.0),
    size_bytes: int = 10_000,
    words: Sequence[str] = (),
    enter: Sequence[str] = (),
    **popen: Any,
) -> Iterator[subprocess.Popen[str]]:
    """Run a process that simulates executors; its counters are in ``directory`` at the end of the block. The words
    ``enter`` come before its command line."""
    command = [*enter, sys.executable, str(Path(__file__)), str(directory), "--seconds", *map(str, seconds)]
    command += ["--size-bytes", str(size_bytes), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **popen) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the simulation did not start"
            yield process
        finally:
            process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulates executors for servers that ask for them.")
    parser.add_argument("directory", type=Path, help="where the FIFO is made, and the counters are written at the end")
    parser.add_argument("--seconds", type=float, nargs=2, default=(0.5, 1.0), help="least and longest time of a task")
    parser.add_argument("--size-bytes", type=int, default=10_000, help="size of each output")
    parser.add_argument("--late", nargs=2, default=("1000000", "0"), metavar=("N", "S"), help="all but N: S s apart")
    parser.add_argument("--free", type=int, default=1 << 30, metavar="N", help="all but N wait for DIRECTORY/join-K")
    parser.add_argument("--leave", type=int, default=0, metavar="N", help="the first N leave at DIRECTORY/leave")
    parser.add_argument("--contents", type=Path, default=Path(sys.executable), help="a file with the outputs' content")
    parser.add_argument("--plain", action="store_true", help="never compress")
    options = parser.parse_args()
    simulated = Simulation(
        options.directory, tuple(options.seconds), options.size_bytes,
        int(options.late[0]), float(options.late[1]), options.free, options.leave,
        contents=options.contents, plain=options.plain,
    )  # fmt: skip
    keep_freed_memory(256 * 1024 * 1024)
    trio.run(simulated.run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
