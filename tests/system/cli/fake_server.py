"""A server that only opens builds and answers, for tests of the command line.

As a class it is a thread of the test. As a program, ``fake_server.py run --dir D ... [MODE]``, the command line starts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spraycc import __version__
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import (
    FROM_SERVER,
    RUNNER_PROTOCOL,
    TO_SERVER,
    AskStatus,
    BuildOpened,
    CloseBuild,
    Hello,
    OpenBuild,
    Refused,
    Status,
    Stop,
    Summary,
    ToolProcess,
    Welcome,
)
from spraycc.wire.schema import Message

FIGURES = {
    "tasks": 35,
    "remote": 33,
    "local": 2,
    "failed": 0,
    "retried": 0,
    "cancelled": 0,
    "cpu_s_remote": 45.6,
    "run_s": 45.6,
    "executors_peak": 4,
    "running_peak": 4,
    "bytes_returned": 12_400_000,
}


class FakeServer:
    """Listens in ``directory`` until closed. ``received`` keeps every message that arrives.

    ``hooks``: for a message's class, a function that replaces the usual answer. It is called with the message and the
    function that sends. If it returns True, the connection ends.
    """

    def __init__(
        self,
        directory: Path,
        *,
        version: int = RUNNER_PROTOCOL,
        release: str = __version__,
        jobserver: bool = True,
        hooks: dict[type[Message], Callable[[Any, Callable[[Message], None]], bool | None]] | None = None,
    ) -> None:
        self.directory = directory
        self.received: list[Message] = []
        self.version = version
        self.release = release
        self.jobserver = jobserver
        self.hooks = hooks or {}
        self.fifos: list[int] = []
        self.dying = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(directory, 0o700)
        os.chmod(directory.parent, 0o700)
        self.lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(directory / "socket"))
        self.listener.listen(16)
        self.connections: list[socket.socket] = []
        self.talks: list[threading.Thread] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.die()

    def die(self) -> None:
        """Like the kernel after a kill: connections and lock are gone, socket and builds stay."""
        with self.dying:  # the test and a hook's thread may both ask for it
            if self.lock >= 0:
                self._end()

    def _end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.talks:
            thread.join()
        for connection in self.connections:
            connection.close()
        os.close(self.lock)
        self.lock = -1
        for fd in self.fifos:
            os.close(fd)

    def messages(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.received if isinstance(message, kind)]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.talks.append(threading.Thread(target=self._converse, args=[connection], daemon=True))
            self.talks[-1].start()

    def _converse(self, connection: socket.socket) -> None:
        reader = FrameReader()

        def send(*messages: Message) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has ended
                connection.sendall(b"".join(encode_frame(FROM_SERVER.pack(message)) for message in messages))

        while data := _receive(connection):
            reader.feed(data)
            while (item := reader.next_item()) is not None:
                message = TO_SERVER.unpack(item)
                self.received.append(message)
                hook = self.hooks.get(type(message))
                if (hook or self._answer)(message, send):
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, message: Message, send: Callable[[Message], None]) -> bool | None:
        match message:
            case Hello():
                send(Welcome(self.version, self.release, os.getpid()))
            case OpenBuild():
                build = self.directory / "builds" / "b1"
                build.mkdir(parents=True, exist_ok=True)
                fifo = build / "fifo"
                if self.jobserver and message.jobserver:
                    if not fifo.exists():
                        os.mkfifo(fifo, 0o600)
                    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
                    os.write(fd, b"+++")
                    self.fifos.append(fd)
                    send(BuildOpened("b1", os.fsencode(fifo)))
                else:
                    send(BuildOpened("b1", b""))
            case ToolProcess():
                pass
            case CloseBuild():
                send(Summary(dict(FIGURES)))
            case AskStatus():
                send(
                    Status(
                        {
                            "server": {"pid": os.getpid(), "release": "0.0.9", "workspace": "/w"},
                            "builds": [],
                            "executors": [],
                        }
                    )
                )
            case Stop():
                return True
            case _:
                send(Refused("not asked for"))
        return None


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def main() -> None:
    """The program that the command line starts in the tests: reads settings from stdin, then serves until Stop."""
    directory = Path(sys.argv[sys.argv.index("--dir") + 1])
    mode = os.environ.get("FAKE_SERVER_MODE", "serve")
    settings = sys.stdin.readline()
    assert sys.stdin.read() == ""
    with open(directory / "starts", "a") as file:
        file.write(
            json.dumps(
                {
                    "argv": sys.argv,
                    "cwd": os.getcwd(),
                    "sid": os.getsid(0),
                    "pid": os.getpid(),
                    "settings": json.loads(settings),
                }
            )
            + "\n"
        )
    if mode == "fail":
        sys.exit("the fake server fails, as told")
    ended = threading.Event()

    def stop(message: Message, send: Callable[[Message], None]) -> bool:
        ended.set()
        return True

    try:
        server = FakeServer(directory, hooks={Stop: stop})
    except BlockingIOError:
        return  # like the real server: another one was faster
    ended.wait(60)
    server.die()
    (directory / "socket").unlink()


if __name__ == "__main__":
    main()
