"""TLS over a non-blocking socket, without the layers of trio's streams.

OpenSSL reads and writes the socket itself. With buffers in memory, as in trio.SSLStream, each record of 16 KiB costs
two more copies and a pass through the event loop, and each connection keeps the memory of its largest burst.

OpenSSL's calls let go of the interpreter lock, so a thread can receive while the event loop does other work
(:meth:`TlsSocket.receive_now`). The event loop may send meanwhile: a lock keeps the two apart, because OpenSSL's object
for a connection is for one thread at a time.
"""

from __future__ import annotations

import fcntl
import functools
import select
import socket
import ssl
import struct
import termios
import threading
from contextlib import suppress

import trio

from spraycc.errors import ProtocolError

#: Size of the buffer for decrypted data, which all connections of this thread share.
_BURST_BYTES = 256 * 1024
#: More than the struct has on any kernel so far.
_TCP_INFO_BYTES = 512
_burst = bytearray(_BURST_BYTES)
_burst_view = memoryview(_burst)


@functools.cache
def _spare_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _clear_errors() -> None:
    """Empty OpenSSL's queue of errors, which each thread has for all its connections. Call this after each failure.

    With OpenSSL 3.2 and later, Python 3.13 and 3.14 leave a system error such as EPIPE in the queue (seen with Python
    3.13.5 and OpenSSL 3.5.9, Python 3.14.8 and OpenSSL 3.6.5). The next connection that has nothing to receive then
    reports this error as its own. So each executor that is lost would take other executors with it. The ssl module has
    no function for the queue, but empties it when a list of ciphers is refused.
    """
    with suppress(ssl.SSLError):
        _spare_context().set_ciphers("")


