"""Receives the contents of large files: raw bytes behind a message, straight from the connection into staged files.

Most of the time goes to the kernel and to OpenSSL, which let go of the interpreter lock. So a thread receives large
contents, while the event loop serves other peers. No peer can hold a thread: a thread takes the data that is there,
waits for some milliseconds at most, and then gives the connection back to the event loop. Contents that come slowly
are received by the event loop, as they come. A large compressed piece is restored by a thread in any case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from spraycc.wire.executor import PIECE_BYTES, FileContents

#: Pieces up to this size are received by the event loop.
LARGE_BYTES = 384 * 1024
#: Contents that have come slowly go to a thread again if this much waits in the kernel.
QUEUED_BYTES = 64 * 1024
#: The event loop waits this many seconds for that much, and then receives whatever has come.
PAUSE_S = 0.1
#: A thread waits this many seconds for more data, at most. Its waits together are no longer than this many seconds for
#: each part that comes.
PATIENCE_S = 0.005
#: The most that one turn of a thread receives, and one turn of the event loop.
THREAD_TURN_BYTES = 32 * 1024 * 1024
LOOP_TURN_BYTES = 256 * 1024

#: Data is received and written in parts of this size, which fit into the caches of a core.
_PART_BYTES = 256 * 1024
#: After a piece the next frame is read with at most this much of the data behind it, which is then copied once more.
_AHEAD_BYTES = 16 * 1024
_thread = threading.local()


def is_for_thread(size_bytes: int, receiving: int) -> bool:
    """Whether a thread receives a file that begins with a piece of this size.

    A thread costs 0.6 ms of CPU in all, most of it for the interpreter lock. So the event loop receives a file of up to
    one piece itself if no other connection receives contents at the same time.

    Args:
        size_bytes: a whole piece (PIECE_BYTES) may have others behind it.
        receiving: number of connections that receive contents, this one included.
    """
    return size_bytes >= PIECE_BYTES or (size_bytes > LARGE_BYTES and receiving > 1)


class Source(Protocol):
    """A connection with frames and raw bytes, for calls that never wait for the peer's next bytes."""

    def take_raw(self, most: int) -> bytes:
        """Raw bytes that were received together with a frame."""
        ...

    def receive_now(self, into: memoryview) -> int:
        """Receive bytes that are there; 0 without any."""
        ...

    def has_bytes_within(self, count: int, seconds: float) -> bool:
        """Wait for this many bytes, in a thread; True also if the connection has ended."""
        ...

    def next_contents(self) -> FileContents | None:
        """The next message if it is here and is FileContents."""
        ...

    @property
    def missing_bytes(self) -> int:
        """The next message lacks at least this many bytes; 0: another message is here."""
        ...

    def feed(self, data: memoryview) -> None:
        """Take bytes of frames."""
        ...


class Piece:
    """A piece of a file's contents, whose raw bytes come next on a connection."""

    def __init__(self, message: FileContents, write: Callable[[memoryview | bytes | bytearray], None] | None) -> None:
        """
        Args:
            message: announces the piece, and was checked.
            write: takes the next contents of the file, or a compressed piece as a whole. Raises ProtocolError only.
                None: the contents are not wanted.
        """
        #: the number of raw bytes that have not come yet
        self.left_bytes = message.raw_bytes
        self._write = write
        #: a compressed piece as far as it has come
        self._packed = bytearray() if message.packed_bytes else None
        self._is_large = message.size_bytes > LARGE_BYTES

    def take(self, data: memoryview | bytes) -> None:
        """Take the next raw bytes, at most :attr:`left_bytes`. The data may change after this call."""
        self.left_bytes -= len(data)
        if self._write is None:
            return
        if self._packed is not None:
            self._packed += data
        else:
            self._write(data)

    @property
    def is_laborious(self) -> bool:
        """True if :meth:`finish` restores so much that a thread should do it."""
        return self._is_large and bool(self._packed)

    def finish(self) -> None:
        """All bytes have come: restore a compressed piece.

        Raises:
            ProtocolError: the piece is damaged, or of another size.
        """
        packed, self._packed = self._packed, None
        if packed and self._write is not None:
            self._write(packed)


