"""One connection of the server's Unix socket: frames over a non-blocking socket, and who is at the other end.

Not a trio stream, for two reasons: an answer must be sent from where the scheduler decides it, without waiting, and
thousands of these are held at once.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Any

import trio

from spraycc.wire.framing import FrameReader, encode_frame

_CREDENTIALS = struct.Struct("3i")
_READ_BYTES = 65536
# Linux 6.5: a pidfd of the peer, without the chance that its pid is somebody else's by now. Not in Python's socket.
_SO_PEERPIDFD = 77


class Peer:
    """Owns the socket and the pidfd; :meth:`close` closes both."""

    __slots__ = ("_flushed", "_reader", "_sock", "_unsent", "pid", "pidfd", "uid")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._unsent = b""
        #: set by the coroutine that flushes, when it has sent something; None where none does
        self._flushed: trio.Event | None = None
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, _gid = _CREDENTIALS.unpack(credentials)
        #: None where the process can't be seen from here (another pid namespace): then the connection's end is its end
        self.pidfd: int | None = None

    def open_pidfd(self) -> None:
        """Get hold of the process itself, so that its end is seen after it has become another program."""
        with suppress(OSError):
            self.pidfd = self._sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
            os.set_inheritable(self.pidfd, False)
            return
        with suppress(OSError):
            self.pidfd = os.pidfd_open(self.pid)

    async def receive(self) -> Any | None:
        """The next decoded item; None at the end of the stream (also a cut or reset one).

        Raises:
            ProtocolError: what came is no frame.
        """
        while True:
            item = self._reader.next_item()
            if item is not None:
                return item
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            except OSError:
                return None
            if not data:
                return None
            self._reader.feed(data)

    async def wait_closed(self) -> None:
        """Return when the peer has closed its end. What it still sends is thrown away."""
        while True:
            try:
                if not self._sock.recv(_READ_BYTES):
                    return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError:
                return

    async def wait_word(self) -> bool:
        """Return when the peer has sent something (True) or closed its end."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)  # it has nothing to say yet
                return bool(self._sock.recv(_READ_BYTES))
            except BlockingIOError:
                continue
            except OSError:
                return False

    def dismiss(self) -> None:
        """Let the peer see our end of the connection closed."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def wait_process(self) -> None:
        """Return when the peer's process has ended; at once where it can't be seen."""
        if self.pidfd is not None:
            await trio.lowlevel.wait_readable(self.pidfd)

    @property
    def is_behind(self) -> bool:
        """Something is still to be sent."""
        return bool(self._unsent)

    def send_now(self, *items: Any) -> None:
        """Send without waiting; for what is small and goes to an empty socket. What does not fit goes with the next
        send."""
        self._unsent += b"".join([encode_frame(item) for item in items])
        self._push()

    async def send(self, *items: Any) -> None:
        """Send, waiting as long as the peer takes to read. A peer that is gone is no error: its end is seen
        elsewhere."""
        self.send_now(*items)
        await self.flush()

    async def flush(self) -> None:
        """Send what :meth:`send_now` could not, waiting as long as the peer takes to read. Several coroutines may do so
        at once (two attempts of one task), and :meth:`close` may come at any time."""
        while self._unsent:
            if self._flushed is not None:  # who does takes ours along
                await self._flushed.wait()
                continue
            self._flushed = trio.Event()
            try:
                await trio.lowlevel.wait_writable(self._sock)
                self._push()
            except (OSError, trio.ClosedResourceError):
                self._unsent = b""
            finally:
                self._flushed.set()
                self._flushed = None

    def _push(self) -> None:
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    def close(self) -> None:
        """Close the connection; what was not sent is not."""
        self._unsent = b""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        if self.pidfd is not None:
            trio.lowlevel.notify_closing(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = None
