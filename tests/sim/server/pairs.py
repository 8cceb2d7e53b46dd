"""Socket pairs in place of listening sockets."""

from __future__ import annotations

import os
import socket
from typing import Any

import trio


class Pairs:
    """In place of a listening TCP socket: ``accept`` gives ends of socket pairs, or raises a chosen error."""

    address = ("127.0.0.1", 9)

    def __init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[socket.socket | OSError](1000)
        self.closed = False

    def connect(self) -> socket.socket:
        """The peer's end of a connection that waits to be accepted."""
        ours, theirs = socket.socketpair()
        self._put.send_nowait(ours)
        return theirs

    def fail(self, number: int) -> None:
        """Have the next accept fail with this errno."""
        self._put.send_nowait(OSError(number, os.strerror(number)))

    @property
    def waiting(self) -> int:
        """The number of connections that were not accepted yet."""
        return self._take.statistics().current_buffer_used

    async def accept(self) -> tuple[socket.socket, Any]:
        item = await self._take.receive()
        if isinstance(item, OSError):
            raise item
        return item, "a test"

    def close(self) -> None:
        self.closed = True
        while self.waiting:
            item = self._take.receive_nowait()
            if isinstance(item, socket.socket):
                item.close()


class Door:
    """In place of the server's listening Unix socket: ``accept`` gives ends of socket pairs, or fails."""

    def __init__(self) -> None:
        self._bell, self._other_end = socket.socketpair()
        self._bell.setblocking(False)
        self._waiting: list[socket.socket | OSError] = []
        self._peers: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """The peer's end of a connection that waits to be accepted."""
        ours, theirs = socket.socketpair()
        self._peers.append(theirs)
        self._ring(ours)
        return theirs

    def close_peers(self) -> None:
        """Close the peers' ends that are still open."""
        for sock in self._peers:
            sock.close()

    def fail(self, number: int) -> None:
        """Have the next accept fail with this errno."""
        self._ring(OSError(number, os.strerror(number)))

    def _ring(self, item: socket.socket | OSError) -> None:
        self._waiting.append(item)
        self._other_end.send(b"!")

    # -- as a listening socket

    def fileno(self) -> int:
        return self._bell.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        self._bell.recv(1)  # BlockingIOError if no connection waits
        item = self._waiting.pop(0)
        if isinstance(item, OSError):
            raise item
        return item, ""

    def close(self) -> None:
        self._bell.close()
        self._other_end.close()
        for item in self._waiting:
            if isinstance(item, socket.socket):
                item.close()