class Receiver:
    """Receives pieces until another message comes. One thread at a time.

    Its turns return the number of bytes that came.
    """

    def __init__(self, source: Source, open_piece: Callable[[FileContents], Piece], first: FileContents) -> None:
        """
        Args:
            source: the connection.
            open_piece: makes a piece of a message that announces one.
            first: the message whose bytes come next.
        """
        self._source = source
        self._open_piece = open_piece
        self._piece: Piece | None = open_piece(first)

    @property
    def is_done(self) -> bool:
        """True if a frame comes next."""
        return self._piece is None

    @property
    def left_bytes(self) -> int:
        """The rest of the piece."""
        return self._piece.left_bytes if self._piece is not None else 0

    @property
    def wants_thread(self) -> bool:
        """True if :meth:`finish_piece` should be called, in a thread."""
        return self._piece is not None and not self._piece.left_bytes and self._piece.is_laborious

    def finish_piece(self) -> int:
        """Restore a compressed piece.

        Raises:
            ProtocolError, trio.BrokenResourceError: as :meth:`take_turn_of_the_loop`.
        """
        assert self._piece is not None
        self._piece.finish()
        self._piece = self._next_piece(_part(), None, 0)
        return 0

    def take_turn_of_the_loop(self) -> int:
        """Receive some of what is there.

        Raises:
            ProtocolError: the peer may not send such a piece.
            trio.BrokenResourceError: the connection has ended.
        """
        return self._receive(LOOP_TURN_BYTES, None)

    def take_turn_of_a_thread(self) -> int:
        """Receive what is there, and what comes without long waits.

        Raises:
            ProtocolError, trio.BrokenResourceError: as :meth:`take_turn_of_the_loop`.
        """
        return self._receive(THREAD_TURN_BYTES, _Patience(self._source))

    def _receive(self, most_bytes: int, patience: _Patience | None) -> int:
        total = 0
        buffer = _part()
        while self._piece is not None and total < most_bytes:
            size = self._receive_part(buffer, self._piece)
            if not size and not (patience and patience.wait(total, self._piece.left_bytes)):
                break
            total += size
            if not self._piece.left_bytes:
                if patience is None and self._piece.is_laborious:
                    break
                self._piece.finish()
                self._piece = self._next_piece(buffer, patience, total)
        return total

    def _receive_part(self, buffer: memoryview, piece: Piece) -> int:
        if early := self._source.take_raw(piece.left_bytes):
            piece.take(early)
            return len(early)
        size = self._source.receive_now(buffer[: piece.left_bytes])
        if size:
            piece.take(buffer[:size])
        return size

    def _next_piece(self, buffer: memoryview, patience: _Patience | None, total: int) -> Piece | None:
        """The piece that follows directly; None if another message follows, or none within the patience."""
        source = self._source
        while (message := source.next_contents()) is None and (missing := source.missing_bytes):
            size = source.receive_now(buffer[: missing + _AHEAD_BYTES])
            if size:
                source.feed(buffer[:size])
            elif not (patience and patience.wait(total, missing)):
                return None
        return None if message is None else self._open_piece(message)


class _Patience:
    """Bounds the time for which a thread waits in one turn, by the bytes that have come."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._waited_s = 0.0

    def wait(self, total_bytes: int, wanted_bytes: int) -> bool:
        """Wait for more data, of which ``wanted_bytes`` are known to come.

        False if little has come, or if the thread has waited too long.
        """
        left_s = PATIENCE_S * (1 + total_bytes / _PART_BYTES) - self._waited_s
        if left_s <= 0:
            return False
        began = time.perf_counter()
        # OpenSSL may hold the beginning of a record, which comes from the network no more.
        count = max(1, min(wanted_bytes - _AHEAD_BYTES, QUEUED_BYTES))
        has_data = self._source.has_bytes_within(count, min(left_s, PATIENCE_S))
        self._waited_s += time.perf_counter() - began
        return has_data


def _part() -> memoryview:
    """This thread's buffer."""
    if not hasattr(_thread, "part"):
        _thread.part = memoryview(bytearray(_PART_BYTES))
    part: memoryview = _thread.part
    return part
