"""The box that stays: one process that runs one command after another (spraycc/native/box/serve.c)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterable

from spraycc.executor.box import BoxOrder, BoxProcess, Streams, with_pipes

#: Bytes of all words, number of words, number of the environment's entries: struct request of serve.c.
_HEAD = struct.Struct("=III")
#: Longer requests are not sent; a box of its own runs such a command.
MOST_BYTES = 1 << 26
#: The box is idle when it gets a request, so it answers and reads at once.
_PATIENCE_S = 10.0
_SOCKET_FD = 3


class ServingBox:
    """A running serving box. :meth:`stop` it."""

    def __init__(self, box: bytes, hold: bytes, null: int) -> None:
        """Start it. Only from the main thread, as :func:`spraycc.executor.box.start_box`.

        Args:
            box: path of the program.
            hold: an empty directory, over which the box mounts its own.
            null: descriptor of /dev/null.

        Raises:
            OSError: this host does not allow the namespaces, or the box does not start.
        """
        self._socket, theirs = socket.socketpair()
        self._is_gone = False
        with theirs:
            try:
                self.pid = os.posix_spawn(
                    box,
                    [box, b"--serve", b"%d" % _SOCKET_FD, b"--hold", hold, b"--parent", b"%d" % os.getpid()],
                    {},
                    file_actions=[
                        *[(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)],
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET_FD),
                    ],
                )
            except BaseException:
                self._socket.close()
                raise
        try:
            self._socket.settimeout(_PATIENCE_S)
            if not self._socket.recv(1):
                raise ConnectionError("the serving box has ended")
        except BaseException:
            self.stop()
            raise

    def start(self, order: BoxOrder, forgotten: Iterable[bytes], stdin: int, streams: Streams) -> BoxProcess:
        """Start a command. No other command runs.

        Args:
            order: with a pid namespace. An overlay whose upper layer was used before is used again.
            forgotten: upper layers whose overlays are not needed any more.
            stdin: becomes the command's stdin.
            streams: the kinds of the command's stdout and stderr.

        Raises:
            OSError: the box has ended or does not answer, and nothing was started.
        """
        words = [b"spraycc-box"]
        for upper in forgotten:
            words += (b"--forget", upper)
        words += order.options()
        text = b"".join([word + b"\0" for word in (*words, *order.env)])
        if len(text) > MOST_BYTES:
            raise OSError(f"a command line of {len(text)} bytes")

        def send(out: int, err: int, report: int) -> int:
            head = _HEAD.pack(len(text), len(words), len(order.env))
            socket.send_fds(self._socket, [head], [stdin, out, err, report])
            self._socket.sendall(text)
            return self.pid

        process = with_pipes(streams, send)

        def wait() -> None:
            # The signal may come after the command's end, and would then kill the next command.
            if process.was_killed:
                self.stop()

        process.wait = wait
        return process

    def is_running(self) -> bool:
        """False if the box has ended."""
        self._stop_if_gone()
        return not self._is_gone

    def _stop_if_gone(self) -> None:
        if not self._is_gone and os.waitpid(self.pid, os.WNOHANG)[0]:
            self._is_gone = True
            self._socket.close()

    def stop(self) -> None:
        """End the box with all processes. May be called twice."""
        self._socket.close()
        if not self._is_gone:
            self._is_gone = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
