"""The command line's connection to the server: blocking, one request at a time. Notices may arrive in between."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

from spraycc import __version__
from spraycc.cli.hampered_server import is_hampered
from spraycc.errors import ProtocolError, ServerUnavailable
from spraycc.notices import ending, starting
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import (
    FROM_SERVER,
    RUNNER_PROTOCOL,
    TO_SERVER,
    AskStatus,
    BuildOpened,
    CloseBuild,
    Hello,
    Notice,
    OpenBuild,
    Progress,
    Refused,
    Status,
    Stop,
    Summary,
    ToolProcess,
    Welcome,
)
from spraycc.wire.schema import Message

M = TypeVar("M", bound=Message)

#: Longest silence of a living server. The server answers in milliseconds, on a login host in deep swap in seconds.
ANSWER_TIMEOUT_S = 10.0
#: The longest end of a server: executors leave, and the cluster manager gets the last commands.
END_TIMEOUT_S = 30.0
_CREDENTIALS = struct.Struct("3i")
_READ_BYTES = 65536


class ConnectionEnded(ServerUnavailable):
    """The server closed the connection, or died."""


class ServerReplaced(ServerUnavailable):
    """The server had no build, and another version or fewer rights. It has ended: the caller may start a new server."""


class ServerConnection:
    """Owns the socket; :meth:`close` closes it, which also ends a build that was opened on it.

    Every method that waits for an answer raises ServerUnavailable if the server refuses or does not answer, and the
    subclass ConnectionEnded if the server is gone.
    """

    def __init__(self, sock: socket.socket, on_notice: Callable[[str], None]) -> None:
        self._sock = sock
        self._on_notice = on_notice
        #: the last figures of the build's progress; empty before the first
        self.progress: dict[str, Any] = {}
        self._reader = FrameReader()
        #: the server's process id, from the kernel
        self.pid = 0
        #: the server's first message
        self.welcome = Welcome(0, "", 0)

    @classmethod
    def connect(cls, path: bytes, on_notice: Callable[[str], None], for_build: bool = False) -> ServerConnection:
        """Connect to the socket at ``path`` and exchange Hello and Welcome.

        Args:
            path: the server's socket.
            on_notice: gets each line that the server wants to show to the user.
            for_build: check the server's version and rights, and end an idle server of another version or with fewer
                rights. Without ``for_build`` the caller may ask for status and stop only, which are the same in every
                version.

        Raises:
            FileNotFoundError, ConnectionRefusedError: no server.
            ConnectionEnded: the server went away.
            ServerReplaced: the server had another version or fewer rights, and has ended.
            ServerUnavailable: the server is another user's, does not answer, or is busy and speaks another protocol
                version (``for_build``).
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection = cls(sock, on_notice)
        try:
            # Blocking: if the backlog is full, a non-blocking connect to a Unix socket fails, or falsely succeeds.
            sock.connect(path)
            sock.settimeout(ANSWER_TIMEOUT_S)
            connection.pid, uid, _gid = _CREDENTIALS.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            if uid != os.getuid():
                raise ServerUnavailable(starting.SOCKET_OF_OTHERS.text(socket=os.fsdecode(path), uid=uid))
            connection._send(Hello(RUNNER_PROTOCOL, __version__))
            connection.welcome = connection._answer(Welcome)
            if for_build:
                connection._replace_if_idle()
        except BaseException:
            sock.close()
            raise
        return connection

    def _replace_if_idle(self) -> None:
        """End an idle server of another release or with fewer rights. Use a busy one if it speaks our protocol."""
        welcome = self.welcome
        speaks = welcome.version == RUNNER_PROTOCOL
        if speaks and welcome.release == __version__ and not is_hampered(self.pid):
            return
        try:
            self._send(Stop(if_idle=True))
            self._answer(Welcome)
        except ConnectionEnded:
            raise ServerReplaced(f"process {self.pid}, a server of release {welcome.release}, was replaced") from None
        except ServerUnavailable as exc:
            if speaks:
                return
            raise ServerUnavailable(
                starting.SERVER_OF_OTHER_VERSION.text(
                    release=welcome.release,
                    version=welcome.version,
                    own_release=__version__,
                    own_version=RUNNER_PROTOCOL,
                    cause=exc,
                    pid=welcome.pid,
                )
            ) from None

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def open_build(
        self,
        cap: int | None,
        argv: tuple[bytes, ...],
        cwd: bytes,
        settings: dict[str, Any],
        jobserver: bool,
        live_tokens: bool = True,
        progress_s: float = 0.0,
        *,
        probe: bool = False,
        typed: tuple[bytes, ...] = (),
    ) -> BuildOpened:
        """Open a build, which lasts as long as this connection or the tool.

        With a ``progress_s`` above 0, the server renews ``progress`` at this interval. ``typed``: the user's words.
        """
        request = OpenBuild(cap, argv, cwd, settings, jobserver, live_tokens, progress_s, probe, typed)
        return self._ask(request, BuildOpened)

    def tool_started(self, pid: int) -> None:
        self._send(ToolProcess(pid))

    def close_build(self, status: int, wall_s: float) -> dict[str, Any]:
        """Report the end of the tool; returns the build's figures. If the server ends with the build, waits for it.

        The end of this process may kill the server (a sandbox that ends with its first process), and the server must
        remove its files before.
        """
        figures = self._ask(CloseBuild(status, wall_s), Summary).figures
        if figures.pop("server_ends", False):
            with contextlib.suppress(OSError):
                _wait_for_exit(self.pid)
        return figures

    def status(self) -> dict[str, Any]:
        return self._ask(AskStatus(), Status).figures

    def stop(self, now: bool) -> None:
        """Ask the server to end, and wait for its end: soon with ``now``, else after the open builds."""
        self._send(Stop(now))
        self._sock.settimeout(END_TIMEOUT_S if now else None)
        try:
            self._answer(Welcome)
        except ConnectionEnded:
            return

    def stop_if_idle(self) -> bool:
        """Ask the server to end unless a build or a runner uses it, and wait for its end. False if it is in use."""
        self._send(Stop(if_idle=True))
        try:
            self._answer(Welcome)
        except ConnectionEnded:
            return True
        except ServerUnavailable:
            pass
        return False

    def read_notices(self) -> None:
        """Read arrived data without waiting, and pass notices on.

        Raises:
            ConnectionEnded: the server is gone, or sent an invalid message.
        """
        try:
            data = self._sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise ConnectionEnded(ending.CONNECTION_CLOSED.text())
        self._reader.feed(data)
        self._pass_on_notices()

    def _pass_on_notices(self) -> None:
        while (message := self._next()) is not None:
            if isinstance(message, Notice | Refused):
                self._on_notice(message.text)
            elif isinstance(message, Progress):
                self.progress = message.figures

    def _ask(self, request: Message, answer: type[M]) -> M:
        self._send(request)
        return self._answer(answer)

    def _send(self, message: Message) -> None:
        try:
            self._sock.sendall(encode_frame(TO_SERVER.pack(message)))
        except TimeoutError:
            raise ServerUnavailable(starting.SERVER_TAKES_NOTHING.text(pid=self.pid)) from None
        except OSError as exc:
            raise ConnectionEnded(ending.CONNECTION_LOST.text(cause=exc.strerror)) from None

    def _answer(self, wanted: type[M]) -> M:
        """The next message of type ``wanted``; notices are passed on."""
        timeout = self._sock.gettimeout()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self._next()
            if isinstance(message, wanted):
                # Notices may have arrived in the same read, and poll(2) does not report them again.
                self._pass_on_notices()
                return message
            if isinstance(message, Notice):
                self._on_notice(message.text)
                continue
            if isinstance(message, Progress):
                self.progress = message.figures
                continue
            if isinstance(message, Refused):
                raise ServerUnavailable(message.text)
            if message is not None:
                raise ConnectionEnded(ending.UNASKED_ANSWER.text(tag=message.TAG))
            if deadline is not None and time.monotonic() > deadline:
                raise ServerUnavailable(starting.SERVER_IS_SILENT.text(pid=self.pid, limit_s=timeout))
            try:
                data = self._sock.recv(_READ_BYTES)
            except TimeoutError:
                continue
            except OSError as exc:
                raise ConnectionEnded(ending.CONNECTION_LOST.text(cause=exc.strerror)) from None
            if not data:
                raise ConnectionEnded(ending.CONNECTION_CLOSED.text())
            self._reader.feed(data)

    def _next(self) -> Message | None:
        try:
            item = self._reader.next_item()
            return None if item is None else FROM_SERVER.unpack(item)
        except ProtocolError as exc:
            raise ConnectionEnded(ending.INVALID_MESSAGE.text(cause=exc)) from None


def _wait_for_exit(pid: int) -> None:
    """Wait until a process has ended, at most END_TIMEOUT_S.

    Raises:
        OSError: the process is gone already, or is in another pid namespace.
    """
    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [], END_TIMEOUT_S)
    finally:
        os.close(pidfd)
