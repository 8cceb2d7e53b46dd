"""One connection of the server's Unix socket: frames over a non-blocking socket, and the process of the peer.

Not a trio stream, for two reasons: the scheduler's decision must send an answer without waiting, and the server holds
thousands of connections at once.
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
# Linux 6.5: a pidfd of the peer. A pid could belong to another process by now. Python's socket lacks the constant.
_SO_PEERPIDFD = 77


class Peer:
    """Owns the socket and the pidfd; :meth:`close` closes both."""

    __slots__ = ("_flushed", "_reader", "_sock", "_unsent", "pid", "pidfd", "uid")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._unsent = b""
        #: set by the coroutine that flushes, when it has sent something; None while no coroutine flushes
        self._flushed: trio.Event | None = None
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, _gid = _CREDENTIALS.unpack(credentials)
        #: None if the server can't see the process: it is in another pid namespace, or descriptors are short
        self.pidfd: int | None = None

    def open_pidfd(self) -> None:
        """Open a pidfd of the peer's process, so that its end is seen even after it has executed another program."""
        with suppress(OSError):
            self.pidfd = self._sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
            os.set_inheritable(self.pidfd, False)
            return
        with suppress(OSError):
            self.pidfd = os.pidfd_open(self.pid)

    async def receive(self) -> Any | None:
        """The next decoded item; None at the end of the stream (also a cut or reset one).

        Raises:
            ProtocolError: the received bytes are no frame.
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
        """Return when the peer has closed its end. Anything that it still sends is dropped."""
        while True:
            try:
                if not self._sock.recv(_READ_BYTES):
                    return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError:
                return

    async def wait_word(self) -> bytes:
        """The peer's next bytes, at most one read; empty when it has closed its end."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def dismiss(self) -> None:
        """Let the peer see our end of the connection closed."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def wait_process(self) -> None:
        """Return when the peer's process has ended; at once if the server can't see it."""
        if self.pidfd is not None:
            await trio.lowlevel.wait_readable(self.pidfd)

    @property
    def is_behind(self) -> bool:
        """Something is still to be sent."""
        return bool(self._unsent)

    def send_now(self, *items: Any) -> None:
        """Send without waiting, for small items and an idle connection. Bytes that do not fit go with the next send."""
        self._unsent += b"".join([encode_frame(item) for item in items])
        self._push()

    async def send(self, *items: Any) -> None:
        """Send, waiting as long as the peer takes to read. A peer that is gone is no error: :meth:`receive` tells."""
        self.send_now(*items)
        await self.flush()

    async def flush(self) -> None:
        """Send the rest of :meth:`send_now`, waiting as long as the peer takes to read.

        Several coroutines may flush at once (two attempts of one task). :meth:`close` may be called at any time.
        """
        while self._unsent:
            if self._flushed is not None:  # another coroutine flushes, and sends our bytes as well
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
        """Close the connection. Unsent bytes are dropped."""
        self._unsent = b""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        if self.pidfd is not None:
            trio.lowlevel.notify_closing(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = None