class TlsSocket:
    """One end of a connection. Owns the socket, which :meth:`close` closes without TLS's closing message.

    One coroutine may receive while another one flushes. Failures raise trio.BrokenResourceError with the cause.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        """Take over a connected socket. :meth:`shake_hands` must follow."""
        sock.setblocking(False)
        self._sock = context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)
        #: held for each call of OpenSSL
        self._lock = threading.Lock()
        self._unsent: bytes | bytearray = b""
        #: the socket counts as readable with this many bytes
        self._low_water = 1
        #: bytes received since the event loop last had its turn
        self._in_a_row = 0
        #: True if the last receive found no more data
        self._drained = False

    async def shake_hands(self) -> None:
        """Do the handshake, which identifies the peer but grants no rights."""
        while True:
            try:
                self._sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._sock)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._sock)
            except (OSError, ValueError) as exc:
                _clear_errors()
                raise trio.BrokenResourceError from exc

    async def receive(self, most: int = _BURST_BYTES) -> memoryview:
        """Received data, up to ``most`` bytes; empty at the end. Valid until any coroutine awaits: copy it."""
        if self._in_a_row >= _BURST_BYTES:  # let other coroutines run
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        most = min(most, _BURST_BYTES)
        while True:
            if self._drained:
                await self.wait_readable()
            size = 0
            try:
                while size < most:
                    with self._lock:
                        got = self._sock.recv_into(_burst_view[size:most])
                    if not got:
                        break
                    size += got
            except ssl.SSLWantReadError:
                self._drained = True
                if not size:
                    continue
            except ssl.SSLWantWriteError:  # a reply to a change of keys, which the peer must read first
                if not size:
                    await trio.lowlevel.wait_writable(self._sock)
                    continue
            except (OSError, ValueError) as exc:
                _clear_errors()
                if not size:
                    raise trio.BrokenResourceError from exc
            self._in_a_row += size
            return _burst_view[:size]

    def receive_now(self, into: memoryview) -> int:
        """Receive data that is there, without waiting. Returns its size; 0 if there is none.

        Any thread may call this while no other one receives. The end of the connection is an error.
        """
        self._drained = False  # what has come since may fill `into` and leave the rest of a record in OpenSSL
        size = 0
        try:
            while size < len(into):
                with self._lock:
                    got = self._sock.recv_into(into[size:])
                if not got:
                    if not size:
                        raise EOFError("the connection was closed in the middle of a file")
                    break
                size += got
        except ssl.SSLWantReadError:
            self._drained = True
        except ssl.SSLWantWriteError:
            # A reply to a change of keys, which the peer must read first. A later call of OpenSSL sends it.
            self._drained = True
        except (EOFError, OSError, ValueError) as exc:
            _clear_errors()
            if not size:
                raise trio.BrokenResourceError from exc
        return size

    def has_bytes_within(self, count: int, seconds: float) -> bool:
        """As :meth:`wait_for_bytes`, in a thread. False if the time has ended first."""
        self._set_low_water(count)
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN)
        return bool(waiting.poll(seconds * 1e3))

    @property
    def is_drained(self) -> bool:
        """True if the last receive found no more data."""
        return self._drained

    @property
    def queued_bytes(self) -> int:
        """Size of the data that has arrived at this host and is not received yet, as the network carried it."""
        (size,) = struct.unpack("i", fcntl.ioctl(self._sock, termios.FIONREAD, b"\0\0\0\0"))
        return int(size)

    async def wait_for_bytes(self, count: int, seconds: float) -> None:
        """Wait until the network has brought this many bytes, for so long at most, or until the connection's end.

        So data that comes slowly is not received in many small parts (SO_RCVLOWAT, socket(7)). The wait also ends when
        the kernel's buffer is full, which may be earlier (tcp_epollin_ready, Linux 6.18).
        """
        with trio.move_on_after(seconds):
            await self.wait_readable(count)

    async def wait_readable(self, count: int = 1) -> None:
        """Wait until a further receive can find this many bytes, or the connection's end."""
        self._in_a_row = 0
        if self._drained:
            self._drained = False
            self._set_low_water(count)
            await trio.lowlevel.wait_readable(self._sock)
        else:
            await trio.lowlevel.checkpoint()

    def _set_low_water(self, count: int) -> None:
        if count != self._low_water:
            self._low_water = count
            with suppress(OSError):  # closed: the wait itself says so
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    async def receive_exactly(self, size: int) -> bytes:
        """Receive this many bytes.

        Raises:
            ProtocolError: the connection ended before that.
        """
        data = b""
        while len(data) < size:
            more = await self.receive(size - len(data))
            if not more:
                raise ProtocolError("the connection was closed in the middle of the handshake")
            data += more
        return data

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), or None if the peer has shown none."""
        return self._sock.getpeercert(binary_form=True)

    @property
    def is_within_host(self) -> bool:
        """True if both ends are on this host."""
        try:
            return bool(self._sock.getsockname()[:1] == self._sock.getpeername()[:1])
        except OSError:  # closed
            return True

    def tcp_info(self) -> bytes:
        """The kernel's ``struct tcp_info`` of the connection, whose length depends on the kernel; empty without TCP."""
        try:
            return self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except OSError:  # a socket pair, or closed
            return b""

    @property
    def is_behind(self) -> bool:
        """True if data is still unsent."""
        return bool(self._unsent)

    def send_now(self, data: bytes | bytearray) -> None:
        """Send without waiting; :meth:`flush` sends the rest."""
        self._unsent = self._unsent + data if self._unsent else data
        self._push_unsent()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all data, as fast as the peer reads, and without a copy of it. One coroutine at a time."""
        if self._unsent:
            await self.flush()
        rest = self._push(memoryview(data))
        while rest:
            try:
                await self._wait_writable()
            except trio.Cancelled:
                self._unsent = bytes(rest)  # OpenSSL has begun a record, and must get the same bytes again
                raise
            rest = self._push(rest)

    async def flush(self) -> None:
        """Send the unsent rest, as fast as the peer reads."""
        while self._unsent:
            await self._wait_writable()
            self._push_unsent()

    async def _wait_writable(self) -> None:
        if self._sock.fileno() < 0:  # closed meanwhile
            raise trio.ClosedResourceError
        await trio.lowlevel.wait_writable(self._sock)

    def _push_unsent(self) -> None:
        unsent, self._unsent = self._unsent, b""
        self._unsent = bytes(self._push(memoryview(unsent)))

    def _push(self, rest: memoryview) -> memoryview:
        """Send without waiting; the part that could not be sent."""
        try:
            while rest:  # OpenSSL takes a record of 16 KiB at a time
                with self._lock:
                    sent = self._sock.send(rest)
                rest = rest[sent:]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except (OSError, ValueError) as exc:
            _clear_errors()
            raise trio.BrokenResourceError from exc
        return rest

    def close(self) -> None:
        """Close the socket; waiting coroutines get trio.ClosedResourceError."""
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
